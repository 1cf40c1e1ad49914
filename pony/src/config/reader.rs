//! Typed access to the tree: one block of keys, one value, and the complaints about both.
//!
//! Owns the rules that hold for every key: which kinds of YAML value it takes, unknown and duplicate
//! keys, merge keys, and that a key without a value counts as left out. It knows no key by name.

mod section;
mod values;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

pub(super) use self::section::Section;
use super::node::{Node, NodeId};
use super::problem::{Complaint, Finding, Findings, Problem};
use super::services::Services;

/// What every part of the check needs to know.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) file: PathBuf,
    pub(super) errors: Findings,
    pub(super) warnings: Findings,
    services: OnceCell<Services>,
}

impl Context {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            errors: Findings::default(),
            warnings: Findings::default(),
            services: OnceCell::new(),
        }
    }

    /// The services database, read when the first name of a port comes up.
    pub(super) fn services(&self) -> &Services {
        self.services.get_or_init(Services::load)
    }

    fn finding(&self, key: &str, at: NodeId, complaint: Complaint) -> Finding {
        let problem = Problem {
            key: key.to_owned(),
            ..Problem::of_file(&self.file, complaint)
        };
        Finding {
            problem,
            at,
            see: None,
        }
    }
}

/// One value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    pub(super) context: &'a Context,
}

impl<'a> Entry<'a> {
    /// Reports that the value is wrong.
    pub(super) fn error(&self, complaint: Complaint) {
        self.context.errors.add(self.finding(complaint));
    }

    /// Reports that the value deserves a second look.
    pub(super) fn warn(&self, complaint: Complaint) {
        self.context.warnings.add(self.finding(complaint));
    }

    /// Reports that the value cannot stand beside the one at `see`.
    pub(super) fn error_beside(&self, see: NodeId, complaint: Complaint) {
        self.context.errors.add(Finding {
            see: Some(see),
            ..self.finding(complaint)
        });
    }

    fn finding(&self, complaint: Complaint) -> Finding {
        let mut finding = self.context.finding(&self.path, self.node.id, complaint);
        finding.problem.value = self.node.kind.shown();
        finding
    }

    /// `value`, or `None` after its complaint was reported.
    pub(super) fn accept<T>(&self, value: Result<T, Complaint>) -> Option<T> {
        value.map_err(|complaint| self.error(complaint)).ok()
    }

    fn reject<T>(&self, message: &str, remedy: impl Into<String>) -> Option<T> {
        self.error(Complaint::new(message, remedy));
        None
    }

    /// The keys below this value; those that are not in `known` are reported.
    pub(super) fn section(&self, known: &'static [&'static str]) -> Option<Section<'a>> {
        Section::open(self, known, |_| false)
    }
}
