//! One entry of `listeners`.

use super::places::{Owner, Places};
use super::{access, label, limits, tcp, udp};
use crate::config::address::{Host, HostPort};
use crate::config::model::{Limits, Listener, Protocol, SessionLog, Tcp, Udp};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

pub(super) const KEYS: &[&str] = &[
    "name",
    "protocol",
    "listen_address",
    "target_address",
    "allowlist",
    "denylist",
    "exempt",
    "rate_limits",
    "tcp",
    "udp",
];

const PROTOCOLS: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

const NONE_REMEDY: &str =
    "write at least one, with name, protocol, listen_address, target_address and allowlist";

pub(super) fn check_all<'a>(top: &Section<'a>, places: &mut Places<'a>) -> Option<Vec<Listener>> {
    let entry = top.require("listeners", NONE_REMEDY)?;
    let entries = entry.list()?;
    if entries.is_empty() {
        entry.error(Complaint::new("is an empty list", NONE_REMEDY));
        return None;
    }
    // Every listener is looked at, also behind one that is wrong.
    let listeners: Vec<Option<Listener>> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| check(index, entry, places))
        .collect();
    listeners.into_iter().collect()
}

fn check<'a>(index: usize, entry: &Entry<'a>, places: &mut Places<'a>) -> Option<Listener> {
    let section = entry.section(KEYS)?;

    let name = section.require("name", "write a unique name, such as `name: \"web\"`");
    let name = name.and_then(|entry| places.claim_name(label(&entry)?, &entry));
    let protocol = section.require("protocol", "write `protocol: tcp` or `protocol: udp`");
    let protocol = protocol.and_then(|entry| entry.word("a protocol", PROTOCOLS));
    let assumed = protocol.unwrap_or(Protocol::Tcp);

    let listen_entry = section.require(
        "listen_address",
        "write where to listen, such as \"0.0.0.0:8080\"",
    );
    let listen = listen_entry
        .as_ref()
        .and_then(|entry| listen_address(entry, assumed));
    if let (Some(protocol), Some(entry), Some(listen)) = (protocol, listen_entry, &listen) {
        places.add(Owner::Listener(index), protocol, listen, entry);
    }
    let target = section.require(
        "target_address",
        "write where to forward to, such as \"192.0.2.1:80\"",
    );
    let target = target.and_then(|entry| target_address(&entry, assumed));

    let access = access::check(&section);
    let limits = section
        .get("rate_limits")
        .and_then(|entry| entry.section(limits::KEYS));
    let limits = limits.map_or_else(Limits::default, |section| limits::check(&section));
    let (tcp, udp, session_log) = transports(&section, protocol);
    Some(Listener {
        name: name?.into(),
        protocol: protocol?,
        listen: listen?,
        v6_only: false,
        target: target?,
        access,
        limits,
        tcp,
        udp,
        session_log,
    })
}

/// Both blocks are checked; the one of the other protocol does nothing.
fn transports(section: &Section<'_>, protocol: Option<Protocol>) -> (Tcp, Udp, SessionLog) {
    let block = |key, of: Protocol, keys| {
        let entry = section.get(key)?;
        if protocol.is_some_and(|protocol| protocol != of) {
            let message = format!(
                "has no effect on a {} listener",
                if of == Protocol::Tcp { "udp" } else { "tcp" }
            );
            entry.warn(Complaint::new(message, "remove it, or change the protocol"));
        }
        entry.section(keys)
    };
    let tcp = block("tcp", Protocol::Tcp, tcp::KEYS);
    let udp = block("udp", Protocol::Udp, udp::KEYS);
    let (tcp, tcp_log) = tcp.map_or_else(
        || (Tcp::default(), SessionLog::CONNECTIONS),
        |block| tcp::check(&block),
    );
    let (udp, udp_log) = udp.map_or_else(
        || (Udp::default(), SessionLog::SESSIONS),
        |block| udp::check(&block),
    );
    let session_log = match protocol {
        Some(Protocol::Udp) => udp_log,
        Some(Protocol::Tcp) | None => tcp_log,
    };
    (tcp, udp, session_log)
}

/// Reads the address of a listening socket.
pub(super) fn listen_address(entry: &Entry<'_>, protocol: Protocol) -> Option<HostPort> {
    let address = entry.address(protocol)?;
    if address.port == 0 {
        entry.warn(Complaint::new(
            "has port 0: the kernel picks a port at every start",
            "write a port from 1 to 65535 unless that is meant",
        ));
    }
    Some(address)
}

fn target_address(entry: &Entry<'_>, protocol: Protocol) -> Option<HostPort> {
    let address = entry.address(protocol)?;
    let port = if address.port == 0 {
        "PORT".to_owned()
    } else {
        address.port.to_string()
    };
    let complaint = if address.host == Host::Any {
        let remedy = format!("write the target's host, such as \"127.0.0.1:{port}\"");
        Complaint::new("has no host", remedy)
    } else if address.port == 0 {
        let remedy = format!(
            "write \"{}:PORT\" with a port from 1 to 65535",
            address.host
        );
        Complaint::new("has port 0, where nothing can be reached", remedy)
    } else {
        return Some(address);
    };
    entry.error(complaint);
    None
}
