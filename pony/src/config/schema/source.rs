//! The keys of a listener that say where its clients are forwarded to, and from which address the
//! target sees them come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::address::{Host, HostPort};
use crate::config::model::{Access, Protocol, Routing, Source, SourcePort};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};
use crate::config::target::Target;

/// Where to.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) target: Option<Target>,
    pub(super) v6: Option<Target>,
}

pub(super) fn targets(
    section: &Section<'_>,
    protocol: Protocol,
    listen: Option<&HostPort>,
) -> Targets {
    let entry = section.require(
        "target_address",
        "write where to forward to, such as \"192.0.2.1:80\"",
    );
    let read = |entry: Entry<'_>| {
        let target = entry.target(protocol)?;
        if listen.is_some_and(|listen| is_itself(&target, listen)) {
            entry.warn(Complaint::new(
                "is this listener itself: without a port it is the one that the client connected to",
                "write the target's port, as host:port",
            ));
        }
        Some(target)
    };
    Targets {
        target: entry.and_then(read),
        v6: section.get("target_address_v6").and_then(read),
    }
}

/// Whether a client that is forwarded arrives where it was.
fn is_itself(target: &Target, listen: &HostPort) -> bool {
    let Target {
        host: Host::Ip(target),
        port: None,
    } = target
    else {
        return false;
    };
    match listen.host {
        Host::Any => target.is_loopback(),
        Host::Ip(ip) if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => target.is_loopback(),
        Host::Ip(ip) if ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            target.is_ipv4() && target.is_loopback()
        }
        Host::Ip(ip) => ip == *target,
        Host::Name(_) => false,
    }
}

/// From which address.
pub(super) fn check(section: &Section<'_>) -> Source {
    let preserves = section
        .get("preserve_source")
        .and_then(|entry| entry.boolean())
        .unwrap_or(false);
    let port = section.get("preserve_source_port").and_then(|entry| {
        let words = [
            ("preferred", SourcePort::Preferred),
            ("required", SourcePort::Required),
        ];
        entry.word("a way to keep the port", &words)
    });
    let routing = section.get("routing").and_then(|entry| {
        let words = [("auto", Routing::Auto), ("manual", Routing::Manual)];
        entry.word("a way to set up routing", &words)
    });
    if !preserves {
        warn_of_no_effect(section);
    }
    Source {
        preserve: preserves.then(|| port.unwrap_or_default()),
        routing: routing.unwrap_or_default(),
        mark: section.get("mark").and_then(|entry| mark(&entry)),
    }
}

fn warn_of_no_effect(section: &Section<'_>) {
    for key in ["preserve_source_port", "routing"] {
        if let Some(entry) = section.get(key) {
            entry.warn(Complaint::new(
                "has no effect without preserve_source",
                "add `preserve_source: true`, or remove it",
            ));
        }
    }
}

/// 0 is no mark.
fn mark(entry: &Entry<'_>) -> Option<u32> {
    let mark = u32::try_from(entry.integer(0..=u32::MAX.into())?).ok()?;
    (mark != 0).then_some(mark)
}

/// Clients of one family cannot appear at a target of the other.
pub(super) fn warn_of_families(section: &Section<'_>, targets: &Targets, access: &Access) {
    let Some(Target {
        host: Host::Ip(target),
        ..
    }) = targets.target
    else {
        return;
    };
    let v6_target = match &targets.v6 {
        None => Some(target),
        Some(Target {
            host: Host::Ip(v6), ..
        }) => Some(*v6),
        Some(_) => None,
    };
    let allows_v4 = access.allow.iter().any(|net| net.addr().is_ipv4());
    let allows_v6 = access.allow.iter().any(|net| net.addr().is_ipv6());
    if allows_v4 && target.is_ipv6() {
        warn(section, "target_address", "IPv4", "IPv6");
    }
    if allows_v6 && v6_target.is_some_and(|target| target.is_ipv4()) {
        let key = match targets.v6 {
            Some(_) => "target_address_v6",
            None => "target_address",
        };
        warn(section, key, "IPv6", "IPv4");
    }
}

fn warn(section: &Section<'_>, key: &'static str, clients: &str, target: &str) {
    let remedy = match clients {
        "IPv6" => "target_address_v6",
        _ => "target_address",
    };
    if let Some(entry) = section.get(key) {
        entry.warn(Complaint::new(
            format!("is {target}, and {clients} clients are allowed: with preserve_source they cannot be connected"),
            format!("write a target of theirs ({remedy}), or keep them out of the allowlist"),
        ));
    }
}
