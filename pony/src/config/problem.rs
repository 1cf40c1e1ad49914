//! What is wrong with a configuration, said so that it can be mended at once.
//!
//! Owns the form of a complaint, and the collection of all of them in the order of the file. It
//! judges nothing. Lines are filled in at the end, because they cost a second reading.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use super::locate::Lines;
use super::node::NodeId;

/// One thing that is wrong, or deserves a warning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file in which it stands.
    pub file: PathBuf,
    /// Its line there, from 1.
    pub line: Option<usize>,
    /// Where in the configuration: `listeners[0].rate_limits.action`; empty for the whole file.
    pub key: String,
    /// What stands there.
    pub value: Option<String>,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(super) fn of_file(file: &Path, complaint: Complaint) -> Self {
        Self {
            file: file.to_path_buf(),
            line: None,
            key: String::new(),
            value: None,
            message: complaint.message,
            remedy: Some(complaint.remedy),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, "\"{}\" ", shown(value))?;
        }
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    {remedy}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Errors {
    /// In the order of the file, at most [`Errors::MOST`].
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub omitted: usize,
}

impl Errors {
    /// How many problems are told at once.
    pub const MOST: usize = 100;
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            omitted: 0,
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\n... and {omitted} more; mend these first"),
        }
    }
}

impl std::error::Error for Errors {}

/// What is wrong with one value, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// A problem whose line is not known yet.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) problem: Problem,
    /// The node that it is about; also its rank among the findings.
    pub(super) at: NodeId,
    /// Another node that the reader should look at.
    pub(super) see: Option<NodeId>,
}

impl Finding {
    fn finish(mut self, lines: &Lines) -> Problem {
        self.problem.line = self.problem.line.or_else(|| lines.of(self.at));
        let other = self.see.and_then(|see| lines.of(see));
        if let (Some(line), Some(remedy)) = (other, &mut self.problem.remedy) {
            *remedy = format!("{remedy} (the first is in line {line})");
        }
        self.problem
    }
}

/// A bounded collection of findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kept: RefCell<Vec<Finding>>,
    dropped: Cell<usize>,
}

impl Findings {
    /// So many are kept for sorting; the rest is only counted.
    const MOST_KEPT: usize = 10 * Errors::MOST;

    pub(super) fn add(&self, finding: Finding) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < Self::MOST_KEPT {
            kept.push(finding);
        } else {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.borrow().is_empty()
    }

    /// In the order of the file, with lines, and how many were left out.
    pub(super) fn finish(self, lines: &Lines) -> (Vec<Problem>, usize) {
        let mut kept = self.kept.into_inner();
        kept.sort_by_key(|finding| finding.at);
        let mut problems: Vec<Problem> = kept
            .into_iter()
            .map(|finding| finding.finish(lines))
            .collect();
        let omitted = problems.len().saturating_sub(Errors::MOST) + self.dropped.get();
        problems.truncate(Errors::MOST);
        (problems, omitted)
    }
}

/// `value` fit for one line of a message: no control characters, and not endless.
pub(super) fn shown(value: &str) -> String {
    const MOST: usize = 80;
    let escape = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.to_string()
        }
    };
    if value.chars().nth(MOST).is_none() {
        value.chars().map(escape).collect()
    } else {
        value
            .chars()
            .take(MOST)
            .map(escape)
            .chain(["...".to_owned()])
            .collect()
    }
}

#[cfg(test)]
mod tests;
