//! The JSON log file.
//!
//! It follows its path: when the file there is another one than the one that is open (rotated,
//! deleted), it is opened anew before the next records are written, and also when the daemon is
//! told to (SIGHUP).
//!
//! What always holds: records are appended as whole lines; what cannot be written is counted.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{Failure, Sink, lines::Lines};
use crate::observe::{json, queue::Batch};

#[derive(Debug)]
pub(in crate::observe) struct JsonLog {
    path: PathBuf,
    file: File,
    lines: Lines,
}

impl JsonLog {
    /// Opens the file, or creates it with mode 0644.
    pub(in crate::observe) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            file: open(path)?,
            lines: Lines::default(),
        })
    }

    /// Whether the open file is still the one at our path.
    fn is_current(&self) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let open = self.file.metadata().map(identity);
        let named = std::fs::metadata(&self.path).map(identity);
        matches!((open, named), (Ok(open), Ok(named)) if open == named)
    }

    /// Follows the path. If that fails but the old file still has a name somewhere, it goes on
    /// to be used: a line in the rotated file is better than none.
    fn follow(&mut self) -> Result<(), Failure> {
        match open(&self.path) {
            Ok(file) => {
                if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                    self.lines.begin_file();
                }
                self.file = file;
                Ok(())
            }
            Err(error) => Err(Failure {
                lost: 0,
                error: format!("cannot open {}: {error}", self.path.display()),
            }),
        }
    }

    fn is_deleted(&self) -> bool {
        !matches!(self.file.metadata(), Ok(metadata) if metadata.nlink() > 0)
    }

    fn write_lines(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut result = Ok(());
        while let Some(record) = batch.pop_front() {
            let pushed = self.lines.push(|out| Ok(json::append(out, &record)?));
            result = combine(result, pushed);
            if self.lines.is_full() || batch.is_empty() {
                let written = self.lines.write_to(&mut self.file);
                result = combine(result, written);
            }
        }
        result
    }
}

impl Sink for JsonLog {
    fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        if batch.is_empty() || self.is_current() {
            return self.write_lines(batch);
        }
        let followed = self.follow();
        if let Err(failure) = &followed
            && self.is_deleted()
        {
            let lost = batch.len() as u64;
            batch.clear();
            let error = failure.error.clone();
            return Err(Failure { lost, error });
        }
        combine(followed, self.write_lines(batch))
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.follow()
    }
}

/// Both outcomes in one; the first error is told.
fn combine(one: Result<(), Failure>, other: Result<(), Failure>) -> Result<(), Failure> {
    match (one, other) {
        (Err(one), Err(other)) => Err(Failure {
            lost: one.lost + other.lost,
            error: one.error,
        }),
        (one, other) => one.and(other),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o644)
        // A named pipe that nobody reads must fail instead of holding us up for ever.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests;
