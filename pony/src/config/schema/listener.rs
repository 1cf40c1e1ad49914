//! One entry of `listeners`.

use super::places::{Owner, Places};
use super::{access, destination, label, limits, proxy_protocol, source, tcp, udp};
use crate::config::address::{Host, HostPort};
use crate::config::model::{Family, Limits, Listener, Protocol, SessionLog, Tcp, Udp};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};
use crate::config::span::Listen;

pub(super) const KEYS: &[&str] = &[
    "name",
    "protocol",
    "listen_address",
    "transparent",
    "target_address",
    "target_address_v6",
    "dynamic_destination",
    "allowed_destinations",
    "preserve_source",
    "preserve_source_port",
    "routing",
    "mark",
    "allowlist",
    "denylist",
    "exempt",
    "rate_limits",
    "proxy_protocol",
    "tcp",
    "udp",
];

const PROTOCOLS: &[(&str, (Protocol, Option<Family>))] = &[
    ("tcp", (Protocol::Tcp, None)),
    ("udp", (Protocol::Udp, None)),
    ("tcp4", (Protocol::Tcp, Some(Family::V4))),
    ("tcp6", (Protocol::Tcp, Some(Family::V6))),
    ("udp4", (Protocol::Udp, Some(Family::V4))),
    ("udp6", (Protocol::Udp, Some(Family::V6))),
];

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
    let (protocol, family) = protocol.map_or((None, None), |(it, family)| (Some(it), family));
    let assumed = protocol.unwrap_or(Protocol::Tcp);

    let listen_entry = section.require(
        "listen_address",
        "write where to listen, such as \"0.0.0.0:8080\"",
    );
    let listen = listen_entry
        .as_ref()
        .and_then(|entry| in_family(entry, listen_span(entry, assumed)?, assumed, family));
    if let (Some(protocol), Some(entry), Some(listen)) = (protocol, listen_entry, &listen) {
        match &listen.span {
            Some(span) => places.add_span((protocol, family), span, entry),
            None => places.add(
                Owner::Listener(index),
                (protocol, family),
                &listen.at,
                entry,
            ),
        }
    }
    let at = listen.as_ref().map(|listen| &listen.at);
    let targets = source::targets(&section, assumed, at);
    let source = source::check(&section);
    let access = access::check(&section);
    if source.preserve.is_some() {
        source::warn_of_families(&section, &targets, &access);
    }
    let limits = section
        .get("rate_limits")
        .and_then(|entry| entry.section(limits::KEYS));
    let limits = limits.map_or_else(Limits::default, |section| limits::check(&section));
    let proxy_protocol = proxy_protocol::check(&section, assumed);
    let destinations = destination::check(&section, proxy_protocol.as_ref());
    let (tcp, udp, session_log) = transports(&section, protocol);
    let Listen { at: listen, span } = listen?;
    Some(Listener {
        name: name?.into(),
        protocol: protocol?,
        family,
        listen,
        span,
        v6_only: family == Some(Family::V6),
        transparent: is_transparent(&section),
        target: targets.target?,
        target_v6: targets.v6,
        destinations,
        source,
        access,
        limits,
        proxy_protocol: proxy_protocol?,
        tcp,
        udp,
        session_log,
    })
}

fn is_transparent(section: &Section<'_>) -> bool {
    let entry = section.get("transparent");
    entry.and_then(|entry| entry.boolean()).unwrap_or(false)
}

/// Both blocks are checked; the one of the other protocol does nothing.
fn transports(section: &Section<'_>, protocol: Option<Protocol>) -> (Tcp, Udp, SessionLog) {
    let block = |key, of: Protocol, keys| {
        let entry = section.get(key)?;
        if let Some(protocol) = protocol.filter(|protocol| *protocol != of) {
            entry.warn(no_effect(protocol));
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

/// What is said of a key that is for the other protocol.
pub(super) fn no_effect(protocol: Protocol) -> Complaint {
    Complaint::new(
        format!("has no effect on a {protocol} listener"),
        "remove it, or change the protocol",
    )
}

/// Reads the address of a listening socket.
pub(super) fn listen_address(entry: &Entry<'_>, protocol: Protocol) -> Option<HostPort> {
    let address = entry.address(protocol)?;
    warn_of_port_0(entry, &address);
    Some(address)
}

/// Reads what a listener is reached at.
fn listen_span(entry: &Entry<'_>, protocol: Protocol) -> Option<Listen> {
    let listen = entry.listen(protocol)?;
    warn_of_port_0(entry, &listen.at);
    Some(listen)
}

fn warn_of_port_0(entry: &Entry<'_>, address: &HostPort) {
    if address.port == 0 {
        entry.warn(Complaint::new(
            "has port 0: the kernel picks a port at every start",
            "write a port from 1 to 65535 unless that is meant",
        ));
    }
}

/// The address as a listener has it that is of this family alone.
fn in_family(
    entry: &Entry<'_>,
    listen: Listen,
    protocol: Protocol,
    family: Option<Family>,
) -> Option<Listen> {
    let Some(family) = family else {
        return Some(listen);
    };
    let (number, other) = match family {
        Family::V4 => (4, 6),
        Family::V6 => (6, 4),
    };
    match listen.at.host {
        Host::Any => Some(listen.all_of(family.wildcard())),
        Host::Ip(ip) if Family::of(ip) != family => {
            let example = listen.all_of(family.wildcard());
            entry.error(Complaint::new(
                format!("is an IPv{other} address, but the protocol is {protocol}{number}"),
                format!(
                    "write an IPv{number} address such as \"{example}\", or `protocol: {protocol}{other}`"
                ),
            ));
            None
        }
        Host::Ip(_) | Host::Name(_) => Some(listen),
    }
}
