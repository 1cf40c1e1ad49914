//! Standard output, and standard error for what is worse than information.
//!
//! It writes to descriptors of its own, never through the locks of `std::io::Stdout`: a reader
//! who stopped reading holds up this sink's thread and nobody else, not even the process' exit.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use super::{Failure, Sink, lines::Lines};
use crate::{
    config::{Severity, StdoutFormat},
    observe::{event::Record, json, queue::Batch, text},
};

#[derive(Debug)]
pub(in crate::observe) struct Stdout {
    format: StdoutFormat,
    out: Stream,
    err: Stream,
}

#[derive(Debug)]
struct Stream {
    file: File,
    lines: Lines,
}

impl Stdout {
    /// Uses the process' own standard output and standard error.
    pub(in crate::observe) fn open(format: StdoutFormat) -> io::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        let err = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self::new(format, out.into(), err.into()))
    }

    pub(in crate::observe) fn new(format: StdoutFormat, out: File, err: File) -> Self {
        let stream = |file| Stream {
            file,
            lines: Lines::default(),
        };
        Self {
            format,
            out: stream(out),
            err: stream(err),
        }
    }
}

impl Sink for Stdout {
    fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut lost = 0;
        let mut error = None;
        let mut note = |written: Result<(), Failure>| {
            if let Err(failure) = written {
                lost += failure.lost;
                error = Some(failure.error);
            }
        };
        while let Some(record) = batch.pop_front() {
            let (stream, other) = if is_grave(&record) {
                (&mut self.err, &mut self.out)
            } else {
                (&mut self.out, &mut self.err)
            };
            // Both may be one terminal, and the order of the lines matters there.
            note(other.write());
            note(stream.push(self.format, &record));
        }
        note(self.out.write());
        note(self.err.write());
        match error {
            None => Ok(()),
            Some(error) => Err(Failure { lost, error }),
        }
    }
}

impl Stream {
    fn push(&mut self, format: StdoutFormat, record: &Record) -> Result<(), Failure> {
        self.lines.push(|out| match format {
            StdoutFormat::Text => write!(out, "{}", text::Line(record)),
            StdoutFormat::Json => Ok(json::append(out, record)?),
        })?;
        if self.lines.is_full() {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.lines.write_to(&mut self.file)
    }
}

/// Whether a record belongs on standard error. Events never do.
fn is_grave(record: &Record) -> bool {
    match record {
        Record::Flow(_) => false,
        Record::Message(message) => message.severity >= Severity::Warning,
    }
}

#[cfg(test)]
mod tests;
