//! Every map of the kernel programs.
//!
//! Each entry says what one element means, who writes it, who reads it, and what happens when the
//! map is full. The daemon finds maps by the names in [`pony_common::names`] and sets those sizes
//! that depend on the configuration when it loads the object. What packets can fill are arrays:
//! no packet makes the kernel allocate or take a lock.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use pony_common::{
    hash::{HashKey, LINEAR_PAIRS, LinearKey},
    layout::{
        block::{Block, BlockKey},
        budget::Budget,
        event::Event,
        ledger::{Entry, SetRow, WAYS},
        listener::{self, ListenerKey, ListenerRef, NetKey, PortEntry},
        locals::{self, LocalsRow},
        policy::Row,
        reads,
        report::{self, Report},
        settings::Settings,
        stats::Tally,
    },
};
use pony_ebpf::syn;

use crate::{cell::MapCell, identity::MapIdentity};

/// The listeners by what a packet for them is addressed to. One on all addresses has the wildcard
/// of its family here; one on all addresses of both families is there twice.
///
/// The daemon writes; the programs read. The daemon makes it as large as the number of keys, so
/// it is never full.
#[btf_map]
pub(crate) static LISTENERS: HashMap<ListenerKey, ListenerRef, 1> = HashMap::new();

/// The listeners that have prefixes, by what a packet for them is addressed to, on the ports of a
/// group. What [`LISTENERS`] has goes before.
///
/// The daemon writes; the programs read. The daemon makes it as large as the number of prefixes in
/// all groups, so it is never full.
#[btf_map]
pub(crate) static NETS: LpmTrie<NetKey, ListenerRef, 1> = LpmTrie::new();

/// What [`LISTENERS`] and [`NETS`] say, by port: where that is enough, the programs ask no
/// further.
///
/// The daemon writes it together with them, and the same; the programs read. One element for each
/// port of both protocols.
#[btf_map]
pub(crate) static PORTS: Array<PortEntry, { listener::PORTS as usize }> = Array::new();

/// The addresses of this machine's interfaces: what is sent to a listener that is on every address
/// is sent to one of these.
///
/// The daemon keeps it up to date; the programs read. Where an element is full, the addresses that
/// have no room are left to the daemon.
#[btf_map]
pub(crate) static LOCALS: Array<LocalsRow, { locals::ROWS as usize }> = Array::new();

/// The policy in force: one image, as `pony_common::layout::policy` describes it.
///
/// The daemon fills a new array and puts it here whole; the programs take the array once for each
/// packet, so no packet sees parts of two. Arrays of all sizes fit.
#[btf_map]
pub(crate) static POLICY: ArrayOfMaps<Image, 1> = ArrayOfMaps::new();

/// One policy: an array of rows, large or small, that the daemon writes through a mapping.
pub(crate) type Image = Array<Row, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

/// Clients that the daemon wants refused, on one listener or on all, until a moment.
///
/// The daemon writes and removes; `xdp_guard` reads, and counts what it refused. The daemon sets
/// the size (`guard.max_blocks`) and keeps a client out of it that does not fit.
#[btf_map]
pub(crate) static BLOCKS: HashMap<BlockKey, Block, 1> = HashMap::new();

/// Which clients are in [`LEDGER`], and when they were last seen: one set of ways per element.
///
/// The programs write, the daemon reads. When a set is full, its coldest client makes room. The
/// daemon sets the size (`guard.max_clients`, divided by the ways).
#[btf_map]
pub(crate) static LEDGER_SETS: Array<SetRow<MapCell>, 1> = Array::new();

/// What one client has used on one listener.
///
/// The programs write; `pony clients` reads, through a mapping. The daemon sets the size
/// (`guard.max_clients`); [`LEDGER_SETS`] says which elements are in use, and for whom.
#[btf_map]
pub(crate) static LEDGER: Clients = Array::new();

type Clients = Array<Entry<MapCell, MapIdentity>, { WAYS as usize }, { BPF_F_MMAPABLE as usize }>;

/// What is known of connection attempts, see `pony_ebpf::syn`.
///
/// Only `xdp_guard` writes and reads. A new attempt takes the place of an old one.
#[btf_map]
pub(crate) static SYNS: Array<MapCell, { syn::SIZE as usize }> = Array::new();

/// What is not reported yet of listeners and clients, see `pony_common::layout::report`.
///
/// `xdp_guard` writes and reads; the daemon, through a mapping, takes what no packet reports. Two
/// that share an element push each other out.
#[btf_map]
pub(crate) static REPORTS: Reports = Array::new();

type Reports = Array<Report<MapCell>, { report::SIZE as usize }, { BPF_F_MMAPABLE as usize }>;

/// How many reports each CPU has made lately, and how many it withheld.
///
/// Only `xdp_guard` writes. One element for each CPU.
#[btf_map]
pub(crate) static BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Reports of what was refused, or would have been.
///
/// `xdp_guard` writes, the daemon reads. When it is full, a report is lost, and counted as
/// withheld in [`BUDGET`].
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { 256 * 1024 }> = RingBuf::new();

/// What was done with the packets of one listener: a slot for each verdict and reason, see
/// `pony_common::layout::stats`. Nothing is forgotten here.
///
/// The programs write, the daemon's metrics read. Per CPU, so counting needs no lock. The daemon
/// makes it as large as the number of listeners times the slots.
#[btf_map]
pub(crate) static STATS: PerCpuArray<Tally, 1> = PerCpuArray::new();

/// Packets that were let through unjudged, by the reason: one slot per
/// [`NotOurs`](reads::NotOurs) and [`Malformed`](reads::Malformed).
///
/// `xdp_guard` writes, the daemon's metrics read. Per CPU, so counting needs no lock.
#[btf_map]
pub(crate) static READS: PerCpuArray<u64, { reads::SLOTS as usize }> = PerCpuArray::new();

/// What the daemon tells the programs besides the policy. One element.
///
/// The daemon writes, the programs read.
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// How many sets [`LEDGER_SETS`] has, a power of two. The daemon sets it when it loads the object.
#[unsafe(no_mangle)]
pub(crate) static SETS: Global<u32> = Global::new(1);

/// The key of the ledger's hash and of the reports'. The daemon draws it when it loads the object.
#[unsafe(no_mangle)]
pub(crate) static HASH_KEY: Global<HashKey> = Global::new(HashKey([0; 2]));

/// The key of the hash of connection attempts. The daemon draws it when it loads the object.
#[unsafe(no_mangle)]
pub(crate) static ATTEMPTS_KEY: AttemptsKey =
    AttemptsKey([const { Global::new([0; 2]) }; LINEAR_PAIRS]);

/// A key of which only those words are read that are needed.
#[repr(transparent)]
pub(crate) struct AttemptsKey([Global<[u64; 2]>; LINEAR_PAIRS]);

impl LinearKey for AttemptsKey {
    #[inline(always)]
    fn pair(&self, at: usize) -> [u64; 2] {
        self.0.get(at).map_or([0; 2], Global::load)
    }
}
