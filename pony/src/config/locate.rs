//! On which line each node of a file stands.
//!
//! Owns nothing but that question, and is asked only when there is something to report. The YAML
//! reader tells a position in one place only: in the text of its errors. So every value is read
//! once more by a visitor that answers with an error, and the error says where it happened. When
//! that text is not as expected, lines are missing from messages, and nothing else.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
};

use super::node::NodeId;

/// The lines of all nodes, as far as they could be found.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn find(text: &str) -> Self {
        let found = Found::default();
        if let Some(document) = serde_yaml::Deserializer::from_str(text).next() {
            // An error here was reported when the file was read for its values.
            drop(Find(&found).deserialize(document));
        }
        Self(found.lines.into_inner())
    }

    /// From 1; the first line of a node with members is that of its first member.
    pub(super) fn of(&self, id: NodeId) -> Option<usize> {
        self.0.get(id).copied().filter(|line| *line != UNKNOWN)
    }
}

const UNKNOWN: usize = 0;

/// Cannot occur in a YAML text, so it separates the position from a key that looks like one.
const HERE: &str = "\u{1}here";

#[derive(Debug, Default)]
struct Found {
    lines: RefCell<Vec<usize>>,
    last: Cell<usize>,
}

impl Found {
    fn begin(&self) -> NodeId {
        let mut lines = self.lines.borrow_mut();
        lines.push(UNKNOWN);
        lines.len() - 1
    }

    fn value(&self, id: NodeId, line: usize) {
        self.last.set(line);
        self.lines.borrow_mut()[id] = line;
    }

    /// A node with members stands where its first member does; an empty one near what precedes it.
    fn members(&self, id: NodeId) {
        let mut lines = self.lines.borrow_mut();
        lines[id] = lines.get(id + 1).copied().unwrap_or(self.last.get());
    }
}

#[derive(Clone, Copy)]
struct Find<'f>(&'f Found);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let id = self.0.begin();
        match deserializer.deserialize_any(self) {
            Ok(()) => self.0.members(id),
            Err(error) => match line_in(&error.to_string()) {
                Some(line) => self.0.value(id, line),
                None => return Err(error),
            },
        }
        Ok(())
    }
}

/// The line in `path: HERE at line 3 column 5`; a text without position is at the very beginning.
fn line_in(error: &str) -> Option<usize> {
    let (_, position) = error.rsplit_once(HERE)?;
    match position.strip_prefix(" at line ") {
        Some(position) => position.split(' ').next()?.parse().ok(),
        None => Some(1),
    }
}

impl<'de> de::Visitor<'de> for Find<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(self, self)?.is_some() {}
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let (de::IgnoredAny, variant) = data.variant()?;
        variant.newtype_variant_seed(self)
    }
}

#[cfg(test)]
mod tests;
