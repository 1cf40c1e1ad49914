//! A sum over the recent past, in constant time and space.
//!
//! A window of length `len` is cut into slots of `len / 32`, and 33 slots are kept: the newest,
//! which is being filled, and 32 older ones. What was added falls out with its slot, so it is
//! remembered for at least `len` and at most `len` and one slot: never early, up to 1/32 late.
//!
//! What holds at every moment: `total` is the sum of `slots`, and everything in the newest slot
//! was added between `start` and now.

use crate::time::Nanos;

/// How many slots a window has: 32 make its length, and the newest is not full yet.
pub const SLOTS: usize = 33;

/// The sum of what was added during the last `len` of time.
///
/// `len` comes with each call, so that the state holds only what differs between clients. A `len`
/// that changes between calls is used from then on; slots that were filled before keep their place.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window<C = u64> {
    /// When the newest slot began.
    start: Nanos,
    total: u64,
    /// Index of the newest slot; of a slot's type, so that there is no padding for any of them.
    newest: C,
    slots: [C; SLOTS],
}

const _: () = assert!(size_of::<Window<u64>>() == 8 + 8 + 8 + 33 * 8);
const _: () = assert!(size_of::<Window<u32>>() == 8 + 8 + 4 + 33 * 4);

impl<C: Count> Window<C> {
    /// An empty window.
    pub const fn new() -> Self {
        Self {
            start: Nanos::ZERO,
            total: 0,
            newest: C::ZERO,
            slots: [C::ZERO; SLOTS],
        }
    }

    /// Adds `n` at the time `now`.
    ///
    /// A slot saturates at [`Count::MAX`]. A `now` before that of an earlier call counts as that.
    #[inline]
    pub fn add(&mut self, now: Nanos, len: Nanos, n: u64) {
        self.advance(now, len);
        let Some(slot) = self.slots.get_mut(self.newest.index()) else {
            return;
        };
        let before = slot.get();
        *slot = C::saturated(before.saturating_add(n));
        self.total = self.total.saturating_add(slot.get().saturating_sub(before));
    }

    /// What was added during the last `len`, and perhaps up to `len / 32` before that.
    #[inline]
    pub fn sum(&mut self, now: Nanos, len: Nanos) -> u64 {
        self.advance(now, len);
        self.total
    }

    /// How long after `now` the sum may next become smaller by itself. Never zero.
    #[inline]
    pub fn until_next_slot(&mut self, now: Nanos, len: Nanos) -> Nanos {
        self.advance(now, len);
        self.start
            .saturating_add(slot_len(len))
            .saturating_sub(now)
            .max(Nanos(1))
    }

    #[inline]
    fn advance(&mut self, now: Nanos, len: Nanos) {
        let slot = slot_len(len);
        let mut elapsed = now.saturating_sub(self.start);
        if elapsed < slot {
            return;
        }
        if elapsed.0 >= slot.0.wrapping_mul(SLOTS as u64) && self.total > 0 {
            self.slots = [C::ZERO; SLOTS];
            self.total = 0;
        }
        if self.total == 0 {
            self.start = now;
            return;
        }
        for _ in 0..SLOTS {
            if elapsed < slot {
                return;
            }
            elapsed = elapsed.saturating_sub(slot);
            self.begin_slot();
            self.start = self.start.saturating_add(slot);
        }
    }

    /// Makes the oldest slot the newest, and empty.
    #[inline]
    fn begin_slot(&mut self) {
        let next = self.newest.index().wrapping_add(1);
        let next = if next < SLOTS { next } else { 0 };
        if let Some(slot) = self.slots.get_mut(next) {
            self.total = self.total.saturating_sub(slot.get());
            *slot = C::ZERO;
        }
        self.newest = C::saturated(next as u64);
    }
}

impl<C: Count> Default for Window<C> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a slot counts with: `u64` for bytes, `u32` for events.
pub trait Count: Copy {
    /// Nothing.
    const ZERO: Self;
    /// Where a slot saturates. So low that 33 of them fit into the total.
    const MAX: u64;

    /// The number.
    fn get(self) -> u64;
    /// `n`, at most [`Count::MAX`].
    fn saturated(n: u64) -> Self;

    /// The number as an index.
    #[inline]
    fn index(self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only slot numbers are indices"
        )]
        let index = self.get() as usize;
        index
    }
}

impl Count for u64 {
    const ZERO: Self = 0;
    /// 2⁵⁸ bytes, 256 PiB, in one slot.
    const MAX: u64 = 1 << 58;

    #[inline]
    fn get(self) -> u64 {
        self
    }

    #[inline]
    fn saturated(n: u64) -> Self {
        n.min(<Self as Count>::MAX)
    }
}

impl Count for u32 {
    const ZERO: Self = 0;
    const MAX: u64 = u32::MAX as u64;

    #[inline]
    fn get(self) -> u64 {
        u64::from(self)
    }

    #[inline]
    fn saturated(n: u64) -> Self {
        Self::try_from(n).unwrap_or(Self::MAX)
    }
}

const _: () = assert!(<u64 as Count>::MAX.checked_mul(SLOTS as u64).is_some());
const _: () = assert!(<u32 as Count>::MAX.checked_mul(SLOTS as u64).is_some());

/// The length of one slot; rounded up, so that 32 of them are never shorter than the window.
#[inline]
const fn slot_len(len: Nanos) -> Nanos {
    match len.0.div_ceil(SLOTS as u64 - 1) {
        0 => Nanos(1),
        slot if slot > MAX_SLOT_LEN => Nanos(MAX_SLOT_LEN),
        slot => Nanos(slot),
    }
}

/// Nine years, so that the length of all slots fits. BPF can't compile a multiplication that
/// checks for overflow (it becomes a call of `__multi3`), so none is used here.
const MAX_SLOT_LEN: u64 = 1 << 58;

#[cfg(test)]
mod tests;
