//! What a listener lacks whose target is to see the client's address.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _},
};

use super::Finding;
use crate::{
    config::{Destination, Host, IpNet, Listener, Routing, Target},
    target::{self, Answers, Ports, Routes, WayBack, shown},
};

/// Adds what is there and what is missing for this listener.
pub(super) fn examine(listener: &Listener, instance: &str, findings: &mut Vec<Finding>) {
    let source = &listener.source;
    if source.preserve.is_none() && source.mark.is_none() {
        return;
    }
    let name = &listener.name;
    findings.push(match target::try_out(listener) {
        Ok(()) => Finding::Ok(format!(
            "listener {name}: may use clients' addresses and marks"
        )),
        Err(error) => Finding::Missing(format!("listener {name}: {error}"), Vec::new()),
    });
    if source.preserve.is_none() {
        return;
    }
    for destination in listener.destinations.iter().flatten() {
        findings.extend(answers_of(listener, instance, destination));
    }
    for target in [Some(&listener.target), listener.target_v6.as_ref()]
        .into_iter()
        .flatten()
    {
        match addresses(target) {
            Ok(ips) => findings.extend(
                ips.into_iter()
                    .map(|ip| WayBack {
                        net: ip.into(),
                        ports: Ports::of(listener, target, listener.listen.port),
                        protocol: listener.protocol,
                    })
                    .flat_map(|way| way_back(listener, instance, way)),
            ),
            Err(error) => findings.push(Finding::Missing(
                format!("listener {name}: cannot resolve {target}: {error}"),
                Vec::new(),
            )),
        }
    }
}

/// Whether the answers of this allowed destination come here.
fn answers_of(listener: &Listener, instance: &str, destination: &Destination) -> Vec<Finding> {
    let near = WayBack::from_loopback(destination, listener.protocol);
    let mut findings = near.map_or_else(Vec::new, |way| way_back(listener, instance, way));
    if near.is_none_or(|near| near.net != destination.net) {
        findings.push(Finding::Note(format!(
            "listener {}: the answers of {destination} have to be routed to this machine by hand, which \
             was looked at for loopback only",
            listener.name
        )));
    }
    findings
}

/// Whether the answers of the targets there come here.
fn way_back(listener: &Listener, instance: &str, way: WayBack) -> Vec<Finding> {
    let Some(client) = client(listener, way.net) else {
        // Nobody who may come would be connected to this address.
        return Vec::new();
    };
    let from = shown(way.net);
    let what = format!(
        "listener {}: answers of {from} port {} to clients",
        listener.name, way.ports
    );
    let is_ours = listener.source.routing == Routing::Auto && way.net.addr().is_loopback();
    let mark = listener.source.mark.unwrap_or_default();
    let answers = match target::answers(way, client, mark) {
        Ok(answers) => answers,
        Err(error) => {
            let problem = format!("{what}: cannot be found out: {error}");
            return vec![Finding::Missing(problem, Vec::new())];
        }
    };
    let found = match &answers {
        Answers {
            come_here: true, ..
        } => Finding::Ok(format!("{what} come here")),
        _ if is_ours && !Routes::are_held(instance) => Finding::Ok(format!(
            "{what} come here while the daemon runs (routing: auto)"
        )),
        _ if is_ours => Finding::Missing(
            format!("{what} do not come here: somebody has taken the daemon's rules away"),
            vec!["start pony again".to_owned()],
        ),
        _ => Finding::Missing(
            format!("{what} do not come here (asked for {client})"),
            commands(way, answers.through.as_deref()),
        ),
    };
    let mut findings = vec![found];
    if answers.through.is_some() {
        findings.push(Finding::Note(format!(
            "listener {}: the host of {from} has to send its answers to clients to this machine, by a \
             default route or a rule there; that cannot be seen from here",
            listener.name
        )));
    }
    findings
}

/// What brings the answers here.
fn commands(way: WayBack, through: Option<&str>) -> Vec<String> {
    let ip = match way.net {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip -6",
    };
    let (from, protocol) = (shown(way.net), way.protocol);
    let ports = match way.ports {
        Ports::ALL => String::new(),
        ports => format!(" sport {ports}"),
    };
    let interface = through.unwrap_or("lo");
    vec![
        format!(
            "{ip} rule add from {from} ipproto {protocol}{ports} iif {interface} lookup {TABLE}"
        ),
        format!("{ip} route add local default dev lo table {TABLE}"),
    ]
}

/// Any number of a table will do; this one is that of go-mmproxy's documentation.
const TABLE: u32 = 123;

/// A client that may come, and whose address is not one of this machine.
fn client(listener: &Listener, target: IpNet) -> Option<IpAddr> {
    let example: IpAddr = match target {
        IpNet::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpNet::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let mut allowed = listener.access.allow.iter();
    if allowed.clone().any(|net| net.contains(&example)) {
        return Some(example);
    }
    let net = allowed.find(|net| net.addr().is_ipv4() == target.addr().is_ipv4())?;
    // Not all of 127.0.0.0/8.
    net.hosts().take(2).find(|ip| !ip.is_loopback())
}

fn addresses(target: &Target) -> std::io::Result<BTreeSet<IpAddr>> {
    match &target.host {
        Host::Ip(ip) => Ok(BTreeSet::from([*ip])),
        Host::Any => Ok(BTreeSet::new()),
        Host::Name(name) => {
            let found = (name.as_str(), target.port.unwrap_or_default()).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        }
    }
}
