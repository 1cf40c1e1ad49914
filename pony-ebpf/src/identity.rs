//! Whose an entry of the ledger is, in a map that several CPUs change at once.

use core::{cell::UnsafeCell, mem::transmute};

use pony_common::layout::ledger::{Identity, IdentityCell};

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
