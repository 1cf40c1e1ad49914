//! What the kernel says about the guard, asked the way an operator asks.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use serde_json::Value;

use crate::{
    harness::{Finished, Launch, Pony},
    lab::{Lab, tcp},
    namespace::Namespace,
};

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Native,
    Generic,
}

/// Packets and payload bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

const PASSED: &str = "verdict=\"pass\"";

/// The interfaces that the guard takes by itself.
pub(crate) const INTERFACES: [&str; 2] = ["to-client", "to-target"];

impl Lab {
    /// How an XDP program is attached to each of [`INTERFACES`].
    pub(crate) fn attached(&self) -> [Option<Mode>; 2] {
        INTERFACES.map(
            |interface| match link(&self.proxy, interface)["xdp"]["mode"].as_u64() {
                None => None,
                Some(1) => Some(Mode::Native),
                Some(2) => Some(Mode::Generic),
                Some(other) => panic!("{interface}: XDP mode {other}"),
            },
        )
    }

    /// What the guard let through to a listener, from the metrics.
    #[track_caller]
    pub(crate) fn counted(&self, pony: &Pony, listener: &str) -> Traffic {
        self.proxy.enter(|| Traffic {
            packets: pony.count("packetpony_guard_packets_total", listener, PASSED),
            bytes: pony.count("packetpony_guard_bytes_total", listener, PASSED),
        })
    }

    /// What the guard let through without counting it for a listener, with this label: a reason,
    /// or none for all of them.
    #[track_caller]
    pub(crate) fn counted_others(&self, pony: &Pony, label: &str) -> u64 {
        let label = [label.to_owned()];
        let name = "packetpony_guard_other_packets_total";
        let value = self.proxy.enter(|| pony.metric(name, &label));
        format!("{value:.0}").parse().unwrap()
    }

    /// The ledger: what each client has sent, by client. Of the only instance that runs here.
    pub(crate) fn ledger(&self) -> Vec<(IpAddr, Traffic)> {
        let shown = self.clients(&["--json", "--limit", "0"]);
        let shown: Value = serde_json::from_str(&shown.output).unwrap();
        let clients = shown["clients"].as_array().unwrap().iter();
        let mut clients: Vec<_> = clients
            .map(|client| {
                // An IPv6 client is a prefix.
                let address = client["client"].as_str().unwrap();
                let address = address.split('/').next().unwrap();
                let traffic = Traffic {
                    packets: client["packets_in"].as_u64().unwrap(),
                    bytes: client["bytes_in"].as_u64().unwrap(),
                };
                (address.parse().unwrap(), traffic)
            })
            .collect();
        clients.sort_by_key(|(client, _)| *client);
        clients
    }

    /// Runs `pony clients` with these arguments, as an operator of the proxy.
    #[track_caller]
    pub(crate) fn clients(&self, arguments: &[&str]) -> Finished {
        let words = [&["clients"], arguments].concat();
        let nothing = tcp("unused", 1, "192.0.2.1:1");
        let launch = Launch::new(&nothing).arguments(&words);
        launch.inside(&self.mounts.entrance()).finish()
    }

    /// What the daemon has told the guard.
    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks {
            lab: self,
            map: self.map("BLOCKS"),
        }
    }

    /// Takes the guard off its interfaces, in and out, behind the daemon's back.
    pub(crate) fn detach(&self) {
        for link in self.links_of(&self.programs()) {
            self.proxy.run(&format!("bpftool link detach id {link}"));
        }
        assert_eq!(self.attached(), [None, None]);
    }

    /// The numbers of the guard's programs, in and out.
    pub(crate) fn programs(&self) -> Vec<Value> {
        let ledger = Value::from(self.map("LEDGER"));
        let programs = self.bpftool("prog show");
        let is_ours = |program: &&Value| {
            let maps = program["map_ids"].as_array();
            maps.is_some_and(|maps| maps.contains(&ledger))
        };
        let programs = programs.as_array().unwrap().iter().filter(is_ours);
        programs.map(|program| program["id"].clone()).collect()
    }

    /// The numbers of the links by which these programs are attached anywhere.
    pub(crate) fn links_of(&self, programs: &[Value]) -> Vec<Value> {
        let links = self.bpftool("link show");
        let links = links.as_array().unwrap().iter();
        let ours = links.filter(|link| programs.contains(&link["prog_id"]));
        ours.map(|link| link["id"].clone()).collect()
    }

    /// Makes the client receive what the guard sends back from the driver: a virtual interface
    /// takes that only if it has an XDP program itself. The guard's own passes all that comes.
    pub(crate) fn receive_from_driver(&self) {
        let program = self.program();
        self.client.run(&format!(
            "bpftool net attach xdpdrv id {program} dev to-proxy"
        ));
    }

    /// The number of the program on the client's side.
    pub(crate) fn program(&self) -> Value {
        let program = link(&self.proxy, INTERFACES[0])["xdp"]["prog"]["id"].clone();
        assert!(program.is_u64(), "no XDP program is attached");
        program
    }

    /// The number of the program's map of this name.
    fn map(&self, name: &str) -> u64 {
        let program = self.program();
        let shown = self.bpftool(&format!("prog show id {program}"));
        let maps = shown["map_ids"].as_array().unwrap();
        let map = maps
            .iter()
            .find(|id| self.bpftool(&format!("map show id {id}"))["name"] == name);
        let map = map.unwrap_or_else(|| panic!("the program has no {name}"));
        map.as_u64().unwrap()
    }

    pub(crate) fn bpftool(&self, arguments: &str) -> Value {
        let entrance = self.mounts.entrance().join(" ");
        let output = self
            .proxy
            .run(&format!("{entrance} bpftool --json {arguments}"));
        serde_json::from_str(&output).unwrap()
    }
}

/// What the daemon has told the guard about clients.
pub(crate) struct Blocks<'a> {
    lab: &'a Lab,
    map: u64,
}

impl Blocks<'_> {
    /// Whether the guard is to refuse this client of the listener with this number. All of a /64
    /// is one client.
    pub(crate) fn holds(&self, listener: u32, client: IpAddr) -> bool {
        let client = match client {
            IpAddr::V4(_) => client,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        };
        let entries = self.lab.bpftool(&format!("map dump id {}", self.map));
        let mut keys = entries.as_array().unwrap().iter();
        keys.any(|entry| {
            let key = bytes(&entry["key"]);
            key[..4] == listener.to_ne_bytes() && self::client(&key[4..]) == client
        })
    }
}

/// Why a count of bytes may differ from what was sent, for a failing test to say.
pub(crate) struct Losses {
    /// Segments that TCP has sent again from this namespace.
    retransmitted: u64,
    /// Packets that found the virtual cable's queue full. The guard has not seen these.
    dropped: u64,
}

impl Losses {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let retransmitted = counter(namespace, "snmp", "Tcp", "RetransSegs");
        let statistics = &link(namespace, "to-proxy")["stats64"]["tx"];
        Self {
            retransmitted,
            dropped: statistics["dropped"].as_u64().unwrap(),
        }
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            retransmitted,
            dropped,
        } = self;
        write!(
            f,
            "{retransmitted} segments were sent again; {dropped} packets had been lost before the \
             guard, and what was sent again without need is counted twice"
        )
    }
}

/// A counter of the network stack, from a file in `/proc/net` that has names on one line and values
/// on the next.
pub(crate) fn counter(namespace: &Namespace, file: &str, group: &str, name: &str) -> u64 {
    let text = namespace.run(&format!("cat /proc/thread-self/net/{file}"));
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(column, _)| *column == name).unwrap();
    value.parse().unwrap()
}

/// How many packets the XDP program of a virtual interface was given.
pub(crate) fn given_to_xdp(namespace: &Namespace, interface: &str) -> u64 {
    let statistics = namespace.run(&format!("ethtool -S {interface}"));
    let counts = statistics.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.ends_with("_xdp_packets")
            .then(|| value.trim().parse::<u64>().unwrap())
    });
    counts.sum()
}

/// What `ip link` says about an interface.
pub(crate) fn link(namespace: &Namespace, interface: &str) -> Value {
    let links = namespace.run(&format!("ip -json -stats link show dev {interface}"));
    serde_json::from_str::<Value>(&links).unwrap()[0].clone()
}

/// Bytes as bpftool writes them: `["0x01", …]`.
fn bytes(array: &Value) -> Vec<u8> {
    let bytes = array.as_array().unwrap().iter();
    bytes
        .map(|byte| byte.as_str().unwrap().trim_start_matches("0x"))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn client(bytes: &[u8]) -> IpAddr {
    let bytes: [u8; 16] = bytes.try_into().unwrap();
    Ipv6Addr::from(bytes).to_canonical()
}
