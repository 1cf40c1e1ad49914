//! Records for the tests of forms and sinks.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, Local, TimeZone as _};

use super::event::{EventKind, FlowEvent, Message, Record};
use crate::config::{Host, HostPort, Protocol, Severity};

/// The same wall clock in whichever zone the tests run.
pub(super) fn local_time() -> DateTime<Local> {
    let second = Local.with_ymd_and_hms(2026, 1, 7, 10, 38, 44).unwrap();
    second + chrono::Duration::nanoseconds(123_456_789)
}

pub(super) fn time() -> SystemTime {
    local_time().into()
}

/// An event from 127.0.0.1:49500 to 127.0.0.1:22 with figures.
pub(super) fn event(kind: EventKind, protocol: Protocol) -> FlowEvent {
    FlowEvent {
        at: time(),
        kind,
        listener: "ssh-test".into(),
        protocol,
        source: "127.0.0.1:49500".parse().unwrap(),
        passage: None,
        target: Arc::new(target("127.0.0.1".parse().unwrap(), 22)),
        bytes_sent: 1024,
        bytes_received: 29,
        packets_sent: 3,
        packets_received: 4,
        duration: Duration::from_millis(120_016),
        error: None,
    }
}

/// An event as it is when a flow opens: without figures.
pub(super) fn open(protocol: Protocol) -> FlowEvent {
    FlowEvent {
        bytes_sent: 0,
        bytes_received: 0,
        packets_sent: 0,
        packets_received: 0,
        duration: Duration::ZERO,
        ..event(EventKind::Open, protocol)
    }
}

/// An event between two IPv6 addresses.
pub(super) fn v6(kind: EventKind) -> FlowEvent {
    FlowEvent {
        source: "[::1]:43398".parse().unwrap(),
        target: Arc::new(target("2001:db8::7".parse().unwrap(), 443)),
        ..event(kind, Protocol::Tcp)
    }
}

pub(super) fn target(ip: std::net::IpAddr, port: u16) -> HostPort {
    let host = Host::Ip(ip);
    HostPort { host, port }
}

pub(super) fn message(severity: Severity, text: &'static str) -> Message {
    Message {
        at: time(),
        ..Message::new(severity, text)
    }
}

pub(super) fn record(text: &'static str) -> Arc<Record> {
    Arc::new(Record::Message(message(Severity::Info, text)))
}

/// Waits until `condition` holds; fails the test when it does not for a long time.
#[track_caller]
pub(super) fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition never held");
        std::thread::yield_now();
    }
}
