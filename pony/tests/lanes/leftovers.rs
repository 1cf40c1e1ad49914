//! What flows may not leave behind: descriptors, sockets, memory, places in maps, figures.

use std::fs;

use crate::{
    harness::{Pony, wait_until},
    lab,
    lane::Lane,
    proof::Proof,
    world,
};

/// What there was before.
pub(crate) struct Leftovers {
    descriptors: usize,
    kept: usize,
    sockets: Sockets,
    in_maps: u64,
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
            in_maps(pony) <= self.in_maps
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

/// How many sockets the daemon has in maps that move bytes.
pub(crate) fn in_maps(pony: &Pony) -> u64 {
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", pony.id())).unwrap();
    let infos = infos.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let mut maps: Vec<u64> = infos.filter_map(|info| socket_map(&info)).collect();
    maps.sort_unstable();
    maps.dedup();
    maps.into_iter().map(entries).sum()
}

/// The number of a map of sockets, from what the kernel says about a descriptor.
fn socket_map(info: &str) -> Option<u64> {
    let number = |name| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let is_of_sockets = matches!(number("map_type:"), Some(SOCKMAP | SOCKHASH));
    number("map_id:").filter(|_| is_of_sockets)
}

fn entries(map: u64) -> u64 {
    let line = format!("bpftool --json map dump id {map}");
    let dump = crate::tools::run(&mut crate::tools::command(&line), "");
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let places = dump.as_array().into_iter().flatten();
    // An empty place of an array is shown with an error instead of a value.
    places
        .filter(|place| place["value"].is_array() || place["value"].is_number())
        .count() as u64
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
/// `BPF_MAP_TYPE_SOCKMAP` and `BPF_MAP_TYPE_SOCKHASH`.
const SOCKMAP: u64 = 15;
const SOCKHASH: u64 = 18;

/// A daemon may keep so many descriptors of pipes for the next flows.
const POOLED: usize = 256;
/// Who asks for metrics has a connection.
const ASKING: u64 = 2;
/// What other programs on the machine may come to have meanwhile.
const OTHERS_ORPHANS: u64 = 200;
const OTHERS_MEMORY: u64 = 32 << 20;
