//! The `logging` block of a listener's `udp` or `tcp` block.

use crate::config::model::SessionLog;
use crate::config::reader::Section;

pub(super) const KEYS: &[&str] = &[
    "log_session_start",
    "log_session_close",
    "periodic_log_interval",
    "periodic_log_bytes",
    "min_log_duration",
    "min_log_bytes",
];

/// What is left out keeps its default, also when the block is there. 0 turns periodic updates off.
pub(super) fn check(section: &Section<'_>) -> SessionLog {
    let mut log = SessionLog::SESSIONS;
    if let Some(start) = section
        .get("log_session_start")
        .and_then(|entry| entry.boolean())
    {
        log.start = start;
    }
    if let Some(close) = section
        .get("log_session_close")
        .and_then(|entry| entry.boolean())
    {
        log.close = close;
    }
    if let Some(interval) = section
        .get("periodic_log_interval")
        .and_then(|entry| entry.duration())
    {
        log.interval = Some(interval).filter(|interval| !interval.is_zero());
    }
    if let Some(bytes) = section
        .get("periodic_log_bytes")
        .and_then(|entry| entry.size())
    {
        log.bytes = Some(bytes).filter(|bytes| *bytes > 0);
    }
    if let Some(duration) = section
        .get("min_log_duration")
        .and_then(|entry| entry.duration())
    {
        log.min_duration = duration;
    }
    if let Some(bytes) = section.get("min_log_bytes").and_then(|entry| entry.size()) {
        log.min_bytes = bytes;
    }
    log
}
