//! What can be logged: events of flows and sessions, and messages about the daemon itself.
//!
//! Plain values. How they look is the business of `text` and `json`, where they go that of the
//! sinks.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::config::{Host, HostPort, Protocol, Severity};

/// A moment in the life of a flow or session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    Open,
    /// It goes on; these are its figures so far.
    Update,
    Close,
}

impl EventKind {
    /// The name in JSON and syslog.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Update => "update",
            Self::Close => "close",
        }
    }
}

/// How a client came, where more is known than its address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passage {
    /// The proxy through which it came, if through any.
    pub front_end: Option<SocketAddr>,
    /// What it connected to.
    pub destination: SocketAddr,
    /// The name of the connection, for correlating logs.
    pub unique_id: Option<String>,
    pub authority: Option<String>,
}

/// One event of a TCP flow or a UDP session. Figures are totals since it opened.
#[derive(Clone, Debug)]
pub struct FlowEvent {
    pub at: SystemTime,
    pub kind: EventKind,
    pub listener: Arc<str>,
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// `None` if there is nothing to say about it.
    pub passage: Option<Arc<Passage>>,
    /// Where the client is forwarded to, by the name that is configured.
    pub target: Arc<HostPort>,
    /// Payload bytes from client to target.
    pub bytes_sent: u64,
    /// Payload bytes from target to client.
    pub bytes_received: u64,
    /// Datagrams from client to target. Shown for UDP only.
    pub packets_sent: u64,
    /// Datagrams from target to client. Shown for UDP only.
    pub packets_received: u64,
    pub duration: Duration,
    /// Why it ended, when that was not its ordinary end.
    pub error: Option<String>,
}

impl FlowEvent {
    /// The client's address, IPv4 also when it arrived IPv4-mapped on a dual-stack socket.
    pub(super) fn source(&self) -> SocketAddr {
        match self.source.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, self.source.port())),
            IpAddr::V6(_) => self.source,
        }
    }

    /// The target's host without the brackets that an address with a port needs.
    pub(super) fn target_host(&self) -> Cow<'_, str> {
        match &self.target.host {
            Host::Any => Cow::Borrowed(""),
            Host::Ip(ip) => Cow::Owned(ip.to_string()),
            Host::Name(name) => Cow::Borrowed(name),
        }
    }

    /// The duration in whole milliseconds.
    pub(super) fn duration_ms(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A message about the daemon: a text and named values, in the order in which they are shown.
#[derive(Clone, Debug)]
pub struct Message {
    pub at: SystemTime,
    pub severity: Severity,
    pub text: Cow<'static, str>,
    pub fields: Vec<(&'static str, Value)>,
}

impl Message {
    /// A message of this moment without fields.
    pub fn new(severity: Severity, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            at: SystemTime::now(),
            severity,
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// Adds a field behind those that are there.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}

/// The value of a message's field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

/// What a sink writes.
#[derive(Debug)]
pub(super) enum Record {
    Flow(FlowEvent),
    Message(Message),
}

impl Record {
    /// An event is for information, unless it tells of an error.
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::Flow(FlowEvent { error: Some(_), .. }) => Severity::Warning,
            Self::Flow(_) => Severity::Info,
            Self::Message(message) => message.severity,
        }
    }
}
