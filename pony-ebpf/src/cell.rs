//! Numbers in maps that several CPUs change at once, by BPF's own atomic instructions.

use core::{
    cell::UnsafeCell,
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
};

use pony_common::cell::Cell64;

/// Eight bytes of a map value.
///
/// An `AtomicU64` would do the same, but its loads crash the linker, and an addition whose result
/// is used loses that result unless it orders memory too: hence `AcqRel`.
#[repr(transparent)]
pub(crate) struct MapCell(UnsafeCell<u64>);

// SAFETY: every access is one instruction, and all that may meet another are atomic.
unsafe impl Sync for MapCell {}

impl Cell64 for MapCell {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: the reference is valid; aligned loads of eight bytes are atomic in BPF.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: the reference is valid; aligned stores of eight bytes are atomic in BPF.
        unsafe { self.0.get().write_volatile(value) }
    }

    #[inline(always)]
    fn add(&self, n: u64) -> u64 {
        // SAFETY: the reference is valid, and what is behind it may be changed through it.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(self.0.get(), n) }
    }

    #[inline(always)]
    fn swap_if(&self, current: u64, new: u64) -> Result<u64, u64> {
        const ORDER: AtomicOrdering = AtomicOrdering::AcqRel;
        const FAILED: AtomicOrdering = AtomicOrdering::Acquire;
        // SAFETY: the reference is valid, and what is behind it may be changed through it.
        let (old, swapped) =
            unsafe { atomic_cxchg::<u64, ORDER, FAILED>(self.0.get(), current, new) };
        if swapped { Ok(old) } else { Err(old) }
    }
}
