//! Where floods come from: a cable of its own into the proxy, and sources behind it that never
//! answer.
//!
//! ```text
//! attacker             proxy
//! to-proxy ─────────── to-attacker
//! ```

use std::{fs, io, net::SocketAddr};

use super::sender::{self, Kind, NETWORK_V4, NETWORK_V6};
use crate::{
    kernel::link,
    lab::{Lab, PROXY_V4, PROXY_V6},
    namespace::Namespace,
};

pub(super) struct Attacker(Namespace);

impl Attacker {
    /// Connects one to the proxy, whose routes to the sources lead to it.
    pub(super) fn new(lab: &Lab) -> Self {
        let namespace = Namespace::new();
        let proxy = lab.proxy.path();
        namespace.ip(&format!(
            "link set lo up\n\
             link add to-proxy type veth peer name {INTERFACE} netns {proxy}\n\
             link set to-proxy up\n\
             addr add 203.0.113.1/24 dev to-proxy\n\
             addr add 2001:db8:3::1/64 dev to-proxy nodad\n\
             route add 192.0.2.0/24 via 203.0.113.254\n\
             route add 2001:db8:1::/63 via 2001:db8:3::fe\n"
        ));
        lab.proxy.ip(&format!(
            "link set {INTERFACE} up\n\
             addr add 203.0.113.254/24 dev {INTERFACE}\n\
             addr add 2001:db8:3::fe/64 dev {INTERFACE} nodad\n\
             route add {NETWORK_V4} via 203.0.113.1\n\
             route add {NETWORK_V6} via 2001:db8:3::1\n"
        ));
        Self(namespace)
    }

    /// Sends to this port of the proxy as long as `go_on` says so.
    pub(super) fn flood(
        &self,
        kind: Kind,
        port: u16,
        go_on: impl FnMut(u64) -> bool + Send,
    ) -> io::Result<u64> {
        let to = [PROXY_V4, PROXY_V6].map(|host| address(host, port));
        self.0.enter(|| sender::send(kind, to, go_on))
    }
}

/// How many packets have come to the proxy by that cable.
pub(super) fn arrived(lab: &Lab) -> u64 {
    let packets = &link(&lab.proxy, INTERFACE)["stats64"]["rx"]["packets"];
    packets.as_u64().unwrap()
}

/// Lets TCP send again what seems to be lost, as it does everywhere but in the lab.
pub(super) fn repair_losses(lab: &Lab) {
    for (namespace, routes) in [
        (
            &lab.client,
            &["192.0.2.0/24 dev to-proxy", "2001:db8:1::/63 dev to-proxy"][..],
        ),
        (
            &lab.target,
            &[
                "198.51.100.0/24 dev to-proxy",
                "2001:db8:2::/64 dev to-proxy",
            ],
        ),
        (
            &lab.proxy,
            &[
                "192.0.2.0/24 dev to-client",
                "2001:db8:1::/63 dev to-client",
                "198.51.100.0/24 dev to-target",
                "2001:db8:2::/64 dev to-target",
            ],
        ),
    ] {
        for route in routes {
            namespace.run(&format!("ip route replace {route}"));
        }
        namespace.enter(|| fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "3").unwrap());
    }
}

fn address(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// Its end of the cable at the proxy.
pub(super) const INTERFACE: &str = "to-attacker";
