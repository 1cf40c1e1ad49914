//! What a single value may be, and what is said when it is something else.
//!
//! Each function returns `None` after it has reported why.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Entry;
use crate::config::address::HostPort;
use crate::config::model::Protocol;
use crate::config::node::Kind;
use crate::config::span::Listen;
use crate::config::target::Target;
use crate::config::{duration, size};

impl<'a> Entry<'a> {
    pub(in crate::config) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            kind => {
                let remedy = kind.shown().map_or_else(
                    || "write one value here".to_owned(),
                    |value| format!("put it in quotes: \"{value}\""),
                );
                self.reject(&format!("is {}, not text", kind.noun()), remedy)
            }
        }
    }

    /// A `host:port`; a bare number gets the complaint of an address, not that of a text.
    pub(in crate::config) fn address(&self, protocol: Protocol) -> Option<HostPort> {
        let text = self.address_text()?;
        self.accept(HostPort::parse(&text, protocol, self.context.services()))
    }

    /// A `host:port` or a `host`.
    pub(in crate::config) fn target(&self, protocol: Protocol) -> Option<Target> {
        let text = self.address_text()?;
        self.accept(Target::parse(&text, protocol, self.context.services()))
    }

    /// A `host:port`, or one with a prefix or a range of ports.
    pub(in crate::config) fn listen(&self, protocol: Protocol) -> Option<Listen> {
        let text = self.address_text()?;
        self.accept(Listen::parse(&text, protocol, self.context.services()))
    }

    fn address_text(&self) -> Option<Cow<'a, str>> {
        if let Kind::Int(_) = self.node.kind {
            return self.node.kind.shown().map(Cow::Owned);
        }
        self.text().map(Cow::Borrowed)
    }

    /// Accepts what YAML 1.1 called a boolean, quoted or not.
    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        let word = match &self.node.kind {
            Kind::Bool(value) => return Some(*value),
            Kind::Text(text) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => self.reject("is neither true nor false", "write true or false"),
        }
    }

    pub(in crate::config) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let whole = match &self.node.kind {
            Kind::Int(value) => *value,
            Kind::Text(text) => match grouped_digits(text) {
                Some(value) => value,
                None => return self.reject("is text, not a number", integer_remedy(text, &range)),
            },
            Kind::Float(_) => {
                return self.reject("is not a whole number", integer_remedy("", &range));
            }
            kind => {
                let remedy = integer_remedy("", &range);
                return self.reject(&format!("is {}, not a number", kind.noun()), remedy);
            }
        };
        u64::try_from(whole)
            .ok()
            .filter(|value| range.contains(value))
            .or_else(|| self.reject("is out of range", integer_remedy("", &range)))
    }

    /// A duration; 0 is allowed.
    pub(in crate::config) fn duration(&self) -> Option<Duration> {
        match &self.node.kind {
            Kind::Text(text) => self.accept(duration::parse(text)),
            Kind::Int(_) | Kind::Float(_) => {
                let number = self.node.kind.shown().unwrap_or_default();
                self.accept(Err(duration::bare_number(number.trim_start_matches('-'))))
            }
            kind => self.reject(
                &format!("is {}, not a duration", kind.noun()),
                "write one duration such as \"30s\" or \"5m\"",
            ),
        }
    }

    /// Whether this is a duration of no length; says nothing when it is none at all.
    pub(in crate::config) fn is_zero_duration(&self) -> bool {
        matches!(&self.node.kind, Kind::Text(text) if duration::parse(text) == Ok(Duration::ZERO))
    }

    /// A duration within `range`.
    pub(in crate::config) fn duration_in(
        &self,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.duration()?;
        let (least, most) = (range.start(), range.end());
        if value < *least {
            return self.reject("is too short", format!("write at least \"{least:?}\""));
        }
        if value > *most {
            let hours = most.as_secs() / 3600;
            return self.reject("is too long", format!("write at most \"{hours}h\""));
        }
        Some(value)
    }

    /// A number of bytes; 0 is allowed.
    pub(in crate::config) fn size(&self) -> Option<u64> {
        match &self.node.kind {
            Kind::Text(text) => self.accept(size::parse(text)),
            Kind::Int(value) if *value < 0 => self.accept(Err(size::negative())),
            Kind::Int(value) => self.accept(u64::try_from(*value).ok().ok_or_else(size::too_large)),
            Kind::Float(_) => {
                let number = self.node.kind.shown().unwrap_or_default();
                self.accept(Err(size::without_unit(&number)))
            }
            kind => self.reject(
                &format!("is {}, not a size", kind.noun()),
                "write one size such as \"10MB\"",
            ),
        }
    }

    /// A number of bytes, at least so many.
    pub(in crate::config) fn size_from(&self, least: u64) -> Option<u64> {
        let size = self.size()?;
        if size < least {
            let megabytes = least >> 20;
            return self.reject("is too small", format!("write at least \"{megabytes}MB\""));
        }
        Some(size)
    }

    /// One of a few words, in any case.
    pub(in crate::config) fn word<T: Copy>(&self, noun: &str, words: &[(&str, T)]) -> Option<T> {
        if let Kind::Text(text) = &self.node.kind {
            let is_it = |(word, _): &&(&str, T)| word.eq_ignore_ascii_case(text.trim());
            if let Some((_, value)) = words.iter().find(is_it) {
                return Some(*value);
            }
        }
        let known: Vec<&str> = words
            .iter()
            .map(|(word, _)| *word)
            .filter(|word| !word.is_empty())
            .collect();
        self.reject(
            &format!("is not {noun}"),
            format!("write one of: {}", known.join(", ")),
        )
    }

    pub(in crate::config) fn list(&self) -> Option<Vec<Entry<'a>>> {
        let Kind::List(items) = &self.node.kind else {
            let remedy = self.node.kind.shown().map_or_else(
                || "write a list: one entry a line, each after \"- \"".to_owned(),
                |value| {
                    format!("write a list: [\"{value}\"], or one entry a line, each after \"- \"")
                },
            );
            return self.reject(&format!("is {}, not a list", self.node.kind.noun()), remedy);
        };
        let entry = |(index, node)| Entry {
            node,
            path: format!("{}[{index}]", self.path),
            context: self.context,
        };
        Some(items.iter().enumerate().map(entry).collect())
    }
}

/// `1_000` as YAML 1.1 wrote thousands; text with nothing but digits was quoted on purpose.
fn grouped_digits(text: &str) -> Option<i128> {
    let is_grouped = text.contains('_')
        && !text.starts_with('_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_');
    if is_grouped {
        text.replace('_', "").parse().ok()
    } else {
        None
    }
}

fn integer_remedy(text: &str, range: &RangeInclusive<u64>) -> String {
    let value: Option<u64> = text.trim().parse().ok();
    let bytes = || size::parse(text).ok().filter(|_| !text.is_empty());
    match value.or_else(bytes).filter(|value| range.contains(value)) {
        Some(value) => format!("write {value}, without quotes and units"),
        None => format!(
            "write a whole number from {} to {}",
            range.start(),
            range.end()
        ),
    }
}
