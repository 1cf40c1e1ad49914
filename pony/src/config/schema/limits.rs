//! The `rate_limits` block of a listener.

use std::time::Duration;

use pony_common::limit::{Action, BandwidthLimit};
use pony_common::time::Nanos;

use super::{LEAST_TIME, MOST_TIME};
use crate::config::model::{AttemptLimit, Limits};
use crate::config::problem::Complaint;
use crate::config::reader::Section;

pub(super) const KEYS: &[&str] = &[
    "max_connections_per_ip",
    "connections_window",
    "max_connection_attempts_per_ip",
    "attempts_window",
    "max_bandwidth_per_ip",
    "bandwidth_window",
    "max_total_connections",
    "action",
    "throttle_minimum",
    "ipv6_prefix",
];

const ACTIONS: &[(&str, Action)] = &[
    ("drop", Action::Drop),
    ("throttle", Action::Throttle),
    ("log_only", Action::LogOnly),
];

/// 0 switches a limit off, as does leaving it out.
pub(super) fn check(section: &Section<'_>) -> Limits {
    let action = section
        .get("action")
        .and_then(|entry| entry.word("an action", ACTIONS));
    let action = action.unwrap_or_default();
    // Open connections count for as long as they are open, so this window changes nothing.
    let _checked = window(section, "max_connections_per_ip", "connections_window");
    let throttle_minimum = throttle_minimum(section, action);
    let ipv6_prefix = section
        .get("ipv6_prefix")
        .and_then(|entry| entry.integer(1..=128))
        .and_then(|bits| u8::try_from(bits).ok());

    Limits {
        max_connections_per_ip: count(section, "max_connections_per_ip"),
        attempts: attempts(section),
        bandwidth: bandwidth(section, action, throttle_minimum),
        max_total_connections: count(section, "max_total_connections"),
        action,
        ipv6_prefix: ipv6_prefix.unwrap_or(Limits::default().ipv6_prefix),
    }
}

fn count(section: &Section<'_>, key: &'static str) -> Option<u32> {
    let count = section.get(key)?.integer(0..=u32::MAX.into())?;
    u32::try_from(count).ok().filter(|count| *count > 0)
}

fn attempts(section: &Section<'_>) -> Option<AttemptLimit> {
    const LIMIT: &str = "max_connection_attempts_per_ip";
    let max = count(section, LIMIT);
    let window = window(section, LIMIT, "attempts_window");
    let max = max?;
    Some(AttemptLimit {
        max,
        window: required(section, LIMIT, "attempts_window", window)?,
    })
}

fn bandwidth(section: &Section<'_>, action: Action, minimum: u64) -> Option<BandwidthLimit> {
    const LIMIT: &str = "max_bandwidth_per_ip";
    let limit = section
        .get(LIMIT)
        .and_then(|entry| entry.size())
        .filter(|limit| *limit > 0);
    let window = window(section, LIMIT, "bandwidth_window");
    let Some(limit) = limit else {
        warn_of_idle_throttle(section, action);
        return None;
    };
    if minimum > limit
        && let Some(entry) = section.get("throttle_minimum")
    {
        let remedy = "write a minimum that is not above the limit, or raise the limit";
        entry.error(Complaint::new(
            format!("is more than max_bandwidth_per_ip ({limit} bytes)"),
            remedy,
        ));
    }
    let window = required(section, LIMIT, "bandwidth_window", window)?;
    let window = Nanos::from_duration(window);
    Some(BandwidthLimit {
        limit,
        window,
        action,
        throttle_minimum: minimum,
    })
}

/// The window of a limit; `None` also when it is 0. Without its limit it does nothing.
fn window(section: &Section<'_>, limit: &'static str, key: &'static str) -> Option<Duration> {
    let entry = section.get(key)?;
    entry.duration().filter(|window| !window.is_zero())?;
    if section.get(limit).is_none() {
        let remedy = format!("add {limit}, or remove it");
        entry.warn(Complaint::new(
            format!("has no effect without {limit}"),
            remedy,
        ));
    }
    entry.duration_in(LEAST_TIME..=MOST_TIME)
}

/// Reports a limit whose window is left out or 0; a window that is wrong was reported already.
fn required(
    section: &Section<'_>,
    limit: &'static str,
    key: &'static str,
    window: Option<Duration>,
) -> Option<Duration> {
    let remedy = format!("write over which time {limit} counts, such as `{key}: \"1m\"`");
    match section.get(key) {
        None => section.missing(
            key,
            Complaint::new(format!("is missing beside {limit}"), remedy),
        ),
        Some(entry) if entry.is_zero_duration() => {
            entry.error(Complaint::new(
                format!("leaves {limit} without a window"),
                remedy,
            ));
        }
        Some(_) => {}
    }
    window
}

/// 0 unless the action is `throttle`; its syntax is checked with every action.
fn throttle_minimum(section: &Section<'_>, action: Action) -> u64 {
    const KEY: &str = "throttle_minimum";
    const REMEDY: &str =
        "write the bytes per bandwidth_window that a throttled client keeps, such as \"1MB\"";
    let Some(entry) = section.get(KEY) else {
        if action == Action::Throttle {
            section.missing(
                KEY,
                Complaint::new("is missing beside action throttle", REMEDY),
            );
        }
        return 0;
    };
    let minimum = entry.size();
    match (action, minimum) {
        (Action::Throttle, Some(0)) => {
            entry.error(Complaint::new(
                "would stop throttled clients for good",
                REMEDY,
            ));
        }
        (Action::Throttle, Some(minimum)) => return minimum,
        (Action::Drop | Action::LogOnly, Some(minimum)) if minimum > 0 => {
            let remedy = "write `action: throttle`, or remove it";
            entry.warn(Complaint::new(
                "has no effect without action throttle",
                remedy,
            ));
        }
        _ => {}
    }
    0
}

fn warn_of_idle_throttle(section: &Section<'_>, action: Action) {
    if action == Action::Throttle
        && let Some(entry) = section.get("action")
    {
        entry.warn(Complaint::new(
            "has nothing to throttle: there is no bandwidth limit",
            "add max_bandwidth_per_ip and bandwidth_window; the other limits refuse in any case",
        ));
    }
}
