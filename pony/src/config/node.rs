//! YAML as a tree that forgets nothing: duplicate keys, merge keys and order survive.
//!
//! Owns the step from text to [`Node`]s, with bounds on what it may build. It knows no key of the
//! configuration. Nodes are numbered in the order of the file, keys included, so that
//! [`super::locate`] finds the same node again.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
};

/// A node's place in the order of the file, from 0.
pub(super) type NodeId = usize;

/// One value, or one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) kind: Kind,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Kind {
    /// The value as a message shows it; `None` for nothing, and for what has members.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            // With its ".0", so that it does not look like the whole number it is not.
            Self::Float(value) => Some(format!("{value:?}")),
            Self::Text(value) => Some(value.clone()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// What it is, in words.
    pub(super) const fn noun(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Float(_) => "a number with decimals",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a block of keys",
        }
    }
}

/// Counts nodes and what they weigh, so that a few aliases cannot fill the memory.
#[derive(Debug, Default)]
pub(super) struct Tally {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

/// More than any file of the permitted size needs without aliases of aliases.
const MOST_NODES: usize = 2_000_000;
const MOST_BYTES: usize = 64 << 20;

/// The message of the error when a file asks for more.
pub(super) const TOO_MUCH: &str = "holds too many values, or too many aliases of large ones";

impl Tally {
    pub(super) fn next_id(&self) -> NodeId {
        self.nodes.replace(self.nodes.get() + 1)
    }

    fn claim(&self, bytes: usize) -> bool {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.nodes.get() <= MOST_NODES && self.bytes.get() <= MOST_BYTES
    }
}

/// Reads one node and all below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadNode<'t>(pub(super) &'t Tally);

impl<'de> DeserializeSeed<'de> for ReadNode<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let id = self.0.next_id();
        let kind = deserializer.deserialize_any(self)?;
        Ok(Node { id, kind })
    }
}

impl<'de> de::Visitor<'de> for ReadNode<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Int(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Int(value.into()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Kind, E> {
        // Out of range for every key, and still is when it is cut to the largest `i128`.
        Ok(Kind::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Kind, E> {
        Ok(Kind::Int(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        if !self.0.claim(value.len()) {
            return Err(E::custom(TOO_MUCH));
        }
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            if !self.0.claim(0) {
                return Err(de::Error::custom(TOO_MUCH));
            }
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry_seed(self, self)? {
            if !self.0.claim(0) {
                return Err(de::Error::custom(TOO_MUCH));
            }
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }

    /// A value with a tag of its writer's own (`!tag value`): the tag means nothing here.
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Kind, A::Error> {
        let (de::IgnoredAny, variant) = data.variant()?;
        Ok(variant.newtype_variant_seed(self)?.kind)
    }
}

#[cfg(test)]
mod tests;
