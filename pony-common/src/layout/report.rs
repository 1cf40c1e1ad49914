//! `REPORTS`: what the guard has not told yet of a listener, a client and a slot.
//!
//! The same is told at most once in [`INTERVAL`]; what happens in between is added up. The next
//! packet tells it, or the daemon takes it itself if there is none. Two that share a row push each
//! other out, and what was not told yet is then left to `STATS`, which always has everything.

use super::stats::Tally;
use crate::{
    addr::Addr16,
    cell::Cell64,
    hash::{HashKey, ODD},
    time::Nanos,
};

/// What a row is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct About {
    /// An IPv4 address in its mapped form, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
    /// The listener's number.
    pub listener: u32,
    /// The value of the [`Slot`](super::stats::Slot).
    pub slot: u32,
}

/// A row of `REPORTS`. All zeros: about nothing yet.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Report<T> {
    /// Upper half: part of the hash of what it is about. Lower half: when that was last told, in
    /// units of 2²⁰ ns. Whoever changes it tells what is below; the others only add to that.
    last: T,
    packets: T,
    bytes: T,
    attempts: T,
    about: [T; 3],
}

const _: () = assert!(size_of::<Report<u64>>() == 7 * 8);

/// How many rows there are, a power of two.
pub const SIZE: u32 = 1 << 13;
/// How often the same is told.
pub const INTERVAL: Nanos = Nanos::from_secs(1);

impl About {
    /// Its hash, which chooses the row.
    ///
    /// Mixed with the key, at a fifth of the price of the ledger's hash. Nobody sees what it is,
    /// so the best that an attacker can do is to fill all rows; the budget is for that.
    #[inline(always)]
    pub const fn hash(self, key: &HashKey) -> u64 {
        let [upper, lower, numbers] = self.words();
        let HashKey([first, second]) = *key;
        let mixed = (upper ^ second ^ numbers.rotate_left(32)).wrapping_mul(ODD);
        let mixed = (mixed ^ mixed >> 32 ^ lower ^ first).wrapping_mul(ODD);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(ODD ^ first << 1);
        mixed ^ mixed >> 29
    }

    #[inline(always)]
    const fn words(self) -> [u64; 3] {
        let (upper, lower) = self.client.halves();
        let numbers = (self.listener as u64) << 32 | self.slot as u64;
        [upper, lower, numbers]
    }

    const fn from_words([upper, lower, numbers]: [u64; 3]) -> Self {
        Self {
            client: Addr16::from_halves(upper, lower),
            listener: super::high(numbers),
            slot: super::low(numbers),
        }
    }
}

/// The number of the row with this hash.
#[inline(always)]
pub const fn index(hash: u64) -> u32 {
    super::low(hash) & (SIZE - 1)
}

impl<T: Cell64> Report<T> {
    /// Adds `new`, and answers what is to be told now, if it is time.
    #[inline(always)]
    pub fn add(
        &self,
        (about, hash): (About, u64),
        new: Tally,
        now: Nanos,
        may_tell: impl FnOnce() -> bool,
    ) -> Option<Tally> {
        let (tag, time) = (hash & !TIME_MASK, time(now));
        let last = self.last.load();
        let is_same = last & !TIME_MASK == tag;
        let is_early = is_same && age(last, time) < MIN_AGE;
        if is_early || !may_tell() || self.last.swap_if(last, tag | time).is_err() {
            if is_same {
                put(&self.packets, new.packets);
                put(&self.bytes, new.bytes);
                put(&self.attempts, new.attempts);
            }
            return None;
        }
        let kept = self.take();
        if is_same {
            return Some(Tally {
                packets: kept.packets.wrapping_add(new.packets),
                bytes: kept.bytes.wrapping_add(new.bytes),
                attempts: kept.attempts.wrapping_add(new.attempts),
            });
        }
        for (cell, word) in self.about.iter().zip(about.words()) {
            cell.store(word);
        }
        Some(new)
    }

    /// Takes what should have been told by now, and was not for want of another packet.
    pub fn overdue(&self, now: Nanos) -> Option<(About, Tally)> {
        let (last, time) = (self.last.load(), time(now));
        // Whoever writes may be a little ahead of `now`: then this is not old, but from the future.
        let is_due = (MIN_AGE..=TIME_MASK / 2).contains(&age(last, time));
        if !is_due || self.packets.load() == 0 {
            return None;
        }
        let about = self.about.each_ref().map(T::load);
        let told = last & !TIME_MASK | time;
        self.last.swap_if(last, told).ok()?;
        Some((About::from_words(about), self.take()))
    }

    /// What was added since the last time. What others add meanwhile stays for the next.
    #[inline(always)]
    fn take(&self) -> Tally {
        Tally {
            packets: taken(&self.packets),
            bytes: taken(&self.bytes),
            attempts: taken(&self.attempts),
        }
    }
}

/// Adds where there is something to add: an addition that others see takes time.
#[inline(always)]
fn put(cell: &impl Cell64, n: u64) {
    if n > 0 {
        cell.add(n);
    }
}

#[inline(always)]
fn taken(cell: &impl Cell64) -> u64 {
    let taken = cell.load();
    put(cell, taken.wrapping_neg());
    taken
}

#[inline(always)]
const fn time(now: Nanos) -> u64 {
    now.0 >> TIME_SHIFT & TIME_MASK
}

/// How long before `time` a row was told.
#[inline(always)]
const fn age(last: u64, time: u64) -> u64 {
    time.wrapping_sub(last) & TIME_MASK
}

const TIME_SHIFT: u32 = 20;
const TIME_MASK: u64 = 0xffff_ffff;
const MIN_AGE: u64 = INTERVAL.0 >> TIME_SHIFT;

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    const ONE: Tally = Tally {
        packets: 1,
        bytes: 10,
        attempts: 1,
    };

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(1_000_000 + millis)
    }

    /// A client with the hash that the row finds it by.
    fn client(number: u8) -> (About, u64) {
        let about = About {
            client: Addr16::from_v4([192, 0, 2, number]),
            listener: 3,
            slot: 5,
        };
        (about, u64::from(number) << 32)
    }

    fn packets(report: &Report<AtomicU64>, number: u8, millis: u64) -> Option<u64> {
        let told = report.add(client(number), ONE, at(millis), || true)?;
        assert_eq!(told.bytes, 10 * told.packets);
        assert_eq!(told.attempts, told.packets);
        Some(told.packets)
    }

    fn overdue(report: &Report<AtomicU64>, millis: u64) -> Option<(About, u64)> {
        let (about, told) = report.overdue(at(millis))?;
        assert_eq!(
            (told.bytes, told.attempts),
            (10 * told.packets, told.packets)
        );
        Some((about, told.packets))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_once_a_second() {
        let report = Report::default();
        assert_eq!(packets(&report, 7, 0), Some(1));
        for millis in 1..900 {
            assert_eq!(packets(&report, 7, millis), None);
        }
        assert_eq!(packets(&report, 7, 1_010), Some(900));
        assert_eq!(packets(&report, 7, 1_020), None);
        assert_eq!(packets(&report, 7, 9_000), Some(2));
    }

    #[test]
    fn another_client_takes_the_row_and_none_of_its_counts() {
        let report = Report::default();
        assert_eq!(packets(&report, 7, 0), Some(1));
        assert_eq!(packets(&report, 7, 1), None);
        assert_eq!(packets(&report, 8, 2), Some(1));
        assert_eq!(packets(&report, 8, 3), None);
        assert_eq!(overdue(&report, 1_010), Some((client(8).0, 1)));
        assert_eq!(packets(&report, 7, 1_020), Some(1));
    }

    #[test]
    fn without_budget_the_counts_wait() {
        let report = Report::default();
        assert_eq!(packets(&report, 7, 0), Some(1));
        assert_eq!(report.add(client(7), ONE, at(2_000), || false), None);
        assert_eq!(packets(&report, 7, 2_001), Some(2));
    }

    #[test]
    fn what_waits_for_a_packet_that_does_not_come_is_told_once() {
        let report = Report::default();
        assert_eq!(overdue(&report, 60_000), None, "about nothing");
        assert_eq!(packets(&report, 7, 0), Some(1));
        assert_eq!(overdue(&report, 60_000), None, "all is told");
        assert_eq!(packets(&report, 7, 100), None);
        assert_eq!(packets(&report, 7, 200), None);
        assert_eq!(overdue(&report, 900), None, "a packet may still come");
        let early = Nanos(at(0).0 - (2 << TIME_SHIFT));
        assert!(report.overdue(early).is_none(), "by a clock that is late");
        assert_eq!(overdue(&report, 1_010), Some((client(7).0, 2)));
        assert_eq!(overdue(&report, 9_000), None);
        assert_eq!(packets(&report, 7, 9_010), Some(1));
    }

    #[test]
    fn what_it_is_about_is_kept_whole() {
        let about = About {
            client: Addr16::from_v6([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            listener: u32::MAX - 1,
            slot: 13,
        };
        assert_eq!(About::from_words(about.words()), about);
    }
}
