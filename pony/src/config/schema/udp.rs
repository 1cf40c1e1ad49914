//! The `udp` block of a listener.

use super::{LEAST_TIME, session_log};
use crate::config::model::{SessionLog, Udp};
use crate::config::reader::Section;

pub(super) const KEYS: &[&str] = &["session_timeout", "buffer_size", "logging"];

const MOST_BUFFER: u64 = 65536;

pub(super) fn check(section: &Section<'_>) -> (Udp, SessionLog) {
    let default = Udp::default();
    let session_timeout = section
        .get("session_timeout")
        .and_then(|entry| entry.duration_in(LEAST_TIME..=super::MOST_TIME));
    let buffer_size = section
        .get("buffer_size")
        .and_then(|entry| entry.integer(1..=MOST_BUFFER))
        .and_then(|size| usize::try_from(size).ok());
    let log = section
        .get("logging")
        .and_then(|entry| entry.section(session_log::KEYS));
    let udp = Udp {
        session_timeout: session_timeout.unwrap_or(default.session_timeout),
        buffer_size: buffer_size.unwrap_or(default.buffer_size),
    };
    (
        udp,
        log.map_or(SessionLog::SESSIONS, |log| session_log::check(&log)),
    )
}
