//! Client, proxy and target, each in a namespace of its own, and the daemon between them.
//!
//! ```text
//! client            proxy                        target
//! to-proxy ──────── to-client, to-target ─────── to-proxy
//! ```

use std::{fmt::Write as _, fs, net::Ipv4Addr};

use aya::programs::{ProgramInfo, Xdp, loaded_programs};
use aya_obj::programs::XdpAttachType;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    frame::TO_PROXY,
    harness::{Entry, Launch, Pony},
    namespace::Namespace,
    tools,
};

pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) proxy: Namespace,
    pub(crate) target: Namespace,
    lists: TempDir,
}

/// Who is allowed besides those of the list.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
pub(crate) const TARGET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Of every list: 2^24 addresses.
pub(crate) const ALLOWED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// Where the prefixes of lists are scattered, one in a thousand addresses at most.
pub(crate) const DENIED: Ipv4Addr = Ipv4Addr::new(128, 0, 0, 0);
pub(crate) const DENIED_MASK: u32 = 0x3fff_ffff;
/// The port of both listeners.
pub(crate) const PORT: u16 = 7000;

impl Lab {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can measure the guard"
        );
        let lab = Self {
            client: Namespace::new(),
            proxy: Namespace::new(),
            target: Namespace::new(),
            lists: tempfile::tempdir().unwrap(),
        };
        for (end, interface) in [(&lab.client, "to-client"), (&lab.target, "to-target")] {
            let proxy = lab.proxy.path();
            end.ip(&format!(
                "link set lo up\n\
                 link add to-proxy type veth peer name {interface} netns {proxy}\n"
            ));
        }
        let mac = TO_PROXY.map(|byte| format!("{byte:02x}")).join(":");
        // What answers a flood has somewhere to go: the client drops it.
        lab.proxy.ip(&format!(
            "link set lo up\n\
             link set to-client address {mac}\n\
             link set to-client up\n\
             link set to-target up\n\
             addr add {PROXY}/24 dev to-client\n\
             addr add 198.51.100.254/24 dev to-target\n\
             route add default via {CLIENT}\n"
        ));
        lab.client.ip(&format!(
            "link set to-proxy up\naddr add {CLIENT}/24 dev to-proxy\n"
        ));
        lab.target.ip(&format!(
            "link set to-proxy up\naddr add {TARGET}/24 dev to-proxy\n"
        ));
        for namespace in [&lab.client, &lab.proxy, &lab.target] {
            // Ports that wait for the last packets of closed connections would run out, and each
            // new connection search long for one that is free.
            namespace.enter(|| fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "16").unwrap());
        }
        // Frames that a driver did not make reach an interface without XDP only like this.
        lab.proxy.run("ethtool -K to-client gro on");
        // As on a network card, all frames wait in one queue, also those of the allowed client: a
        // veth has another one for TCP of a sender that offloads segmentation.
        lab.client.run("ethtool -K to-proxy tso off");
        lab
    }

    /// A daemon with a listener for TCP and one for UDP, limits that nobody reaches, and an allow
    /// list of so many prefixes.
    pub(crate) fn launch(&self, prefixes: u32) -> Launch {
        let listen = format!("{PROXY}:{PORT}");
        let allow = format!(
            "{CLIENT}, {ALLOWED}/8{}",
            self.list(prefixes.saturating_sub(1))
        );
        let limits = "max_connection_attempts_per_ip: 1000000000, attempts_window: 1m, \
                      max_bandwidth_per_ip: 1000GB, bandwidth_window: 1m";
        let quiet = "logging: { log_session_start: false, log_session_close: false }";
        let [tcp, udp] = [
            Entry::tcp(format_args!("{TARGET}:{PORT}")).with(&format!("tcp: {{ {quiet} }}")),
            Entry::udp(format_args!("{TARGET}:{PORT}")).with(&format!("udp: {{ {quiet} }}")),
        ]
        .map(|entry| entry.listen(&listen).allow(&allow).limits(limits));
        Launch::new(&tcp).and(&udp)
    }

    /// Starts the daemon in its namespace.
    pub(crate) fn start(&self, launch: Launch) -> Pony {
        self.proxy.enter(|| launch.start())
    }

    /// The number of the client's interface.
    pub(crate) fn interface(&self) -> u32 {
        let link = link(&self.client, "to-proxy");
        link["ifindex"].as_u64().unwrap().try_into().unwrap()
    }

    /// The guard that is attached to the client's side.
    pub(crate) fn guard(&self) -> Xdp {
        let link = link(&self.proxy, "to-client");
        let number = link["xdp"]["prog"]["id"].as_u64().expect("the guard is on");
        let is_it = |info: &ProgramInfo| u64::from(info.id()) == number;
        let info = loaded_programs().map(Result::unwrap).find(is_it).unwrap();
        Xdp::from_program_info(info, "xdp_guard".into(), XdpAttachType::Interface).unwrap()
    }

    /// A list of so many addresses, as an entry of an allowlist.
    fn list(&self, count: u32) -> String {
        if count == 0 {
            return String::new();
        }
        let mut lines = String::new();
        for number in 0..count {
            // An odd factor: no two are the same.
            let scattered = number.wrapping_mul(0x9e37_79b1) & DENIED_MASK;
            let address = Ipv4Addr::from(u32::from(DENIED) | scattered);
            writeln!(lines, "{address}").unwrap();
        }
        let path = self.lists.path().join(count.to_string());
        fs::write(&path, lines).unwrap();
        format!(", \"@{}\"", path.display())
    }
}

impl Namespace {
    /// Runs `nft` with this standard input, and returns what it writes.
    pub(crate) fn nft(&self, arguments: &str, input: &str) -> String {
        let mut command = tools::command(&format!("nft {arguments}"));
        self.enter(|| tools::run(&mut command, input))
    }
}

fn link(namespace: &Namespace, interface: &str) -> Value {
    let links = namespace.run(&format!("ip -json link show dev {interface}"));
    serde_json::from_str::<Value>(&links).unwrap()[0].clone()
}
