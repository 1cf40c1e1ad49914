//! How much memory TCP flows may pin whose readers do not keep up: what was given out, and to whom
//! how much is given next.
//!
//! A direction that has moved less than [`LIGHT`] has nothing of it and asks for nothing. Then it
//! asks each time that it has moved as much again, so who does not move keeps to what it has.
//! While there is plenty, it gets what its sockets could come to take if they were left alone, and
//! they are. When there is not, it gets a share of what is left, and its sockets are limited to it;
//! if it makes progress with that, it gets more.
//!
//! What always holds: no more than the total is given out, but for [`FLOOR`] to each direction that
//! asks when there is nothing left. Nobody is refused.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::pipe::PIPE_LEN;
use crate::sys::{
    self,
    buffers::{Queue, most},
};

/// See the module.
#[derive(Debug)]
pub struct Memory {
    total: u64,
    /// What a direction can pin that has no limit.
    most: u64,
    given: AtomicU64,
    /// How many directions have some of it.
    holders: AtomicU64,
}

/// What a direction has after it has asked, all together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Grant {
    /// As much as it can need at this point without a limit.
    Plenty(u64),
    /// Its limit.
    Limit(u64),
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asking {
    /// What it has.
    pub(super) held: u64,
    /// How many bytes it has moved.
    pub(super) moved: u64,
    /// Whether what it has is its limit already.
    pub(super) is_limited: bool,
}

impl Memory {
    /// At most `total` bytes; a quarter of the machine's if that is not said.
    pub fn new(total: Option<u64>) -> Self {
        let most = most(Queue::Receive) + most(Queue::Send) + PIPE_LEN as u64;
        Self::with(total.unwrap_or_else(|| sys::machine_memory() / 4), most)
    }

    pub(super) const fn with(total: u64, most: u64) -> Self {
        Self {
            total,
            most,
            given: AtomicU64::new(0),
            holders: AtomicU64::new(0),
        }
    }

    /// How many bytes may be given out.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many are.
    pub fn given(&self) -> u64 {
        self.given.load(Relaxed)
    }

    /// What a direction can pin that has no limit.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// Gives more to somebody who has moved something.
    pub(super) fn ask(&self, asking: Asking) -> Grant {
        self.give(asking.held, |free| self.decide(free, asking))
    }

    /// Gives what a direction in the kernel's lane may pin: one of so many `parts` of what is left,
    /// at most `most`. Nothing, if that is less than who has not asked may pin anyway. Answers also
    /// whether there is plenty.
    pub(super) fn ask_for_lane(&self, parts: u64, most: u64) -> (u64, bool) {
        let grant = self.give(0, |free| {
            let share = (free / parts).min(most);
            let share = if share > 2 * LIGHT { share } else { 0 };
            if self.is_plenty(free) {
                Grant::Plenty(share)
            } else {
                Grant::Limit(share)
            }
        });
        (grant.bytes(), matches!(grant, Grant::Plenty(_)))
    }

    /// Takes back all that a direction has.
    pub(super) fn take_back(&self, held: u64) {
        if held > 0 {
            self.given.fetch_sub(held, Relaxed);
            self.holders.fetch_sub(1, Relaxed);
        }
    }

    fn give(&self, held: u64, decide: impl Fn(u64) -> Grant) -> Grant {
        let mut given = self.given.load(Relaxed);
        loop {
            let grant = decide(self.total.saturating_sub(given));
            let after = given - held + grant.bytes();
            match self
                .given
                .compare_exchange_weak(given, after, Relaxed, Relaxed)
            {
                Ok(_) => {
                    if held == 0 && grant.bytes() > 0 {
                        self.holders.fetch_add(1, Relaxed);
                    }
                    return grant;
                }
                Err(now) => given = now,
            }
        }
    }

    /// Half is for those who are limited, so that a few who do not read leave enough to all others.
    const fn is_plenty(&self, free: u64) -> bool {
        free / PLENTY >= self.most && free >= self.total / 2
    }

    fn decide(&self, free: u64, asking: Asking) -> Grant {
        let held = asking.held;
        if self.is_plenty(free) {
            let needed = asking.moved.saturating_mul(PINNED_BY_MOVED);
            return Grant::Plenty(needed.clamp(FLOOR, self.most.max(FLOOR)).max(held));
        }
        if held == 0 {
            let shares = self.holders.load(Relaxed).max(LEAST_SHARES);
            let reserved = RESERVED.min(self.total / 4);
            let spare = free.saturating_sub(reserved);
            return Grant::Limit((spare / shares).min(self.most).max(FLOOR));
        }
        if !asking.is_limited {
            return Grant::Limit(held);
        }
        // Some is left to those who come next.
        let spare = free.saturating_sub(self.total / 4) / STEPS;
        let room = self.most.saturating_sub(held);
        Grant::Limit(held + held.min(spare).min(room))
    }
}

impl Grant {
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Plenty(bytes) | Self::Limit(bytes) => bytes,
        }
    }
}

/// So many bytes a direction moves before it asks, and so many may wait for its reader: nearly all
/// connections are over before that.
pub(super) const LIGHT: u64 = 64 << 10;

/// The least that a direction gets. With less its sockets take a packet at a time.
pub(super) const FLOOR: u64 = 64 << 10;

/// There is plenty while so many directions could be given all that they can pin.
const PLENTY: u64 = 16;

/// What the sockets can have pinned of what has moved, many times over: the kernel lets a queue grow
/// to at most four times what was read in a round trip, and charges up to twice the bytes; and the
/// direction asks again only when it has moved twice as much.
const PINNED_BY_MOVED: u64 = 8;

/// Into so many parts is divided what is left, or into as many as there are who have some already: so
/// a hundred that start at once get about the same, and what is left to the next lasts for thousands.
const LEAST_SHARES: u64 = 128;

/// What is kept for floors, of which the last thousand who come get no more than one each.
const RESERVED: u64 = 1024 * FLOOR;

/// Into so many parts is divided what is left to somebody who has made progress with its part.
const STEPS: u64 = 16;

#[cfg(test)]
mod tests;
