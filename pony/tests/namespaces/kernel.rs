//! What the kernel says about the guard, asked the way an operator asks.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use serde_json::Value;

use crate::{harness::Pony, lab::Lab, namespace::Namespace};

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

    /// What the guard counted for a listener, from the metrics.
    #[track_caller]
    pub(crate) fn counted(&self, pony: &Pony, listener: &str) -> Traffic {
        self.proxy.enter(|| Traffic {
            packets: pony.count("packetpony_guard_packets_total", listener, ""),
            bytes: pony.count("packetpony_guard_bytes_total", listener, ""),
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

    /// The ledger: what each client has sent to the listener of this number, by client.
    pub(crate) fn ledger(&self, listener: u32) -> Vec<(IpAddr, Traffic)> {
        let program = self.program();
        let shown = self.bpftool(&format!("prog show id {program}"));
        let maps = shown["map_ids"].as_array().unwrap();
        let ledger = maps
            .iter()
            .find(|id| self.bpftool(&format!("map show id {id}"))["name"] == "LEDGER")
            .expect("the program has a LEDGER");
        let entries = self.bpftool(&format!("map dump id {ledger}"));
        let mut clients: Vec<_> = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (bytes(&entry["key"]), bytes(&entry["value"])))
            .filter(|(key, _)| key[..4] == listener.to_ne_bytes())
            .map(|(key, value)| (client(&key[4..]), traffic(&value)))
            .collect();
        clients.sort_by_key(|(client, _)| *client);
        clients
    }

    /// Takes the guard off its interfaces behind the daemon's back.
    pub(crate) fn detach(&self) {
        let program = self.program();
        let links = self.bpftool("link show");
        let ours = links
            .as_array()
            .unwrap()
            .iter()
            .filter(|link| link["prog_id"] == program);
        for link in ours {
            self.proxy
                .run(&format!("bpftool link detach id {}", link["id"]));
        }
        assert_eq!(self.attached(), [None, None]);
    }

    /// The number of the program on the client's side.
    fn program(&self) -> Value {
        let program = link(&self.proxy, INTERFACES[0])["xdp"]["prog"]["id"].clone();
        assert!(program.is_u64(), "no XDP program is attached");
        program
    }

    fn bpftool(&self, arguments: &str) -> Value {
        let output = self.proxy.run(&format!("bpftool --json {arguments}"));
        serde_json::from_str(&output).unwrap()
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
        let snmp = namespace.run("cat /proc/thread-self/net/snmp");
        let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut columns = names.split(' ').zip(values.split(' '));
        let (_, retransmitted) = columns.find(|(name, _)| *name == "RetransSegs").unwrap();
        let statistics = &link(namespace, "to-proxy")["stats64"]["tx"];
        Self {
            retransmitted: retransmitted.parse().unwrap(),
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

fn link(namespace: &Namespace, interface: &str) -> Value {
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

fn traffic(bytes: &[u8]) -> Traffic {
    let number = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    Traffic {
        packets: number(0),
        bytes: number(8),
    }
}
