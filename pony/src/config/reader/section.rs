//! One block of keys: unknown and duplicate ones, merge keys, and what is left out.

use std::collections::HashMap;

use super::{Context, Entry};
use crate::config::node::{Kind, Node, NodeId};
use crate::config::problem::{Complaint, Finding, shown};
use crate::config::suggest;

/// One key of a block.
#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    key: NodeId,
    value: &'a Node,
}

/// The keys of one block.
#[derive(Debug)]
pub(in crate::config) struct Section<'a> {
    path: String,
    at: NodeId,
    members: HashMap<&'a str, Member<'a>>,
    known: &'static [&'static str],
    context: &'a Context,
}

impl<'a> Section<'a> {
    /// Opens the block in `entry`. Keys that `is_extra` are left alone.
    pub(in crate::config) fn open(
        entry: &Entry<'a>,
        known: &'static [&'static str],
        is_extra: fn(&str) -> bool,
    ) -> Option<Self> {
        let mut section = Self {
            path: entry.path.clone(),
            at: entry.node.id,
            members: HashMap::new(),
            known,
            context: entry.context,
        };
        match &entry.node.kind {
            Kind::Null => {}
            Kind::Map(members) => section.take(members, is_extra),
            kind => {
                let remedy = format!("write keys below it, one a line: {}", known.join(", "));
                return entry.reject(&format!("is {}, not a block of keys", kind.noun()), remedy);
            }
        }
        Some(section)
    }

    fn take(&mut self, members: &'a [(Node, Node)], is_extra: fn(&str) -> bool) {
        let mut first_places: HashMap<String, NodeId> = HashMap::new();
        let mut merged = Vec::new();
        for (key, value) in members {
            let name = key
                .kind
                .shown()
                .unwrap_or_else(|| key.kind.noun().to_owned());
            if let Some(first) = first_places.get(&name) {
                let complaint = Complaint::new("is given twice", "keep one of the two");
                let finding = self
                    .context
                    .finding(&self.path_of(&name), key.id, complaint);
                self.context.errors.add(Finding {
                    see: Some(*first),
                    ..finding
                });
                continue;
            }
            match &key.kind {
                Kind::Text(text) if text == "<<" => merged.push(value),
                Kind::Text(text) if self.known.contains(&text.as_str()) => {
                    self.members.insert(text, Member { key: key.id, value });
                }
                Kind::Text(text) if is_extra(text) => {}
                _ => self.unknown(&name, key.id),
            }
            first_places.insert(name, key.id);
        }
        for value in merged {
            self.merge(value);
        }
    }

    fn unknown(&self, name: &str, at: NodeId) {
        let remedy = suggest::for_key(name, &self.path, self.known);
        let complaint = Complaint::new("is not a known key", remedy);
        self.context
            .errors
            .add(self.context.finding(&self.path_of(name), at, complaint));
    }

    /// Adds what the block or blocks at a `<<` key hold and this one does not.
    fn merge(&mut self, value: &'a Node) {
        let sources = match &value.kind {
            Kind::List(items) => items.iter().collect(),
            _ => vec![value],
        };
        for source in sources {
            let path = self.path_of("<<");
            let entry = Entry {
                node: source,
                path,
                context: self.context,
            };
            let Kind::Map(_) = source.kind else {
                entry.error(Complaint::new(
                    "is not a block of keys",
                    "merge an anchored block of keys, or a list of such",
                ));
                continue;
            };
            let other = Self::open(
                &Entry {
                    path: self.path.clone(),
                    ..entry
                },
                self.known,
                |_| false,
            );
            for (key, member) in other.into_iter().flat_map(|other| other.members) {
                self.members.entry(key).or_insert(member);
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        let key = shown(key);
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of `key`; `None` when it is left out or empty.
    pub(in crate::config) fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        debug_assert!(
            self.known.contains(&key),
            "{key} is not in the table of its block"
        );
        let node = self.members.get(key)?.value;
        let entry = Entry {
            node,
            path: self.path_of(key),
            context: self.context,
        };
        (node.kind != Kind::Null).then_some(entry)
    }

    /// The value of `key`; reported when it is left out.
    pub(in crate::config) fn require(&self, key: &'static str, remedy: &str) -> Option<Entry<'a>> {
        let entry = self.get(key);
        if entry.is_none() {
            self.missing(key, Complaint::new("is missing", remedy));
        }
        entry
    }

    /// Reports that `key` should be there; it may be, without a value.
    pub(in crate::config) fn missing(&self, key: &'static str, complaint: Complaint) {
        let at = self.members.get(key).map_or(self.at, |member| member.key);
        self.context
            .errors
            .add(self.context.finding(&self.path_of(key), at, complaint));
    }

    /// Reports what is wrong with the block as a whole.
    pub(in crate::config) fn error(&self, complaint: Complaint) {
        self.context
            .errors
            .add(self.context.finding(&self.path, self.at, complaint));
    }

    /// Reports what deserves a second look in the block as a whole.
    pub(in crate::config) fn warn(&self, complaint: Complaint) {
        self.context
            .warnings
            .add(self.context.finding(&self.path, self.at, complaint));
    }

    pub(in crate::config) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the feature of this block is on. A block that never says so is probably a slip.
    pub(in crate::config) fn is_enabled(&self) -> bool {
        let Some(entry) = self.get("enabled") else {
            if !self.is_empty() {
                self.warn(Complaint::new(
                    "is set up but not enabled",
                    "add `enabled: true`, or `enabled: false` to keep it off",
                ));
            }
            return false;
        };
        entry.boolean().unwrap_or(false)
    }
}
