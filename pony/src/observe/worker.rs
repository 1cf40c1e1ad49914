//! The thread that feeds one sink from its queue.
//!
//! It retries what a sink asks to retry, with a growing pause, and says what was lost: in the
//! sink itself once that writes again, and in all others when it fails. Each at most once per
//! second.
//!
//! What always holds: it ends when its queue is closed, after one last try for what is left. It
//! never uses `tracing`, whose messages would come back here.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    event::{Message, Record},
    queue::{Batch, Queue},
    sink::{Failure, Sink, SinkName},
    throttle::{self, Throttle},
};
use crate::config::Severity;

pub(super) struct Worker {
    pub name: SinkName,
    pub sink: Box<dyn Sink>,
    pub queue: Arc<Queue>,
    /// Where failures of this sink are reported.
    pub others: Vec<Arc<Queue>>,
}

/// A worker at work.
struct Running {
    worker: Worker,
    batch: Batch,
    /// Lost, but not yet said so in the sink itself.
    unsaid: u64,
    losses: Throttle,
    failures: Throttle,
    /// Failures in a row.
    failed: u32,
}

impl Worker {
    /// Starts the thread. `done` gets the sink's name when everything is written or given up.
    pub(super) fn spawn(self, done: mpsc::Sender<SinkName>) -> io::Result<()> {
        let name = self.name;
        let running = Running {
            worker: self,
            batch: Batch::new(),
            unsaid: 0,
            losses: Throttle::new(),
            failures: Throttle::new(),
            failed: 0,
        };
        let thread = thread::Builder::new().name(format!("log-{}", name.as_str()));
        thread.spawn(move || {
            running.run();
            // Nobody may be waiting any more.
            done.send(name).ok();
        })?;
        Ok(())
    }
}

impl Running {
    fn run(mut self) {
        loop {
            let may_say = self.unsaid > 0 && self.failed == 0;
            let patience = may_say.then_some(throttle::INTERVAL);
            let taken = self.worker.queue.take(&mut self.batch, patience);
            self.unsaid = self.unsaid.saturating_add(taken.lost);
            if taken.reopen
                && let Err(failure) = self.worker.sink.reopen()
            {
                self.fail(&failure);
            }
            self.write_all();
            self.say_losses(taken.closed);
            if taken.closed {
                return;
            }
            self.worker.queue.rest(REST);
        }
    }

    /// Writes the batch, or gives it up at the end.
    fn write_all(&mut self) {
        let mut last_try = false;
        while !self.batch.is_empty() {
            let Err(failure) = self.worker.sink.write(&mut self.batch) else {
                self.failed = 0;
                return;
            };
            self.fail(&failure);
            if self.batch.is_empty() {
                return;
            }
            if last_try {
                self.worker.queue.lose(self.batch.len() as u64);
                self.batch.clear();
                return;
            }
            last_try = !self.worker.queue.pause(pause_after(self.failed));
        }
    }

    /// Says in the sink itself what it lost, once it works again.
    fn say_losses(&mut self, now_or_never: bool) {
        if self.unsaid == 0 || self.failed > 0 {
            return;
        }
        if self.losses.allow(Instant::now()).is_none() && !now_or_never {
            return;
        }
        let message = Message::new(Severity::Warning, "log events lost")
            .with("sink", self.worker.name.as_str())
            .with("lost", self.unsaid);
        self.unsaid = 0;
        self.batch.push_back(Arc::new(Record::Message(message)));
        self.write_all();
    }

    /// Counts a failure and tells the other sinks.
    fn fail(&mut self, failure: &Failure) {
        self.failed = self.failed.saturating_add(1);
        self.worker.queue.lose(failure.lost);
        if self.failures.allow(Instant::now()).is_none() {
            return;
        }
        let message = Message::new(Severity::Warning, "log sink failed")
            .with("sink", self.worker.name.as_str())
            .with("lost", failure.lost)
            .with("error", failure.error.as_str());
        let record = Arc::new(Record::Message(message));
        for other in &self.worker.others {
            other.push(Arc::clone(&record));
        }
        if self.worker.others.is_empty() && self.worker.name != SinkName::Stdout {
            report_to_stderr(&record);
        }
    }
}

/// With no other sink, standard error is where people look.
fn report_to_stderr(record: &Record) {
    use io::Write as _;
    let line = super::text::Line(record);
    // If that fails too, the counter still tells.
    writeln!(io::stderr(), "{line}").ok();
}

/// 100 ms after the first failure in a row, twice as long after each further one, up to 10 s.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(7);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

/// How long what is logged may wait for more, so that a busy daemon does not wake this thread for
/// every line.
const REST: Duration = Duration::from_millis(10);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
