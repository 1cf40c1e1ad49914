//! The guard in the kernel: loaded, attached to nothing, and run with `BPF_PROG_TEST_RUN`.

use std::collections::BTreeMap;

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapType, PerCpuArray},
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use pony_common::{
    layout::{
        block::{Block, BlockKey},
        ledger::{Entry, WAYS},
        listener::{ListenerKey, ListenerRef, PortEntry},
        locals::{LocalsRow, place},
        policy::Row,
        reads,
        settings::Settings,
        stats::{SLOTS, Tally},
    },
    names,
};

use pony_ebpf::fixtures;

use crate::{
    object,
    setup::{HASH_KEY, Setup, attempts_key},
};

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
/// `BPF_PROG_TEST_RUN` takes no frame shorter than an Ethernet header.
pub(crate) const SHORTEST: usize = 14;

/// What became of a frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
}

/// Everything that the guard has counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// By listener and slot.
    pub(crate) stats: Vec<Tally>,
    pub(crate) reads: Vec<u64>,
    /// By listener and client: packets and bytes in, packets and bytes out, attempts.
    pub(crate) ledger: BTreeMap<(u32, [u8; 16]), [u64; 5]>,
    /// What was refused for each block.
    pub(crate) blocks: BTreeMap<(u32, [u8; 16]), u64>,
}

impl Counts {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            stats: vec![Tally::default(); listeners * SLOTS as usize],
            reads: vec![0; reads::SLOTS as usize],
            ..Self::default()
        }
    }
}

/// The map with the policy in force.
pub(crate) type Policies = ArrayOfMaps<MapData, MapData>;

/// The loaded programs with their maps.
pub(crate) struct Guard {
    ebpf: Ebpf,
    policies: Policies,
    blocks: HashMap<MapData, BlockKey, Block>,
    stats: PerCpuArray<MapData, Tally>,
    reads: PerCpuArray<MapData, u64>,
    /// By words, since a set keeps its ways to itself: one that is not zero is a client's.
    sets: Array<MapData, [u64; WAYS as usize]>,
    ledger: Array<MapData, Entry<u64>>,
    listeners: usize,
}

impl Guard {
    pub(crate) fn new(setup: &Setup) -> Self {
        let listeners = u32::try_from(setup.listeners.len()).unwrap();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::LISTENERS, listeners.max(1))
            .map_max_entries(names::STATS, listeners.max(1) * SLOTS)
            .map_max_entries(names::BLOCKS, 64)
            .map_max_entries(names::LEDGER_SETS, setup.sets)
            .map_max_entries(names::LEDGER, setup.sets * WAYS)
            .override_global(names::SETS, &setup.sets, true)
            .override_global(names::HASH_KEY, &HASH_KEY, true)
            .override_global(names::ATTEMPTS_KEY, &attempts_key(), true)
            .override_global(aya_log::LEVEL, &0_u8, false)
            .load(object())
            .unwrap();
        fill(&mut ebpf, setup);
        let program: &mut Xdp = ebpf
            .program_mut(names::XDP_GUARD)
            .unwrap()
            .try_into()
            .unwrap();
        program.load().unwrap();
        let egress = ebpf.program_mut(names::TC_EGRESS).unwrap();
        let egress: &mut SchedClassifier = egress.try_into().unwrap();
        egress.load().unwrap();
        let mut guard = Self {
            policies: ebpf.take_map(names::POLICY).unwrap().try_into().unwrap(),
            blocks: ebpf.take_map(names::BLOCKS).unwrap().try_into().unwrap(),
            stats: ebpf.take_map(names::STATS).unwrap().try_into().unwrap(),
            reads: ebpf.take_map(names::READS).unwrap().try_into().unwrap(),
            sets: ebpf
                .take_map(names::LEDGER_SETS)
                .unwrap()
                .try_into()
                .unwrap(),
            ledger: ebpf.take_map(names::LEDGER).unwrap().try_into().unwrap(),
            listeners: setup.listeners.len(),
            ebpf,
        };
        for (key, block) in setup.block_entries() {
            guard.blocks.insert(key, block, 0).unwrap();
        }
        let image = rows_map(&setup.image(1));
        guard.policies.set(0, &image, 0).unwrap();
        guard
    }

    /// The program and the map of the policy in force, for threads that run the one and for who
    /// changes the other meanwhile.
    pub(crate) fn program_and_policies(&mut self) -> (&Xdp, &mut Policies) {
        let program = self.ebpf.program(names::XDP_GUARD).unwrap();
        (program.try_into().unwrap(), &mut self.policies)
    }

    /// The program at the interface, for threads that run it.
    pub(crate) fn program(&self) -> &Xdp {
        self.ebpf
            .program(names::XDP_GUARD)
            .unwrap()
            .try_into()
            .unwrap()
    }

    /// What `xdp_guard` does with a frame.
    pub(crate) fn run(&self, frame: &[u8]) -> Run {
        let mut out = vec![0; frame.len()];
        let result = self.program().test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        });
        let result = result.unwrap();
        out.truncate(result.data_size_out as usize);
        Run {
            action: result.return_value,
            frame: out,
        }
    }

    /// Shows a frame to `tc_egress`, and returns its answer; `None` if the kernel makes no socket
    /// buffer of such a frame.
    pub(crate) fn send(&self, frame: &[u8]) -> Option<i32> {
        let program = self.ebpf.program(names::TC_EGRESS).unwrap();
        let program: &SchedClassifier = program.try_into().unwrap();
        let options = TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).ok()?;
        Some(result.return_value.cast_signed())
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.sums();
        for set in 0..self.sets.len() {
            let ways = self.sets.get(&set, 0).unwrap();
            for (way, _) in (0..WAYS).zip(ways).filter(|(_, way)| *way != 0) {
                let entry = self.ledger.get(&(set * WAYS + way), 0).unwrap();
                let whose = (entry.identity.listener, entry.identity.client.0);
                let used = [
                    entry.packets_in,
                    entry.bytes_in,
                    entry.packets_out,
                    entry.bytes_out,
                    entry.attempts,
                ];
                assert_eq!(
                    counts.ledger.insert(whose, used),
                    None,
                    "{whose:?} is there twice"
                );
            }
        }
        for (key, block) in self.blocks.iter().map(Result::unwrap) {
            counts
                .blocks
                .insert((key.listener, key.client.0), block.refused);
        }
        counts
    }

    /// What was counted, but for single clients.
    pub(crate) fn sums(&self) -> Counts {
        let mut counts = Counts::new(self.listeners);
        for (index, tally) in (0..).zip(&mut counts.stats) {
            *tally = self.stats.get(&index, 0).unwrap().iter().copied().sum();
        }
        for (index, count) in (0..).zip(&mut counts.reads) {
            *count = self.reads.get(&index, 0).unwrap().iter().sum();
        }
        counts
    }
}

/// What a program does with a frame.
pub(crate) fn action(program: &Xdp, frame: &[u8]) -> u32 {
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap().return_value
}

fn fill(ebpf: &mut Ebpf, setup: &Setup) {
    let map = ebpf.map_mut(names::LISTENERS).unwrap();
    let mut listeners: HashMap<_, ListenerKey, ListenerRef> = map.try_into().unwrap();
    for (number, listener) in (0..).zip(&setup.listeners) {
        listeners
            .insert(listener.key, listener.reference(number), 0)
            .unwrap();
    }
    let map = ebpf.map_mut(names::LOCALS).unwrap();
    let mut locals: Array<_, LocalsRow> = map.try_into().unwrap();
    for addr in [fixtures::TCP_V4.addr, fixtures::TCP_V6.addr] {
        let row = LocalsRow::default().and(&addr).unwrap();
        locals.set(place(&addr), row, 0).unwrap();
    }
    let map = ebpf.map_mut(names::PORTS).unwrap();
    let mut ports: Array<_, PortEntry> = map.try_into().unwrap();
    for (number, listener) in (0..).zip(&setup.listeners) {
        let place = listener.key.place();
        let port = ports.get(&place, 0).unwrap();
        let port = port.and(listener.key.addr, listener.reference(number));
        ports.set(place, port, 0).unwrap();
    }
    let map = ebpf.map_mut(names::SETTINGS).unwrap();
    let mut settings: Array<_, Settings> = map.try_into().unwrap();
    settings.set(0, setup.settings(), 0).unwrap();
}

/// A policy as a map of its own.
pub(crate) fn rows_map(rows: &[Row]) -> MapData {
    let definition = aya_obj::Map::new_from_params(
        MapType::Array as u32,
        4,
        64,
        rows.len().try_into().unwrap(),
        BPF_F_INNER_MAP | BPF_F_MMAPABLE,
    );
    let data = MapData::create(definition, names::POLICY_ROWS, None).unwrap();
    let id = data.info().unwrap().id();
    let map = Map::from_map_data(data).unwrap();
    let mut array: Array<MapData, Row> = map.try_into().unwrap();
    for (index, row) in (0..).zip(rows) {
        array.set(index, *row, 0).unwrap();
    }
    MapData::from_id(id).unwrap()
}
