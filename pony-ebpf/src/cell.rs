//! Numbers in maps that several CPUs change at once, by BPF's own atomic instructions.

use core::{
    cell::UnsafeCell,
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    mem::transmute,
};

use pony_common::{
    cell::Cell64,
    layout::ledger::{Identity, IdentityCell},
};

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

/// Whose an entry of the ledger is. Read and written by words.
#[repr(transparent)]
pub(crate) struct MapIdentity(UnsafeCell<Identity>);

// SAFETY: readers may see a mix of two identities, and `Identity` says so.
unsafe impl Sync for MapIdentity {}

impl MapIdentity {
    /// The same as words. As what it is, the compiler would copy it byte by byte.
    #[inline(always)]
    fn words(&self) -> *mut Words {
        self.0.get().cast()
    }
}

impl IdentityCell for MapIdentity {
    #[inline(always)]
    fn load(&self) -> Identity {
        // SAFETY: the reference is valid, the alignment that of words, and any bytes are an
        // identity.
        unsafe { transmute::<Words, Identity>(self.words().read_volatile()) }
    }

    #[inline(always)]
    fn store(&self, identity: Identity) {
        // SAFETY: the reference is valid, the alignment that of words, and an identity has no
        // padding. What is behind the reference may be changed through it.
        unsafe {
            self.words()
                .write_volatile(transmute::<Identity, Words>(identity));
        }
    }
}

type Words = [u64; 3];
