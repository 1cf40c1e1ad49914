//! A 64-bit number that several threads, or several CPUs, change at once.

/// A shared 64-bit number.
///
/// In the daemon it is an [`AtomicU64`](core::sync::atomic::AtomicU64), in a kernel map the same
/// eight bytes behind BPF's own atomic instructions. No operation waits for another.
pub trait Cell64 {
    /// The number.
    fn load(&self) -> u64;
    /// Sets the number, whatever it was.
    fn store(&self, value: u64);
    /// Adds `n`, wrapping around, and answers what the number was before.
    fn add(&self, n: u64) -> u64;
    /// Sets the number to `new` if it is `current`; else answers, as an error, what it is.
    fn swap_if(&self, current: u64, new: u64) -> Result<u64, u64>;
}

// Loads of an `AtomicU64` crash the linker of BPF programs, which have a type of their own.
#[cfg(not(target_arch = "bpf"))]
impl Cell64 for core::sync::atomic::AtomicU64 {
    #[inline]
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }

    #[inline]
    fn store(&self, value: u64) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }

    #[inline]
    fn add(&self, n: u64) -> u64 {
        self.fetch_add(n, core::sync::atomic::Ordering::AcqRel)
    }

    #[inline]
    fn swap_if(&self, current: u64, new: u64) -> Result<u64, u64> {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.compare_exchange(current, new, AcqRel, Acquire)
    }
}
