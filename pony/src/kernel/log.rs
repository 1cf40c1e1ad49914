//! What the kernel programs say themselves, for diagnosis: `pony run --kernel-log LEVEL`.
//!
//! The level is a constant of the loaded programs. The verifier removes what is behind it, so a
//! message that is not wanted costs a packet nothing. What is wanted can come with every packet:
//! here it is read at a bounded rate and passed on at a lower one, and what does not fit the
//! kernel's buffer is lost.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::{Metadata, Record};
use tracing::{debug, error, info, trace, warn};

use super::error::explain;
use crate::config::LogLevel;

/// The `tracing` target of what the kernel programs say.
pub const LOG_TARGET: &str = "kernel";

/// Tells the programs what to say; nothing without a level.
pub(super) fn prepare(loader: &mut EbpfLoader<'_>, level: Option<LogLevel>) {
    let level = match level {
        None => {
            // The programs name the buffer all the same.
            loader.map_max_entries(BUFFER, LEAST_BUFFER);
            &0
        }
        Some(LogLevel::Error) => &1,
        Some(LogLevel::Warn) => &2,
        Some(LogLevel::Info) => &3,
        Some(LogLevel::Debug) => &4,
        Some(LogLevel::Trace) => &5_u8,
    };
    loader.override_global(aya_log::LEVEL, level, false);
}

/// Passes on what the programs say. Dropping it ends that, with all that was said before: to be
/// dropped after the programs are detached, or there may be no end.
pub(super) struct Reader {
    pace: Arc<Pace>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Begins; that it cannot is said, and the guard goes on without.
    pub(super) fn start(ebpf: &mut Ebpf) -> Option<Self> {
        let pace = Arc::new(Pace::new(PAUSE));
        let begun = EbpfLogger::init_with_logger(ebpf, Forward::new(Arc::clone(&pace)))
            .map_err(|error| explain(&error))
            .and_then(|mut logger| {
                Self::spawn(pace, move || logger.flush()).map_err(|error| error.to_string())
            });
        match begun {
            Ok(reader) => Some(reader),
            Err(reason) => {
                warn!(reason, "Messages of the kernel programs cannot be read");
                None
            }
        }
    }

    /// A thread of its own: it may have as much to do as the kernel has to say.
    fn spawn(pace: Arc<Pace>, mut read: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::clone(&pace);
        let thread = thread::Builder::new()
            .name("kernel-log".to_owned())
            .spawn(move || {
                loop {
                    let is_last = shared.is_over();
                    read();
                    if is_last {
                        break;
                    }
                    shared.rest();
                }
            })?;
        let thread = Some(thread);
        Ok(Self { pace, thread })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pace.is_over.store(true, Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has no reason to panic, and if it did, that has been said.
            drop(thread.join());
        }
    }
}

/// When the reader rests: never once it is over.
struct Pace {
    pause: Duration,
    is_over: AtomicBool,
}

impl Pace {
    const fn new(pause: Duration) -> Self {
        Self {
            pause,
            is_over: AtomicBool::new(false),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Acquire)
    }

    /// Lets the reader's thread, which calls it, rest until the pause or everything is over.
    fn rest(&self) {
        if !self.is_over() {
            thread::park_timeout(self.pause);
        }
    }
}

/// From one kind of log to the other.
struct Forward {
    budget: Mutex<Budget>,
    pace: Arc<Pace>,
}

impl Forward {
    fn new(pace: Arc<Pace>) -> Self {
        Self {
            budget: Mutex::default(),
            pace,
        }
    }
}

impl log::Log for Forward {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let spent = {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.spend(Instant::now())
        };
        match spent {
            Ok(withheld) => pass_on(record, withheld),
            // Meanwhile the kernel's buffer is full, and messages cost neither side anything.
            Err(Rest(true)) => self.pace.rest(),
            Err(Rest(false)) => {}
        }
    }

    fn flush(&self) {}
}

fn pass_on(record: &Record<'_>, withheld: u64) {
    let withheld = (withheld > 0).then_some(withheld);
    let module = record.module_path().unwrap_or_default();
    let line = record.line();
    let text = record.args();
    match record.level() {
        log::Level::Error => error!(target: LOG_TARGET, module, line, withheld, "{text}"),
        log::Level::Warn => warn!(target: LOG_TARGET, module, line, withheld, "{text}"),
        log::Level::Info => info!(target: LOG_TARGET, module, line, withheld, "{text}"),
        log::Level::Debug => debug!(target: LOG_TARGET, module, line, withheld, "{text}"),
        log::Level::Trace => trace!(target: LOG_TARGET, module, line, withheld, "{text}"),
    }
}

/// How much may still be said in this second.
#[derive(Default)]
struct Budget {
    begun: Option<Instant>,
    spent: u32,
    withheld: u64,
}

/// Whether the reader should rest before it looks at the next message.
#[derive(Debug, Eq, PartialEq)]
struct Rest(bool);

impl Budget {
    /// Whether one more may be said: then with how many were withheld since the last one.
    fn spend(&mut self, now: Instant) -> Result<u64, Rest> {
        let is_new = |begun: Instant| now.saturating_duration_since(begun) >= SECOND;
        if self.begun.is_none_or(is_new) {
            self.begun = Some(now);
            self.spent = 0;
        }
        if self.spent < PER_SECOND {
            self.spent += 1;
            return Ok(std::mem::take(&mut self.withheld));
        }
        self.withheld += 1;
        Err(Rest(self.withheld.is_multiple_of(AT_ONCE)))
    }
}

/// The buffer's name in the object.
const BUFFER: &str = "AYA_LOGS";
/// In bytes; the kernel wants pages.
const LEAST_BUFFER: u32 = 65_536;
/// How many messages per second are passed on.
const PER_SECOND: u32 = 100;
/// How many more are read before the next pause; with [`PAUSE`] some 10,000 per second.
const AT_ONCE: u64 = 1_000;
/// How long a message may wait.
const PAUSE: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, TryRecvError};

    use super::*;

    /// One that no test waits for.
    const NEVER: Duration = Duration::MAX;

    #[test]
    fn a_flood_is_cut_to_so_many_a_second_and_counted() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for _ in 0..PER_SECOND {
            assert_eq!(budget.spend(start), Ok(0));
        }
        for number in 1..=2 * AT_ONCE {
            let rests = Err(Rest(number % AT_ONCE == 0));
            assert_eq!(budget.spend(start + Duration::from_millis(999)), rests);
        }
        assert_eq!(budget.spend(start + SECOND), Ok(2 * AT_ONCE));
        assert_eq!(budget.spend(start + SECOND), Ok(0));
    }

    #[test]
    fn dropping_the_reader_reads_the_rest_ends_the_thread_and_waits_for_no_pause() {
        let (tell, reads) = mpsc::channel();
        let read = move || tell.send(()).unwrap();
        let reader = Reader::spawn(Arc::new(Pace::new(NEVER)), read).unwrap();
        reads.recv().unwrap();
        drop(reader);
        assert_eq!(reads.try_recv(), Ok(()), "what was said last");
        assert!(reads.try_iter().count() < 2, "it does not go on");
        assert_eq!(reads.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn a_flood_of_messages_does_not_rest_once_it_is_over() {
        let pace = Arc::new(Pace::new(NEVER));
        let forward = Forward::new(Arc::clone(&pace));
        pace.is_over.store(true, Release);
        let record = Record::builder().level(log::Level::Trace).build();
        for _ in 0..3 * AT_ONCE {
            log::Log::log(&forward, &record);
        }
        assert!(forward.budget.lock().unwrap().withheld >= 2 * AT_ONCE);
    }
}
