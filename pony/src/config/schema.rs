//! The keys of a configuration file, and how each becomes a checked value.
//!
//! One file per block; each lists its keys in `KEYS` and says what is wrong with their values. What
//! concerns several blocks at once (names and addresses used twice) is in [`places`].

mod access;
mod admin;
mod destination;
mod guard;
mod limits;
mod listener;
mod logging;
mod metrics;
mod places;
mod proxy_protocol;
mod server;
mod session_log;
mod source;
mod tcp;
mod udp;

use std::time::Duration;

use super::document::EMPTY_REMEDY;
use super::model::{Admin, Config, Guard, TcpShare};
use super::node::{Kind, Node};
use super::problem::Complaint;
use super::reader::{Context, Entry, Section};

const KEYS: &[&str] = &[
    "server",
    "logging",
    "metrics",
    "guard",
    "admin",
    "tcp",
    "listeners",
];

/// Every block with its keys; `[]` stands for each entry of a list.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("", KEYS),
    ("server", server::KEYS),
    ("logging", logging::KEYS),
    ("logging.syslog", logging::SYSLOG_KEYS),
    ("logging.jsonlog", logging::JSONLOG_KEYS),
    ("logging.stdout", logging::STDOUT_KEYS),
    ("metrics", metrics::KEYS),
    ("metrics.prometheus", metrics::PROMETHEUS_KEYS),
    ("guard", guard::KEYS),
    ("admin", admin::KEYS),
    ("tcp", tcp::SHARE_KEYS),
    ("listeners[]", listener::KEYS),
    ("listeners[].rate_limits", limits::KEYS),
    ("listeners[].proxy_protocol", proxy_protocol::KEYS),
    ("listeners[].tcp", tcp::KEYS),
    ("listeners[].tcp.logging", session_log::KEYS),
    ("listeners[].udp", udp::KEYS),
    ("listeners[].udp.logging", session_log::KEYS),
];

/// The shortest time that timers and windows tell apart.
const LEAST_TIME: Duration = Duration::from_millis(1);

/// The longest window or timeout that cannot be switched off.
const MOST_TIME: Duration = Duration::from_hours(366 * 24);

/// Checks a whole file. What is wrong is in `context`; then the result is not to be used.
pub(super) fn check(root: &Node, context: &Context) -> Option<Config> {
    let entry = Entry {
        node: root,
        path: String::new(),
        context,
    };
    match &root.kind {
        Kind::Map(_) => {}
        Kind::Null => {
            entry.error(Complaint::new("holds no configuration", EMPTY_REMEDY));
            return None;
        }
        kind => {
            let message = format!(
                "is {}, where a configuration is a block of keys",
                kind.noun()
            );
            entry.error(Complaint::new(message, EMPTY_REMEDY));
            return None;
        }
    }
    // YAML needs a place for blocks that are only there to be referred to.
    let top = Section::open(&entry, KEYS, |key| key.starts_with("x-"))?;

    let mut places = places::Places::default();
    let server = server::check(&top);
    let logging = logging::check(&top);
    let metrics = top
        .get("metrics")
        .map(|entry| metrics::check(&entry, &mut places));
    let guard = top
        .get("guard")
        .map_or_else(|| Some(Guard::default()), |entry| guard::check(&entry));
    let admin = top
        .get("admin")
        .map_or_else(|| Some(Admin::default()), |entry| admin::check(&entry));
    let tcp = top.get("tcp").map_or_else(
        || Some(TcpShare::default()),
        |entry| tcp::check_share(&entry),
    );
    let listeners = listener::check_all(&top, &mut places);
    let v6_only = places.check();

    let mut config = Config {
        server: server?,
        logging: logging.unwrap_or_default(),
        metrics: metrics.flatten(),
        guard: guard?,
        admin: admin?,
        tcp: tcp?,
        listeners: listeners?,
    };
    for (index, listener) in config.listeners.iter_mut().enumerate() {
        listener.v6_only |= v6_only.contains(&index);
    }
    Some(config)
}

/// Checks a name that will be a metric label and a log field.
fn label(entry: &Entry<'_>) -> Option<String> {
    const MOST: usize = 128;
    let text = entry.text()?;
    let complaint = if text.trim().is_empty() {
        Complaint::new("is an empty name", "write a name such as \"web\"")
    } else if text.chars().any(char::is_control) {
        Complaint::new(
            "has control characters",
            "write a name in printable characters",
        )
    } else if text.len() > MOST {
        Complaint::new(
            "is too long for a name",
            format!("write at most {MOST} bytes"),
        )
    } else {
        return Some(text.to_owned());
    };
    entry.error(complaint);
    None
}
