//! Records as JSON: one object per line, keys in a fixed order.
//!
//! Forms only. The keys are those of the first `PacketPony`, because people's programs read them.

use std::{borrow::Cow, io, net::IpAddr, time::SystemTime};

use chrono::{DateTime, Local, SecondsFormat};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};

use super::{
    escape::{cut, is_harmful},
    event::{FlowEvent, Message, Passage, Record, Value},
};
use crate::config::{Protocol, Severity};

/// Appends `record` to `out`, without a line end.
pub(super) fn append(out: &mut Vec<u8>, record: &Record) -> serde_json::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Harmless);
    match record {
        Record::Flow(event) => FlowObject::from(event).serialize(&mut serializer),
        Record::Message(message) => MessageObject(message).serialize(&mut serializer),
    }
}

/// An event. The order of the fields is the order in the file.
#[derive(serde::Serialize)]
struct FlowObject<'a> {
    timestamp: String,
    listener_name: &'a str,
    protocol: &'static str,
    source_ip: IpAddr,
    source_port: u16,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    passage: Option<PassageObject<'a>>,
    target_ip: Cow<'a, str>,
    target_port: u16,
    event_type: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_received: Option<u64>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
}

impl<'a> From<&'a FlowEvent> for FlowObject<'a> {
    fn from(event: &'a FlowEvent) -> Self {
        let packets = |count| (event.protocol == Protocol::Udp && count > 0).then_some(count);
        let source = event.source();
        Self {
            timestamp: timestamp(event.at),
            listener_name: &event.listener,
            protocol: event.protocol.as_str(),
            source_ip: source.ip(),
            source_port: source.port(),
            passage: event.passage.as_deref().map(PassageObject::from),
            target_ip: event.target_host(),
            target_port: event.target.port,
            event_type: event.kind.as_str(),
            bytes_sent: event.bytes_sent,
            bytes_received: event.bytes_received,
            packets_sent: packets(event.packets_sent),
            packets_received: packets(event.packets_received),
            duration_ms: event.duration_ms(),
            error: event.error.as_deref().map(shortened),
        }
    }
}

/// How a client came, where more is known than its address.
#[derive(serde::Serialize)]
struct PassageObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    front_end_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    front_end_port: Option<u16>,
    destination_ip: IpAddr,
    destination_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Passage> for PassageObject<'a> {
    fn from(passage: &'a Passage) -> Self {
        Self {
            front_end_ip: passage.front_end.map(|address| address.ip()),
            front_end_port: passage.front_end.map(|address| address.port()),
            destination_ip: passage.destination.ip(),
            destination_port: passage.destination.port(),
            unique_id: passage.unique_id.as_deref().map(shortened),
            authority: passage.authority.as_deref().map(shortened),
        }
    }
}

/// A message: `timestamp`, `level`, `message`, then its fields as they come.
struct MessageObject<'a>(&'a Message);

impl Serialize for MessageObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("timestamp", &timestamp(self.0.at))?;
        object.serialize_entry("level", level(self.0.severity))?;
        object.serialize_entry("message", &shortened(&self.0.text))?;
        for (name, value) in &self.0.fields {
            // A field must not take the place of one of ours.
            let name = match *name {
                "timestamp" => "timestamp_",
                "level" => "level_",
                "message" => "message_",
                name => name,
            };
            match value {
                Value::Text(text) => object.serialize_entry(name, &shortened(text))?,
                Value::Unsigned(number) => object.serialize_entry(name, number)?,
                Value::Signed(number) => object.serialize_entry(name, number)?,
                Value::Float(number) => object.serialize_entry(name, number)?,
                Value::Bool(truth) => object.serialize_entry(name, truth)?,
            }
        }
        object.end()
    }
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "debug",
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// RFC 3339 with nanoseconds, in the local zone.
fn timestamp(at: SystemTime) -> String {
    DateTime::<Local>::from(at).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn shortened(text: &str) -> Cow<'_, str> {
    match cut(text) {
        (_, "") => Cow::Borrowed(text),
        (text, rest) => Cow::Owned(format!("{text}{rest}")),
    }
}

/// Compact JSON in which also those control characters are escaped that JSON would allow.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests;
