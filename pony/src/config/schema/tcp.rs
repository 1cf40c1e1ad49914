//! The `tcp` block of a listener, and the one of the whole file.

use std::time::Duration;

use super::{LEAST_TIME, MOST_TIME, session_log};
use crate::config::model::{Lane, SessionLog, Tcp, TcpShare};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

pub(super) const KEYS: &[&str] = &[
    "lane",
    "read_timeout",
    "write_timeout",
    "idle_timeout",
    "connect_timeout",
    "keepalive",
    "logging",
];

/// Of the whole file.
pub(super) const SHARE_KEYS: &[&str] = &["memory"];

/// A hundred stalled flows need this much to move at all.
const LEAST_MEMORY: u64 = 16 << 20;

/// What all listeners share.
pub(super) fn check_share(entry: &Entry<'_>) -> Option<TcpShare> {
    let section = entry.section(SHARE_KEYS)?;
    let memory = match section.get("memory") {
        Some(entry) => Some(entry.size_from(LEAST_MEMORY)?),
        None => None,
    };
    Some(TcpShare { memory })
}

pub(super) fn check(section: &Section<'_>) -> (Tcp, SessionLog) {
    let default = Tcp::default();
    let connect_timeout = section
        .get("connect_timeout")
        .and_then(|entry| entry.duration_in(LEAST_TIME..=MOST_TIME));
    let log = section
        .get("logging")
        .and_then(|entry| entry.section(session_log::KEYS));
    let tcp = Tcp {
        lane: section.get("lane").and_then(|entry| lane(&entry)),
        read_timeout: timeout(section, "read_timeout"),
        write_timeout: timeout(section, "write_timeout"),
        idle_timeout: timeout(section, "idle_timeout"),
        connect_timeout: connect_timeout.unwrap_or(default.connect_timeout),
        keepalive: match section.get("keepalive") {
            Some(_) => keepalive(section),
            None => default.keepalive,
        },
    };
    warn_of_one_way_transfers(section, &tcp);
    (
        tcp,
        log.map_or(SessionLog::CONNECTIONS, |log| session_log::check(&log)),
    )
}

fn lane(entry: &Entry<'_>) -> Option<Lane> {
    let words = [
        ("auto", None),
        ("copy", Some(Lane::Copy)),
        ("splice", Some(Lane::Splice)),
        ("sockmap", Some(Lane::Sockmap)),
    ];
    entry.word("a lane", &words).flatten()
}

/// 0 is no timeout.
fn timeout(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    section
        .get(key)?
        .duration()
        .filter(|timeout| !timeout.is_zero())
}

/// 0 is off. The kernel counts whole seconds, at most 32767 of them (`MAX_TCP_KEEPIDLE`).
fn keepalive(section: &Section<'_>) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(32767);
    let entry = section.get("keepalive")?;
    let value = entry.duration().filter(|value| !value.is_zero())?;
    if !(LEAST..=MOST).contains(&value) {
        let remedy = "write \"0s\" to turn it off, or from \"1s\" to \"9h\"";
        entry.error(Complaint::new("is not a keepalive interval", remedy));
    }
    Some(value)
}

fn warn_of_one_way_transfers(section: &Section<'_>, tcp: &Tcp) {
    let (Some(read), Some(idle)) = (tcp.read_timeout, tcp.idle_timeout) else {
        return;
    };
    if read < idle
        && let Some(entry) = section.get("read_timeout")
    {
        entry.warn(Complaint::new(
            "is shorter than idle_timeout: a transfer that goes one way only for longer than this is cut",
            format!("write at least the idle_timeout ({idle:?}) unless that is meant"),
        ));
    }
}
