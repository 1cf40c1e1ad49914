//! What the guard has counted, read from the kernel at the moment it is asked for.
//!
//! The sums are per listener, so what a reading costs does not depend on the number of clients.

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use pony_common::{
    layout::{
        budget::Budget,
        stats::{Slot, Tally},
    },
    names,
};

use super::{attach::Mode, error::StartError, links::Where, object};

/// The counters of a guard. They stay readable after the guard is gone, and stand still then.
pub struct Counters {
    maps: CounterMaps,
    shown: Where,
}

pub(super) struct CounterMaps {
    stats: PerCpuArray<MapData, Tally>,
    reads: PerCpuArray<MapData, u64>,
    budget: PerCpuArray<MapData, Budget>,
}

impl CounterMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        Ok(Self {
            stats: object::take(ebpf, names::STATS)?,
            reads: object::take(ebpf, names::READS)?,
            budget: object::take(ebpf, names::BUDGET)?,
        })
    }
}

impl Counters {
    pub(super) fn new(maps: CounterMaps, shown: Where) -> Self {
        Self { maps, shown }
    }

    /// What was done with the packets of the listener with this number. `None` if it cannot be
    /// read.
    pub fn tally(&self, listener: u32, slot: Slot) -> Option<Tally> {
        let parts = self.maps.stats.get(&slot.index(listener), 0).ok()?;
        Some(parts.iter().copied().sum())
    }

    /// The packets that were let through for the reason with this slot of `READS`.
    pub fn read(&self, slot: u32) -> Option<u64> {
        let parts = self.maps.reads.get(&slot, 0).ok()?;
        Some(parts.iter().sum())
    }

    /// How many reports the guard did not make because there were too many.
    pub fn withheld(&self) -> Option<u64> {
        let parts = self.maps.budget.get(&0, 0).ok()?;
        Some(parts.iter().map(|budget| budget.withheld).sum())
    }

    /// The interfaces that the guard is attached to now, by name, with how.
    pub fn attached(&self) -> Vec<(String, Mode)> {
        self.shown.list()
    }
}
