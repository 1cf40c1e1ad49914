//! Access lists in files of their own, named by `@FILE` entries.
//!
//! One address or prefix a line; `#` begins a comment; blank lines are skipped. The whole list is
//! read before anything is said about it, and what is said is bounded.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use ipnet::IpNet;

use super::document::unreadable;
use super::prefix;
use super::problem::{Complaint, Problem};

/// Ten million entries fit.
const MOST_BYTES: u64 = 64 << 20;

/// So many bad lines of one list are told one by one.
const MOST_TOLD: usize = 20;

/// What a list holds, and what is wrong with single lines of it.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) nets: Vec<IpNet>,
    /// The first bad lines.
    pub(super) errors: Vec<Problem>,
    /// How many more there are.
    pub(super) omitted: usize,
    pub(super) warning: Option<Problem>,
}

/// Reads the list at `path`; `key` is the entry that names it.
pub(super) fn read(path: &Path, key: &str) -> Result<List, Complaint> {
    let bytes = read_bytes(path)?;
    Ok(parse(&bytes, path, key))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Complaint> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    // A pipe without a writer would wait for ever.
    if !metadata.is_file() {
        return Err(Complaint::new(
            "is not a regular file",
            "name a file with one address a line",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Complaint::new(
            format!("is larger than {} MiB", MOST_BYTES >> 20),
            "merge addresses into prefixes, or split the list",
        ));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], path: &Path, key: &str) -> List {
    let mut list = List::default();
    let mut masked = Masked::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);

    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = String::from_utf8_lossy(line);
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match parse_entry(entry) {
            Ok(prefix) => {
                list.nets.push(prefix.net);
                if prefix.was_masked {
                    masked.note(number, entry, prefix.net);
                }
            }
            Err(complaint) if list.errors.len() < MOST_TOLD => {
                list.errors
                    .push(line_problem(path, key, number, entry, complaint));
            }
            Err(_) => list.omitted += 1,
        }
    }
    list.warning = masked.warning(path, key);
    list
}

fn parse_entry(entry: &str) -> Result<prefix::Prefix, Complaint> {
    if entry.starts_with('@') {
        return Err(Complaint::new(
            "names another list, and lists cannot do that",
            "name each list in the configuration",
        ));
    }
    prefix::parse(entry)
}

fn line_problem(path: &Path, key: &str, line: usize, entry: &str, complaint: Complaint) -> Problem {
    Problem {
        line: Some(line),
        key: key.to_owned(),
        value: Some(entry.to_owned()),
        ..Problem::of_file(path, complaint)
    }
}

/// Entries whose host bits were cleared: one warning for all, because lists are long.
#[derive(Debug, Default)]
struct Masked {
    count: usize,
    first: Option<(usize, String, IpNet)>,
}

impl Masked {
    fn note(&mut self, line: usize, entry: &str, net: IpNet) {
        self.count += 1;
        self.first
            .get_or_insert_with(|| (line, entry.to_owned(), net));
    }

    fn warning(self, path: &Path, key: &str) -> Option<Problem> {
        let (line, entry, net) = self.first?;
        let others = match self.count - 1 {
            0 => String::new(),
            more => format!(", like {more} more in this list"),
        };
        let complaint = Complaint::new(
            format!("has bits behind its prefix{others}; it is used as {net}"),
            format!("write {net}, or the address without a length"),
        );
        Some(line_problem(path, key, line, &entry, complaint))
    }
}
