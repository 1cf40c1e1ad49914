//! A buffer of whole lines for sinks that write to descriptors.
//!
//! What always holds: when a write fails half-way, the number of lines that did not arrive whole
//! is known, and the line that was torn is ended before the next one begins.

use std::{
    io::{self, ErrorKind, Write},
    thread,
    time::Duration,
};

use super::Failure;

/// Lines that wait to be written in one go.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// The last write ended inside a line.
    torn: bool,
}

impl Lines {
    /// Appends what `write` writes, and a line end. `write` must not write one itself.
    pub(super) fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            let error = error.to_string();
            return Err(Failure { lost: 1, error });
        }
        self.bytes.push(b'\n');
        Ok(())
    }

    /// What is written next goes to an empty file.
    pub(super) fn begin_file(&mut self) {
        self.torn = false;
    }

    /// Whether it is time to write.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Writes everything to `out` and forgets it, also what could not be written.
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        let written = self.write_torn(out);
        self.bytes.clear();
        written
    }

    fn write_torn(&mut self, out: &mut impl Write) -> Result<(), Failure> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        if self.torn && write_all(out, b"\n").is_ok() {
            self.torn = false;
        }
        let Err((written, error)) = write_all(out, &self.bytes) else {
            return Ok(());
        };
        let (arrived, rest) = self.bytes.split_at(written);
        self.torn |= arrived.last().is_some_and(|last| *last != b'\n');
        Err(Failure {
            lost: rest.split(|byte| *byte == b'\n').skip(1).count() as u64,
            error: error.to_string(),
        })
    }
}

/// Writes `bytes`; on failure says how many of them arrived.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody who shares our standard output made it non-blocking, and it is full.
            // Only this sink's own thread waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// So many bytes make a write worthwhile.
const FULL: usize = 64 << 10;
const RETRY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Disk {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.taken.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn push(lines: &mut Lines, texts: &[&str]) {
        for text in texts {
            lines.push(|out| out.write_all(text.as_bytes())).unwrap();
        }
    }

    #[test]
    fn a_full_disk_loses_whole_lines_and_never_joins_two() {
        let mut disk = Disk {
            taken: Vec::new(),
            room: 6,
        };
        let mut lines = Lines::default();
        push(&mut lines, &["one", "two", "three"]);
        assert_eq!(lines.write_to(&mut disk).unwrap_err().lost, 2);
        push(&mut lines, &["four"]);
        assert_eq!(lines.write_to(&mut disk).unwrap_err().lost, 1);

        disk.room = 100;
        push(&mut lines, &["five"]);
        lines.write_to(&mut disk).unwrap();
        assert_eq!(String::from_utf8(disk.taken).unwrap(), "one\ntw\nfive\n");
    }

    #[test]
    fn a_disk_that_fills_up_between_lines_leaves_no_empty_line() {
        let mut disk = Disk {
            taken: Vec::new(),
            room: 4,
        };
        let mut lines = Lines::default();
        push(&mut lines, &["one", "two"]);
        assert_eq!(lines.write_to(&mut disk).unwrap_err().lost, 1);
        disk.room = 100;
        push(&mut lines, &["three"]);
        lines.write_to(&mut disk).unwrap();
        assert_eq!(String::from_utf8(disk.taken).unwrap(), "one\nthree\n");
    }
}
