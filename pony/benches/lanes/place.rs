//! Where client, proxy and target are: on one loopback, or on two virtual cables.
//!
//! ```text
//! client            proxy                        target
//! to-proxy ──────── to-client, to-target ─────── to-proxy
//! ```
//!
//! Both are made of namespaces without a name, which end with this process. The cables have the
//! offloads that they have by default. Without a proxy, the one in the middle is a router.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    namespace::Namespace,
    setting::{Setting, way_back},
};

pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) client: Arc<Namespace>,
    pub(crate) proxy: Arc<Namespace>,
    pub(crate) target: Arc<Namespace>,
    proxy_address: Ipv4Addr,
    target_address: Ipv4Addr,
}

/// What a target does with what it gets; each has a port, and a proxy one in front of it.
#[derive(Clone, Copy)]
pub(crate) struct Ends {
    /// Reads until the end and answers how much that was.
    pub(crate) sink: SocketAddr,
    /// Writes until the end of what it reads.
    pub(crate) source: SocketAddr,
    /// Writes what it reads.
    pub(crate) echo: SocketAddr,
    /// The same, for bulk.
    pub(crate) mirror: SocketAddr,
    /// What is to be said first, to all of them.
    pub(crate) setting: Setting,
}

impl Place {
    pub(crate) fn loopback() -> Self {
        let only = Arc::new(Namespace::new());
        only.ip("link set lo up\n");
        let place = Self {
            name: LOOPBACK,
            client: Arc::clone(&only),
            proxy: Arc::clone(&only),
            target: only,
            proxy_address: Ipv4Addr::LOCALHOST,
            target_address: Ipv4Addr::LOCALHOST,
        };
        place.forget_closed();
        place
    }

    /// The same, where answers to clients that are nobody's here come back.
    pub(crate) fn loopback_for_all() -> Self {
        let place = Self::loopback();
        let targets = place.targets().all();
        place
            .proxy
            .ip(&way_back(targets.into_iter().map(|(_, target)| target)));
        place
    }

    pub(crate) fn veth() -> Self {
        let [client, proxy, target] = [(); 3].map(|()| Arc::new(Namespace::new()));
        for (end, interface) in [(&client, "to-client"), (&target, "to-target")] {
            let proxy = proxy.path();
            end.ip(&format!(
                "link set lo up\nlink add to-proxy type veth peer name {interface} netns {proxy}\n"
            ));
        }
        proxy.ip(
            "link set lo up\nlink set to-client up\nlink set to-target up\n\
             addr add 192.0.2.254/24 dev to-client\naddr add 198.51.100.254/24 dev to-target\n",
        );
        client.ip("link set to-proxy up\naddr add 192.0.2.1/24 dev to-proxy\n\
             route add default via 192.0.2.254\n");
        target.ip(
            "link set to-proxy up\naddr add 198.51.100.1/24 dev to-proxy\n\
             route add default via 198.51.100.254\n",
        );
        proxy.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        let place = Self {
            name: VETH,
            client,
            proxy,
            target,
            proxy_address: Ipv4Addr::new(192, 0, 2, 254),
            target_address: Ipv4Addr::new(198, 51, 100, 1),
        };
        place.forget_closed();
        place
    }

    /// Where the target listens.
    pub(crate) fn targets(&self) -> Ends {
        Ends::new(self.target_address, TARGET_PORT, Setting::Direct)
    }

    /// Where the contestant of this number listens.
    pub(crate) fn fronts(&self, number: u16, setting: Setting) -> Ends {
        Ends::new(self.proxy_address, FRONT_PORT + 10 * number, setting)
    }

    /// A client that closes first, and a proxy that then closes towards the target, keep a port for a
    /// minute after each connection. Thousands of connections a second would leave none: for whoever
    /// is measured, all but a few are free again at once.
    fn forget_closed(&self) {
        for namespace in [&self.client, &self.proxy, &self.target] {
            namespace.enter(|| fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "16").unwrap());
        }
    }
}

impl Ends {
    pub(crate) fn new(address: Ipv4Addr, port: u16, setting: Setting) -> Self {
        // Each has room for a range of two.
        let end = |role: u16| SocketAddr::from((address, port + 2 * role));
        Self {
            sink: end(0),
            source: end(1),
            echo: end(2),
            mirror: end(3),
            setting,
        }
    }

    /// Each with a name.
    pub(crate) const fn all(self) -> [(&'static str, SocketAddr); 4] {
        [
            ("sink", self.sink),
            ("source", self.source),
            ("echo", self.echo),
            ("mirror", self.mirror),
        ]
    }
}

pub(crate) const LOOPBACK: &str = "loopback";
pub(crate) const VETH: &str = "veth";
const TARGET_PORT: u16 = 7000;
const FRONT_PORT: u16 = 7100;
