//! Where records go. Each sink writes batches in its own form and is driven by its own worker.

mod jsonlog;
mod lines;
mod stdout;
mod syslog;

use super::queue::Batch;

pub(super) use self::jsonlog::JsonLog;
pub(super) use self::stdout::Stdout;
pub(super) use self::syslog::Syslog;

/// Writes records.
pub(super) trait Sink: Send {
    /// Writes `batch` from the front and takes out what is written or lost. On failure, what is
    /// left in it shall be tried again a little later.
    fn write(&mut self, batch: &mut Batch) -> Result<(), Failure>;

    /// Opens anew what may have been replaced (a log file that was rotated).
    fn reopen(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A sink could not write.
#[derive(Debug)]
pub(super) struct Failure {
    /// Records that are gone for good.
    pub lost: u64,
    pub error: String,
}

/// The name of a sink: the label of its metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SinkName {
    Stdout,
    JsonLog,
    Syslog,
}

impl SinkName {
    pub(super) const ALL: [Self; 3] = [Self::Stdout, Self::JsonLog, Self::Syslog];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::JsonLog => "jsonlog",
            Self::Syslog => "syslog",
        }
    }
}
