//! Every map of the kernel programs.
//!
//! Each entry says what one element means, who writes it, who reads it, and what happens when the
//! map is full. The daemon finds maps by the names in [`pony_common::names`] and sets those sizes
//! that depend on the configuration when it loads the object.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use pony_common::layout::{
    ledger::{LedgerKey, Traffic},
    listener::{ListenerEntry, ListenerKey},
    reads,
};

/// The listeners by what a packet for them is addressed to. One on all addresses has the wildcard
/// of its family here; one on all addresses of both families is there twice.
///
/// The daemon writes, before the programs are attached; `xdp_guard` reads. The daemon makes it as
/// large as the number of keys, so it is never full.
#[map]
pub(crate) static LISTENERS: HashMap<ListenerKey, ListenerEntry> = HashMap::with_max_entries(1, 0);

/// What one client has sent to one listener.
///
/// `xdp_guard` writes, from all CPUs at once and so with atomic additions; the daemon reads. When
/// it is full, the kernel forgets a client that has been quiet for long, and counts it from zero
/// when it comes back. The daemon sets the size.
#[map]
pub(crate) static LEDGER: LruHashMap<LedgerKey, Traffic> = LruHashMap::with_max_entries(1, 0);

/// What one listener was sent, by its number. Nothing is forgotten here.
///
/// `xdp_guard` writes, the daemon's metrics read. Per CPU, so counting needs no lock. The daemon
/// makes it as large as the number of listeners.
#[map]
pub(crate) static STATS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);

/// Packets that were let through unjudged, by the reason: one slot per
/// [`NotOurs`](reads::NotOurs) and [`Malformed`](reads::Malformed).
///
/// `xdp_guard` writes, the daemon's metrics read. Per CPU, so counting needs no lock.
#[map]
pub(crate) static READS: PerCpuArray<u64> = PerCpuArray::with_max_entries(reads::SLOTS, 0);
