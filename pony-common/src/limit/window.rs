//! A sum over the recent past, in constant time and space, that several CPUs change at once.
//!
//! Time is cut into slots of `len / 32`, counted from the clock's zero, and 33 of them are kept:
//! the one that is now, and 32 older ones. What was added is forgotten with its slot, so it is
//! remembered for at least `len` and at most `len` and one slot: never early, up to 1/32 late.
//!
//! The number of a slot is its place (modulo 33) and its *turn*. A cell holds the turn of what it
//! counts beside the count, so that one step replaces what is outdated, and no two CPUs can both
//! begin a slot. Nothing waits and nothing is lost: of additions that run at the same time each
//! is counted, and whoever asks sees all that were complete before.
//!
//! A window that is cleared keeps its cells, and begins later turns with the next addition, so
//! that the cells are outdated: a client that is new costs one word, and not 33.

use crate::{cell::Cell64, time::Nanos};

/// How many slots a window has: 32 make its length, and the newest is not full yet.
pub const SLOTS: usize = 33;

/// The most that is added at once. Larger numbers count as this one.
pub const MAX_ADD: u64 = 1 << 32;

/// The sum of what was added during the last `len` of time.
///
/// `len` comes with each call, so that the state holds only what differs between clients. With
/// another `len` than before, what was added before may be forgotten.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window<T> {
    /// How many turns this window is ahead of the clock, or [`CLEARED`].
    ahead: T,
    /// One more than the turn in which something was last added, in full: a cell has room for its
    /// low bits. Zero if nothing was added yet.
    ///
    /// No cell has a later turn than this one.
    next_turn: T,
    slots: [T; SLOTS],
}

const _: () = assert!(size_of::<Window<u64>>() == 2 * 8 + 33 * 8);

impl<T: Cell64> Window<T> {
    /// Adds `n`, at most [`MAX_ADD`], at the time `now`, and answers the sum before that.
    ///
    /// Of several that add to one slot at the same time each gets another answer, as if they had
    /// come one after the other. A slot saturates at 15 TiB.
    #[inline]
    pub fn add(&self, now: Nanos, len: Nanos, n: u64) -> u64 {
        let (at, is_first) = self.begin(Moment::of(now, len));
        let before = self.add_at(at, n);
        if is_first {
            // What is in other slots came at the same time, and has seen this or will.
            return before;
        }
        self.sum_of(at, |place| place != at.place)
            .saturating_add(before)
    }

    /// Adds like [`Window::add`], for whoever does not want the sum: that takes most of the time.
    #[inline]
    pub fn record(&self, now: Nanos, len: Nanos, n: u64) {
        let (at, _) = self.begin(Moment::of(now, len));
        let _before = self.add_at(at, n);
    }

    #[inline(always)]
    fn add_at(&self, at: Moment, n: u64) -> u64 {
        // Opaque, so that the place is compared with the number of slots where it is used.
        let place = core::hint::black_box(at.place);
        (self.slots.get(place)).map_or(0, |slot| add_to(slot, at.turn, n.min(MAX_ADD)))
    }

    /// What was added during the last `len`, and perhaps up to `len / 32` before that.
    #[inline]
    pub fn sum(&self, now: Nanos, len: Nanos) -> u64 {
        let ahead = self.ahead.load();
        let at = Moment::of(now, len).ahead(ahead);
        if ahead == CLEARED || is_ambiguous(self.next_turn.load(), at) {
            return 0;
        }
        self.sum_of(at, |_| true)
    }

    /// Forgets everything. What is added at the same time may be forgotten too.
    #[inline]
    pub fn clear(&self) {
        self.ahead.store(CLEARED);
    }

    /// A moment in the turns of this window, and whether it is the first since the window was
    /// cleared: only one of those that come at the same time is told so.
    #[inline(always)]
    fn begin(&self, at: Moment) -> (Moment, bool) {
        let ahead = self.ahead.load();
        // What comes next waits for nothing else then.
        let _touched = self.slots.get(core::hint::black_box(at.place)).map(T::load);
        if ahead != CLEARED {
            let at = at.ahead(ahead);
            self.keep_up(at, false);
            return (at, false);
        }
        let beyond = (self.next_turn.load()).wrapping_add(OUTDATED);
        let ahead = beyond.wrapping_sub(at.turn);
        // One turn more is as good, and not the mark of a window that is empty.
        let ahead = ahead.wrapping_add(u64::from(ahead == CLEARED));
        let (ahead, is_first) = match self.ahead.swap_if(CLEARED, ahead) {
            Ok(_) => (ahead, true),
            Err(changed) => (changed, false),
        };
        let at = at.ahead(ahead);
        self.keep_up(at, is_first);
        (at, is_first)
    }

    /// The sum of the cells that a place may have.
    #[inline(always)]
    fn sum_of(&self, at: Moment, is_wanted: impl Fn(usize) -> bool) -> u64 {
        let mut sum = 0_u64;
        for (place, slot) in self.slots.iter().enumerate() {
            let counted = slot.load();
            // Places after this one are from the turn before. One turn more is the near future:
            // what came at the same time, by a clock that is read a little later.
            let oldest = at.turn.wrapping_sub(u64::from(place > at.place));
            if is_wanted(place) && turns_after(counted, oldest) <= 1 {
                sum = sum.wrapping_add(counted & COUNT);
            }
        }
        sum
    }

    /// Once in a turn: empties the cells whose turn is not known from its low bits any more.
    ///
    /// `is_first`: as everything is outdated, and far from looking as if it were not, that can wait.
    #[inline(always)]
    fn keep_up(&self, at: Moment, is_first: bool) {
        let (last, next) = (self.next_turn.load(), at.turn.wrapping_add(1));
        if last == next {
            return;
        }
        let can_wait = is_first && last / AMBIGUOUS == next / AMBIGUOUS;
        // If a cell, or the turn, has changed meanwhile, it is up to date.
        if last != 0 && !can_wait {
            for slot in &self.slots {
                let counted = slot.load();
                let is_recent = turns_after(counted, at.turn.wrapping_sub(1)) <= 2;
                // Only as long as nobody has come so far that it adds: that must not be emptied.
                let is_old = !is_recent || is_ambiguous(last, at) && self.next_turn.load() == last;
                if counted != 0 && is_old {
                    let _changed = slot.swap_if(counted, 0);
                }
            }
        }
        let _changed = self.next_turn.swap_if(last, next);
    }
}

/// How long after `now` a window's sum may next become smaller by itself. Never zero.
#[inline]
pub const fn until_next_slot(now: Nanos, len: Nanos) -> Nanos {
    let slot = slot_len(len).0;
    Nanos(slot.wrapping_sub(now.0 % slot))
}

impl<T: Default> Default for Window<T> {
    fn default() -> Self {
        Self {
            ahead: T::default(),
            next_turn: T::default(),
            slots: core::array::from_fn(|_| T::default()),
        }
    }
}

/// Adds to a cell in its `turn`, and answers what it had counted before.
#[inline(always)]
fn add_to<T: Cell64>(slot: &T, turn: u64, n: u64) -> u64 {
    let mut counted = slot.load();
    for _ in 0..TRIES {
        // One turn more: somebody who came later was faster. All zeros: no turn at all.
        if counted != 0 && turns_after(counted, turn) <= 1 {
            if counted & COUNT > MAX_COUNT {
                return counted & COUNT;
            }
            return slot.add(n) & COUNT;
        }
        match slot.swap_if(counted, tag(turn) | n) {
            Ok(_) => return 0,
            Err(changed) => counted = changed,
        }
    }
    // Only if one whole turn after the other has passed in between.
    0
}

/// When something happens, in slots of a certain length.
#[derive(Clone, Copy)]
struct Moment {
    turn: u64,
    place: usize,
}

impl Moment {
    #[inline(always)]
    fn of(now: Nanos, len: Nanos) -> Self {
        let number = now.0 / slot_len(len).0;
        let slots = SLOTS as u64;
        let turn = number / slots;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a remainder of a division by 33"
        )]
        let place = number.wrapping_sub(turn.wrapping_mul(slots)) as usize;
        Self { turn, place }
    }

    /// The same so many turns later.
    #[inline(always)]
    const fn ahead(self, turns: u64) -> Self {
        Self {
            turn: self.turn.wrapping_add(turns),
            ..self
        }
    }
}

/// Whether so much time has passed since the last addition that low bits say nothing of a turn; or
/// whether turns were counted by another length, and what is there may be from before a clearing.
#[inline(always)]
const fn is_ambiguous(next_turn: u64, at: Moment) -> bool {
    // The turn before the last one is that of somebody who came late.
    let since = at.turn.wrapping_add(2).wrapping_sub(next_turn);
    next_turn != 0 && since > AMBIGUOUS
}

/// A turn as it stands in a cell.
#[inline(always)]
const fn tag(turn: u64) -> u64 {
    turn << COUNT_BITS
}

/// How many turns after `turn` a cell was begun, modulo 2²⁰.
#[inline(always)]
const fn turns_after(counted: u64, turn: u64) -> u64 {
    counted.wrapping_sub(tag(turn)) >> COUNT_BITS
}

/// The length of one slot; rounded up, so that 32 of them are never shorter than the window.
#[inline(always)]
const fn slot_len(len: Nanos) -> Nanos {
    match len.0.div_ceil(SLOTS as u64 - 1) {
        0 => Nanos(1),
        slot => Nanos(slot),
    }
}

/// How many bits of a cell are the count. The others are the turn.
const COUNT_BITS: u32 = 44;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Above this a cell counts no more. 256 additions that begin below it at the same time still fit.
const MAX_COUNT: u64 = COUNT - 256 * MAX_ADD;
/// From here on the low bits of a turn could stand for another one.
const AMBIGUOUS: u64 = 1 << (u64::BITS - COUNT_BITS - 2);
/// In place of how far a window is ahead: it is empty, whatever its cells hold.
const CLEARED: u64 = u64::MAX;
/// How many turns after the last one there was nothing to be recent.
const OUTDATED: u64 = 3;
/// How often a cell is tried to be begun. Each failure means that somebody else has done it.
const TRIES: u32 = 4;

const _: () = assert!(SLOTS as u64 <= u64::MAX / COUNT);

#[cfg(test)]
mod tests;
