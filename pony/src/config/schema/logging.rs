//! The `logging` block: where events and messages go.

use std::path::PathBuf;

use crate::config::address::{Host, HostPort};
use crate::config::model::{
    LogLevel, Logging, Protocol, Severity, StdoutFormat, Syslog, SyslogTransport,
};
use crate::config::node::Kind;
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

pub(super) const KEYS: &[&str] = &["level", "syslog", "jsonlog", "stdout"];
pub(super) const SYSLOG_KEYS: &[&str] = &["enabled", "network", "address", "tag", "priority"];
pub(super) const JSONLOG_KEYS: &[&str] = &["enabled", "path"];
pub(super) const STDOUT_KEYS: &[&str] = &["enabled", "use_json"];

const DEFAULT_TAG: &str = "pony";

const NONE_ENABLED: &str = "write `stdout:` with `enabled: true` below `logging:`";

const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warning", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const PRIORITIES: &[(&str, Severity)] = &[
    ("debug", Severity::Debug),
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("error", Severity::Error),
];

#[derive(Clone, Copy)]
enum Network {
    Local,
    Udp,
    Tcp,
    Unix,
}

const NETWORKS: &[(&str, Network)] = &[
    ("udp", Network::Udp),
    ("tcp", Network::Tcp),
    ("unix", Network::Unix),
    ("", Network::Local),
];

pub(super) fn check(top: &Section<'_>) -> Option<Logging> {
    let section = top.require("logging", NONE_ENABLED)?.section(KEYS)?;

    let syslog = section
        .get("syslog")
        .and_then(|entry| entry.section(SYSLOG_KEYS));
    let jsonlog = section
        .get("jsonlog")
        .and_then(|entry| entry.section(JSONLOG_KEYS));
    let stdout = section
        .get("stdout")
        .and_then(|entry| entry.section(STDOUT_KEYS));
    let enabled =
        [&syslog, &jsonlog, &stdout].map(|block| block.as_ref().is_some_and(Section::is_enabled));
    if enabled == [false; 3] {
        section.error(Complaint::new("enables no logging method", NONE_ENABLED));
    }

    let [syslog_on, jsonlog_on, stdout_on] = enabled;
    let syslog = syslog.and_then(|block| check_syslog(&block, syslog_on));
    let json_file = jsonlog.and_then(|block| check_jsonlog(&block, jsonlog_on));
    let stdout = stdout.map(|block| check_stdout(&block));
    let level = match section.get("level") {
        Some(entry) => entry.word("a level", LEVELS),
        None => Some(LogLevel::default()),
    };
    Some(Logging {
        level: level?,
        syslog: syslog.filter(|_| syslog_on),
        json_file: json_file.filter(|_| jsonlog_on),
        stdout: stdout.filter(|_| stdout_on),
    })
}

fn check_stdout(block: &Section<'_>) -> StdoutFormat {
    match block.get("use_json").and_then(|entry| entry.boolean()) {
        Some(true) => StdoutFormat::Json,
        _ => StdoutFormat::Text,
    }
}

fn check_jsonlog(block: &Section<'_>, is_enabled: bool) -> Option<PathBuf> {
    let Some(entry) = block.get("path") else {
        if is_enabled {
            let remedy = "write the file's path, such as \"/var/log/packetpony/events.json\"";
            block.missing("path", Complaint::new("is missing", remedy));
        }
        return None;
    };
    path(&entry)
}

/// A path that the system could open.
fn path(entry: &Entry<'_>) -> Option<PathBuf> {
    let text = entry.text()?;
    if text.is_empty() || text.contains('\0') || text.ends_with('/') {
        entry.error(Complaint::new(
            "is not the path of a file",
            "write the path of a file",
        ));
        return None;
    }
    Some(PathBuf::from(text))
}

fn check_syslog(block: &Section<'_>, is_enabled: bool) -> Option<Syslog> {
    let network = match block.get("network") {
        Some(entry) => entry.word("a network for syslog", NETWORKS),
        None => Some(Network::Local),
    };
    let transport = network.and_then(|network| check_transport(block, network, is_enabled));
    let tag = match block.get("tag") {
        Some(entry) => check_tag(&entry),
        None => Some(DEFAULT_TAG.to_owned()),
    };
    let priority = match block.get("priority") {
        Some(entry) => entry.word("a priority", PRIORITIES),
        None => Some(Severity::Info),
    };
    Some(Syslog {
        transport: transport?,
        tag: tag?,
        priority: priority?,
    })
}

/// An empty tag is the default one.
fn check_tag(entry: &Entry<'_>) -> Option<String> {
    const MOST: usize = 48;
    let text = entry.text()?;
    if text.is_empty() {
        return Some(DEFAULT_TAG.to_owned());
    }
    // RFC 3164 ends a tag at the first character of another kind, RFC 5424 wants printable ASCII
    // and at most 48 of it.
    let is_good = text.len() <= MOST && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_good {
        let remedy = format!("write at most {MOST} printable ASCII characters without spaces");
        entry.error(Complaint::new("is not a syslog tag", remedy));
    }
    is_good.then(|| text.to_owned())
}

fn check_transport(
    block: &Section<'_>,
    network: Network,
    is_enabled: bool,
) -> Option<SyslogTransport> {
    let Some(entry) = block.get("address").filter(|entry| !is_empty_text(entry)) else {
        return match network {
            Network::Local => Some(SyslogTransport::Local),
            Network::Unix => require_address(
                block,
                is_enabled,
                "the path of its socket, such as \"/dev/log\"",
            ),
            Network::Udp | Network::Tcp => require_address(
                block,
                is_enabled,
                "the receiver's host:port, such as \"localhost:514\"",
            ),
        };
    };
    match network {
        Network::Udp => receiver(&entry, Protocol::Udp).map(SyslogTransport::Udp),
        Network::Tcp => receiver(&entry, Protocol::Tcp).map(SyslogTransport::Tcp),
        Network::Unix => socket_path(&entry).map(SyslogTransport::Unix),
        Network::Local if entry.text()?.starts_with('/') => {
            socket_path(&entry).map(SyslogTransport::Unix)
        }
        Network::Local => {
            entry.warn(Complaint::new(
                "has no effect without a network; the local syslog is used",
                "write `network: udp` or `network: tcp` beside it, or leave it out",
            ));
            Some(SyslogTransport::Local)
        }
    }
}

fn require_address(block: &Section<'_>, is_enabled: bool, what: &str) -> Option<SyslogTransport> {
    if is_enabled {
        block.missing(
            "address",
            Complaint::new("is missing", format!("write {what}")),
        );
    }
    None
}

fn is_empty_text(entry: &Entry<'_>) -> bool {
    matches!(&entry.node.kind, Kind::Text(text) if text.trim().is_empty())
}

fn receiver(entry: &Entry<'_>, protocol: Protocol) -> Option<HostPort> {
    let address = entry.address(protocol)?;
    if address.host == Host::Any || address.port == 0 {
        let remedy = "write the receiver's host:port, such as \"localhost:514\"";
        entry.error(Complaint::new("is not the address of a receiver", remedy));
        return None;
    }
    Some(address)
}

fn socket_path(entry: &Entry<'_>) -> Option<PathBuf> {
    if !entry.text()?.starts_with('/') {
        let remedy = "write the path of its socket, such as \"/dev/log\"";
        entry.error(Complaint::new("is not the path of a socket", remedy));
        return None;
    }
    path(entry)
}
