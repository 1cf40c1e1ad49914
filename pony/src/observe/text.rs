//! Records as text: the lines of standard output, and what syslog carries.
//!
//! Forms only. The words are those of the first `PacketPony`, because people's scripts read them.

use std::{
    cell::RefCell,
    fmt,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Local};

use super::{
    escape::{Plain, Quoted, Value as Escaped},
    event::{EventKind, FlowEvent, Message, Record, Value},
};
use crate::config::{Protocol, Severity};

/// A record as one line of standard output, without the line end.
pub(super) struct Line<'a>(pub &'a Record);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Flow(event) => {
                write!(f, "[{}] {}: ", local(event.at), happened(event.kind))?;
                write!(f, "listener={} ", Escaped(&event.listener))?;
                write!(f, "protocol={} {}", event.protocol, Ends(event))?;
                match event.kind {
                    EventKind::Open => Ok(()),
                    EventKind::Update | EventKind::Close => Figures(event).fmt(f),
                }
            }
            Record::Message(message) => {
                let level = level(message.severity);
                write!(f, "[{}] [{level}] {}", local(message.at), Text(message))
            }
        }
    }
}

/// What syslog is told; it has a clock and levels of its own.
pub(super) struct SyslogText<'a>(pub &'a Record);

impl fmt::Display for SyslogText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Flow(event) => {
                let kind = event.kind.as_str();
                write!(f, "listener={} ", Escaped(&event.listener))?;
                write!(f, "proto={} event={kind} {}", event.protocol, Ends(event))?;
                match event.kind {
                    EventKind::Open => Ok(()),
                    EventKind::Update | EventKind::Close => Figures(event).fmt(f),
                }
            }
            Record::Message(message) => Text(message).fmt(f),
        }
    }
}

/// `src=… dst=…`, and through which front end
struct Ends<'a>(&'a FlowEvent);

impl fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.target.to_string();
        write!(f, "src={} dst={}", self.0.source(), Escaped(&target))?;
        let Some(passage) = &self.0.passage else {
            return Ok(());
        };
        if let Some(front_end) = passage.front_end {
            write!(
                f,
                " front_end={front_end} destination={}",
                passage.destination
            )?;
        }
        if let Some(id) = &passage.unique_id {
            write!(f, " unique_id={}", Escaped(id))?;
        }
        if let Some(name) = &passage.authority {
            write!(f, " authority={}", Escaped(name))?;
        }
        Ok(())
    }
}

/// ` duration=… …`: what a flow has done, and why it ended.
struct Figures<'a>(&'a FlowEvent);

impl fmt::Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.0;
        write!(
            f,
            " duration={}ms bytes_sent={} bytes_recv={}",
            event.duration_ms(),
            event.bytes_sent,
            event.bytes_received
        )?;
        if event.protocol == Protocol::Udp {
            let (sent, received) = (event.packets_sent, event.packets_received);
            write!(f, " pkts_sent={sent} pkts_recv={received}")?;
        }
        match &event.error {
            Some(error) => write!(f, " error={}", Quoted(error)),
            None => Ok(()),
        }
    }
}

/// `text k=v k=v`
struct Text<'a>(&'a Message);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Plain(&self.0.text).fmt(f)?;
        for (name, value) in &self.0.fields {
            write!(f, " {name}=")?;
            match value {
                Value::Text(text) if *name == "error" => Quoted(text).fmt(f)?,
                Value::Text(text) => Escaped(text).fmt(f)?,
                Value::Unsigned(number) => number.fmt(f)?,
                Value::Signed(number) => number.fmt(f)?,
                Value::Float(number) => number.fmt(f)?,
                Value::Bool(truth) => truth.fmt(f)?,
            }
        }
        Ok(())
    }
}

const fn happened(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Open => "Connection opened",
        EventKind::Update => "Connection updated",
        EventKind::Close => "Connection closed",
    }
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "DEBUG",
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    }
}

/// A time in the local zone, to the second.
///
/// Lines come by the thousand within one, and working out the zone takes longer than all the rest.
fn local(at: SystemTime) -> impl fmt::Display {
    thread_local! {
        static LAST: RefCell<(Option<Duration>, Rc<str>)> = RefCell::new((None, Rc::from("")));
    }
    let second =
        (at.duration_since(UNIX_EPOCH).ok()).map(|time| Duration::from_secs(time.as_secs()));
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || second.is_none() {
            *last = second;
            *text = DateTime::<Local>::from(at)
                .format("%Y-%m-%d %H:%M:%S")
                .to_string()
                .into();
        }
        Rc::clone(text)
    })
}

#[cfg(test)]
mod tests;
