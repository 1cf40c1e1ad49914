//! The log: a handle for everybody who has something to say, and the sinks behind it.
//!
//! Owns the start and the end of the sinks. Forms are in `text` and `json`, delivery in `worker`
//! and `sink`.
//!
//! What always holds: [`Log::flow`] and [`Log::message`] never wait, whatever the sinks do.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::{
    event::{FlowEvent, Message, Record},
    metrics::{Metrics, MetricsError},
    queue::Queue,
    sink::{JsonLog, Sink, SinkName, Stdout, Syslog},
    worker::Worker,
};
use crate::config::{self, Severity};

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "cannot open the log file {path} (logging.jsonlog.path): {source}; \
         create its directory and let the user that runs pony write there",
        path = path.display()
    )]
    File { path: PathBuf, source: io::Error },
    #[error(
        "cannot reach syslog at {address} (logging.syslog.address): {source}; \
         start the receiver, correct the address, or set logging.syslog.enabled: false"
    )]
    Syslog { address: String, source: io::Error },
    #[error("cannot use standard output for logging: {0}; set logging.stdout.enabled: false")]
    Stdout(#[source] io::Error),
    #[error("cannot start a thread for logging: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Some sinks did not write everything before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("the log was not written to its end in time: {}", .0.join(", "))]
pub struct FlushError(Vec<&'static str>);

/// A handle to all sinks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    outlets: Arc<[Outlet]>,
}

/// The near end of one sink.
#[derive(Clone, Debug)]
struct Outlet {
    name: SinkName,
    queue: Arc<Queue>,
    /// Records below are not for this sink.
    least: Severity,
}

/// The far ends of all sinks, for those who reopen and end them.
#[derive(Debug)]
pub struct Sinks {
    outlets: Arc<[Outlet]>,
    done: mpsc::Receiver<SinkName>,
}

impl Log {
    /// Opens every configured sink. Connecting to syslog may take a few seconds.
    pub fn start(logging: &config::Logging, metrics: &Metrics) -> Result<(Self, Sinks), LogError> {
        Self::run(open(logging)?, QUEUE_CAPACITY, metrics)
    }

    /// A log without sinks.
    pub fn none() -> Self {
        Self {
            outlets: Arc::new([]),
        }
    }

    fn run(
        sinks: Vec<OpenSink>,
        capacity: usize,
        metrics: &Metrics,
    ) -> Result<(Self, Sinks), LogError> {
        let mut outlets = Vec::with_capacity(sinks.len());
        for sink in &sinks {
            let dropped = metrics.log_events_dropped(sink.name.as_str())?;
            outlets.push(Outlet {
                name: sink.name,
                queue: Arc::new(Queue::new(capacity, dropped)),
                least: sink.least,
            });
        }
        let (sender, done) = mpsc::channel();
        for (sink, outlet) in sinks.into_iter().zip(&outlets) {
            let others = outlets.iter().filter(|other| other.name != sink.name);
            let worker = Worker {
                name: sink.name,
                sink: sink.sink,
                queue: Arc::clone(&outlet.queue),
                others: others.map(|other| Arc::clone(&other.queue)).collect(),
            };
            worker.spawn(sender.clone()).map_err(LogError::Thread)?;
        }
        let outlets: Arc<[Outlet]> = outlets.into();
        let sinks = Sinks {
            outlets: Arc::clone(&outlets),
            done,
        };
        Ok((Self { outlets }, sinks))
    }

    /// Logs an event.
    pub fn flow(&self, event: FlowEvent) {
        self.push(Record::Flow(event));
    }

    /// Logs a message.
    pub fn message(&self, message: Message) {
        self.push(Record::Message(message));
    }

    fn push(&self, record: Record) {
        let severity = record.severity();
        let record = Arc::new(record);
        for outlet in self.outlets.iter() {
            if severity >= outlet.least {
                outlet.queue.push(Arc::clone(&record));
            }
        }
    }
}

impl Sinks {
    /// Lets the JSON file be opened anew, as after a rotation. Returns at once.
    pub fn reopen(&self) {
        for outlet in self.outlets.iter() {
            outlet.queue.reopen();
        }
    }

    /// Ends the log. Waits, at most for `patience`, until what was logged is written; a sink that
    /// is stuck is left behind. What is logged from now on is lost, and counted.
    pub fn flush(self, patience: Duration) -> Result<(), FlushError> {
        let deadline = Instant::now() + patience;
        for outlet in self.outlets.iter() {
            outlet.queue.close();
        }
        let mut open: Vec<_> = self.outlets.iter().map(|outlet| outlet.name).collect();
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(name) = self.done.recv_timeout(left) else {
                return Err(FlushError(open.into_iter().map(SinkName::as_str).collect()));
            };
            open.retain(|other| *other != name);
        }
        Ok(())
    }
}

/// A sink that is ready to be written to.
struct OpenSink {
    name: SinkName,
    sink: Box<dyn Sink>,
    least: Severity,
}

fn open(logging: &config::Logging) -> Result<Vec<OpenSink>, LogError> {
    let mut sinks = Vec::new();
    let mut add = |name, sink, least| sinks.push(OpenSink { name, sink, least });
    if let Some(format) = logging.stdout {
        let sink = Stdout::open(format).map_err(LogError::Stdout)?;
        add(SinkName::Stdout, Box::new(sink), Severity::Debug);
    }
    if let Some(path) = &logging.json_file {
        let sink = JsonLog::open(path).map_err(|source| LogError::File {
            path: path.clone(),
            source,
        })?;
        add(SinkName::JsonLog, Box::new(sink), Severity::Debug);
    }
    if let Some(syslog) = &logging.syslog {
        let sink = Syslog::connect(syslog).map_err(|source| LogError::Syslog {
            address: Syslog::address(&syslog.transport),
            source,
        })?;
        add(SinkName::Syslog, Box::new(sink), syslog.priority);
    }
    Ok(sinks)
}

/// How many records may wait for one sink.
const QUEUE_CAPACITY: usize = 8192;

#[cfg(test)]
mod tests;
