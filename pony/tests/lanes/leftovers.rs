//! What flows may not leave behind: descriptors, sockets, memory, places in maps, figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::{
    harness::{
        Pony,
        peers::{connect, echo_target, ping},
        wait_eq, wait_until,
    },
    lab,
    lane::Lane,
    proof::Proof,
    tools, world,
};

/// What there was before.
pub(crate) struct Leftovers {
    descriptors: usize,
    kept: usize,
    sockets: Sockets,
    in_maps: BTreeMap<String, usize>,
}

/// What the kernel says about TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets {
    /// Sockets of this namespace, also those that wait for an end.
    pub(crate) in_use: u64,
    /// Sockets of the machine that no process has any more.
    pub(crate) orphans: u64,
    /// Bytes in the buffers of all TCP sockets of the machine.
    pub(crate) memory: u64,
}

impl Leftovers {
    pub(crate) fn before(pony: &Pony, lane: Lane) -> Self {
        Self {
            descriptors: descriptors(pony),
            kept: match lane {
                Lane::Copy => 0,
                _ => POOLED,
            },
            sockets: Sockets::now(),
            in_maps: in_maps(pony),
        }
    }

    /// Waits until nothing is left, and says what is if that does not come.
    #[track_caller]
    pub(crate) fn check(&self, pony: &Pony, listeners: &[String]) {
        for listener in listeners {
            wait_until("the gauge of active connections to be 0", || {
                pony.active(listener) == 0
            });
        }
        wait_until("no flow in any lane", || Proof::of(pony).active() == 0);
        wait_until("the descriptors to be closed", || {
            descriptors(pony) <= self.descriptors + self.kept
        });
        wait_until("the places in the maps to be free", || {
            let now = in_maps(pony);
            now.iter()
                .all(|(map, entries)| *entries <= self.in_maps[map])
        });
        self.check_machine();
    }

    /// The part that does not take a daemon.
    #[track_caller]
    pub(crate) fn check_machine(&self) {
        let before = self.sockets;
        wait_until("the sockets and their memory to be free", || {
            let now = Sockets::now();
            // The connection that asked for metrics may be among those before or after.
            let is_closed = !world::is_private() || now.in_use <= before.in_use + ASKING;
            is_closed
                && now.orphans <= before.orphans + OTHERS_ORPHANS
                && now.memory <= before.memory + OTHERS_MEMORY
        });
    }
}

impl Sockets {
    pub(crate) fn now() -> Self {
        // That of the thread's namespace, not that of the process.
        let path = "/proc/thread-self/net";
        let text = fs::read_to_string(format!("{path}/sockstat")).unwrap();
        let v6 = fs::read_to_string(format!("{path}/sockstat6")).unwrap_or_default();
        let tcp = |name| field(&text, "TCP:", name).unwrap();
        Self {
            in_use: tcp("inuse") + field(&v6, "TCP6:", "inuse").unwrap_or(0),
            orphans: tcp("orphan"),
            memory: tcp("mem") * PAGE,
        }
    }
}

fn field(text: &str, line: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|text| text.strip_prefix(line))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    words.nth(1)?.parse().ok()
}

/// How many descriptors the daemon has open.
pub(crate) fn descriptors(pony: &Pony) -> usize {
    fs::read_dir(format!("/proc/{}/fd", pony.id()))
        .unwrap()
        .count()
}

/// How many entries the daemon has in each of its hash maps, by the map's name.
///
/// One of them has an entry for each socket that is in the maps of sockets, from before it is there
/// until after that. Those themselves cannot be read: the kernel shows no entry of a map of sockets
/// whose values are descriptors.
pub(crate) fn in_maps(pony: &Pony) -> BTreeMap<String, usize> {
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", pony.id())).unwrap();
    let infos = infos.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let maps: BTreeSet<u64> = infos.filter_map(|info| hash_map(&info)).collect();
    let named = maps.into_iter().map(|map| {
        let name = bpftool(&format!("map show id {map}"))["name"].clone();
        let entries = bpftool(&format!("map dump id {map}"));
        let name = name.as_str().unwrap().to_owned();
        (name, entries.as_array().map_or(0, Vec::len))
    });
    named.collect()
}

/// The number of a hash map, from what the kernel says about a descriptor.
fn hash_map(info: &str) -> Option<u64> {
    let number = |name| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    number("map_id:").filter(|_| number("map_type:") == Some(HASH))
}

fn bpftool(arguments: &str) -> Value {
    let line = format!("bpftool --json {arguments}");
    let output = tools::run(&mut tools::command(&line), "");
    serde_json::from_str(&output).unwrap()
}

#[test]
fn a_flow_in_the_lane_has_its_sockets_in_maps_until_it_ends() {
    Lane::Sockmap.test(world::shared, |lane| {
        let pony = lane.launch(&lane.listener(echo_target(), "")).start();
        let none = BTreeMap::from([(COOKIES.to_owned(), 0)]);
        assert_eq!(in_maps(&pony), none);
        let mut client = connect(pony.address("tcp"));
        let both = BTreeMap::from([(COOKIES.to_owned(), 2)]);
        wait_until("the flow to be in the lane", || {
            ping(&mut client, b"hello");
            in_maps(&pony) == both
        });
        drop(client);
        wait_eq(none, || in_maps(&pony));
    });
}

/// Says how much memory there is before and after something, on a line of the test's output.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Says what a test has measured.
pub(crate) fn measured(text: &str) {
    lab::report(&format!("{text}\n"));
}

/// On every machine that the tests run on; a larger one makes the bounds wider.
const PAGE: u64 = 4096;
/// `BPF_MAP_TYPE_HASH`.
const HASH: u64 = 1;
/// The map of the lane that says which direction a socket is.
const COOKIES: &str = "COOKIES";

/// A daemon may keep so many descriptors of pipes for the next flows.
const POOLED: usize = 256;
/// Who asks for metrics has a connection.
const ASKING: u64 = 2;
/// What other programs on the machine may come to have meanwhile.
const OTHERS_ORPHANS: u64 = 200;
const OTHERS_MEMORY: u64 = 32 << 20;
