//! How a line of syslog looks on the wire: RFC 3164, as the first `PacketPony` sent it.
//!
//! To another machine with an RFC 3339 time and our host name, to a local socket with the short
//! time and without.

use std::{fmt::Write as _, time::SystemTime};

use chrono::{DateTime, Local, SecondsFormat};

use crate::{
    config::{Severity, SyslogTransport},
    observe::{
        escape::is_harmful,
        event::{FlowEvent, Message, Record},
        text::SyslogText,
    },
};

/// What is the same in every line.
#[derive(Debug)]
pub(super) struct Wire {
    /// `None`: the receiver is on this machine.
    host: Option<String>,
    /// `tag[pid]`
    tag: String,
}

impl Wire {
    pub(super) fn new(tag: &str, transport: &SyslogTransport) -> Self {
        let host = match transport {
            SyslogTransport::Udp(_) | SyslogTransport::Tcp(_) => Some(host_name()),
            SyslogTransport::Unix(_) | SyslogTransport::Local => None,
        };
        let tag = format!("{}[{}]", one_word(tag), std::process::id());
        Self { host, tag }
    }

    /// Replaces `line` by the form of `record`, with the line end.
    pub(super) fn line(&self, line: &mut String, record: &Record) {
        line.clear();
        // Writing to a string cannot fail.
        self.write(line, record).ok();
        if line.len() > MAX_LINE {
            let end = line.floor_char_boundary(MAX_LINE);
            line.truncate(end);
            line.push('…');
        }
        line.push('\n');
    }

    fn write(&self, line: &mut String, record: &Record) -> std::fmt::Result {
        let (priority, text) = (priority(record.severity()), SyslogText(record));
        let time = DateTime::<Local>::from(at(record));
        write!(line, "<{priority}>")?;
        match &self.host {
            Some(host) => {
                let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
                write!(line, "{time} {host} {}: {text}", self.tag)
            }
            None => write!(
                line,
                "{} {}: {text}",
                time.format("%b %e %H:%M:%S"),
                self.tag
            ),
        }
    }
}

fn at(record: &Record) -> SystemTime {
    match record {
        Record::Flow(FlowEvent { at, .. }) | Record::Message(Message { at, .. }) => *at,
    }
}

fn priority(severity: Severity) -> u8 {
    FACILITY_DAEMON * 8
        + match severity {
            Severity::Debug => 7,
            Severity::Info => 6,
            Severity::Warning => 4,
            Severity::Error => 3,
        }
}

fn host_name() -> String {
    let system = rustix::system::uname();
    one_word(&system.nodename().to_string_lossy())
}

/// A part of the header ends at a space, so it must not contain any.
fn one_word(text: &str) -> String {
    let is_bad = |c: char| c.is_whitespace() || is_harmful(c);
    text.replace(is_bad, "-")
}

const FACILITY_DAEMON: u8 = 3;
/// Longer lines are cut; receivers take 8 KiB and UDP carries it.
const MAX_LINE: usize = 8 << 10;
