//! What the guard remembers of a connection attempt, so that a SYN that is sent again is the same
//! attempt: it gets the same verdict, and is counted once.
//!
//! A table of words, each with one attempt; a new one takes the place of what was there. Whether
//! a SYN is known is told by a hash that only the guard can compute and nobody sees, so nobody can
//! make it forget or confuse a client on purpose. What is forgotten is counted again, nothing worse.
//!
//! Who keeps sending the same SYN does not stay one attempt: one that was let through [`REPEATS`]
//! times more is forgotten.

use pony_common::{
    cell::Cell64,
    hash::LinearKey,
    layout::{high, low},
    reason::Reason,
    time::Nanos,
};

use crate::{header::Segment, parse::Packet, world::World};

/// What is known of an attempt.
///
/// A number, as it stands in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Known(u64);

impl Known {
    /// Nothing: it is new.
    pub const NOTHING: Self = Self(0);
    /// It was let through before.
    pub const PASSED: Self = Self(1);

    /// It was refused before.
    #[inline(always)]
    pub const fn refused(reason: Reason) -> Self {
        Self(REFUSED + reason as u64)
    }

    /// Why it was refused before, if it was.
    #[inline(always)]
    pub fn refusal(self) -> Option<Reason> {
        if self.0 < REFUSED {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "four bits")]
        let value = self.0.wrapping_sub(REFUSED) as u32;
        Reason::from_value(value)
    }
}

/// How many words the table has, a power of two.
pub const SIZE: u32 = 1 << 16;
/// How often a SYN may be let through again as the same attempt.
///
/// Since version 6.5 Linux sends one 10 times more (`tcp_syn_retries` and
/// `tcp_syn_linear_timeouts`), others less often; and the guard sees it twice, or three times, where
/// it is on an interface and on a bridge or VLAN above it.
pub const REPEATS: u64 = 32;

/// The hash of an attempt under the policy of a generation: with another policy it is a new one.
#[inline(always)]
fn hash(key: &impl LinearKey, packet: &Packet, segment: Segment, generation: u64) -> u64 {
    let (from, to) = (&packet.from, &packet.to);
    let ports = u32::from(from.port.to_host()) << 16 | u32::from(to.port.to_host());
    let ((a, b), (c, d)) = (from.addr.halves(), to.addr.halves());
    let sequence = segment.sequence;
    let kind = generation << 1;
    if from.addr.is_v4() {
        return key.hash(kind, [low(b), low(d), ports, sequence]);
    }
    let words = [
        high(a),
        low(a),
        high(b),
        low(b),
        high(c),
        low(c),
        high(d),
        low(d),
        ports,
        sequence,
    ];
    key.hash(kind | 1, words)
}

/// What is known of a packet, if it asks for a connection.
#[inline(always)]
pub fn recall<W: World + ?Sized>(
    world: &W,
    packet: &Packet,
    generation: u64,
    now: Nanos,
) -> Attempt {
    let Some(segment) = packet.tcp().filter(|segment| segment.flags.is_attempt()) else {
        return Attempt::NONE;
    };
    let hash = hash(world.attempts_key(), packet, segment, generation);
    let attempt = Attempt::new(hash);
    let place = world.attempt(attempt.index());
    place.map_or(Attempt::NONE, |place| attempt.recall(place, now))
}

/// An attempt, and what is known of it: its hash, with the latter in place of four bits that
/// neither choose the word nor stand in it. All zeros: no attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt(pub u64);

impl Attempt {
    const NONE: Self = Self(0);

    /// The one with this hash, of which nothing is known.
    #[inline(always)]
    const fn new(hash: u64) -> Self {
        Self(hash & !(OUTCOME_MASK << KNOWN_SHIFT) | IS_ATTEMPT)
    }

    /// Whether the packet asks for a connection.
    #[inline(always)]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// What is known.
    #[inline(always)]
    pub fn known(self) -> Known {
        Known(self.0 >> KNOWN_SHIFT & OUTCOME_MASK)
    }

    /// Where in the table it is.
    #[inline(always)]
    pub fn index(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a place in the table")]
        let index = self.0 as u32 & (SIZE - 1);
        index
    }

    /// The same with what a word knows of it.
    #[inline(always)]
    fn recall(self, word: &impl Cell64, now: Nanos) -> Self {
        let word = word.load();
        let age = since(now).wrapping_sub(word >> OUTCOME_BITS) & TIME_MASK;
        if (word ^ self.0) & TAG_MASK != 0 || age > MAX_AGE {
            return self;
        }
        Self(self.0 | (word & OUTCOME_MASK) << KNOWN_SHIFT)
    }

    /// Remembers what came of it, or, if that is what is known, that it came once more. Then it
    /// keeps the time when it was first seen.
    #[inline(always)]
    pub fn remember(self, word: &impl Cell64, now: Nanos, outcome: Known) {
        if self.known() == outcome {
            // The last time the count runs over into the tag, which then is not this one's.
            let _before = word.add(REPEATED);
            return;
        }
        let time = (since(now) & TIME_MASK) << OUTCOME_BITS;
        word.store((self.0 & TAG_MASK) | time | outcome.0);
    }
}

/// The unit of time here.
#[inline(always)]
fn since(moment: Nanos) -> u64 {
    moment.0 >> TIME_SHIFT
}

// A word: what is left of the hash, the count of repeats, the time, the outcome.
const OUTCOME_BITS: u32 = 4;
const OUTCOME_MASK: u64 = 0xf;
const REFUSED: u64 = 2;

/// 2³⁰ ns, a little more than a second. The time wraps around after 36 minutes.
const TIME_SHIFT: u32 = 30;
const TIME_MASK: u64 = 0x7ff;

/// One in the count of repeats.
const REPEATED: u64 = (TIME_MASK + 1) << OUTCOME_BITS;

/// In an attempt: where what is known of it is. The bits below choose the word.
const KNOWN_SHIFT: u32 = SIZE.ilog2();
/// In an attempt: there is one. Of the bits of the hash one is not compared for that.
const IS_ATTEMPT: u64 = 1 << 63;

const TAG_MASK: u64 = !(REPEATED * REPEATS - 1);

/// 130 s. Linux sends a SYN for the last time 67 s after the first, and gives up after 131 s.
const MAX_AGE: u64 = 121;

const _: () = assert!(Reason::ALL.len() as u64 + REFUSED <= OUTCOME_MASK);
// The lowest bits of the hash choose the place: count and time may stand where they are.
const _: () = assert!(TAG_MASK == !0xf_ffff);

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    const HASH: u64 = 0x0123_4567_89ab_cdef;
    const START: Nanos = Nanos::from_secs(1_000_000);

    fn attempt(hash: u64) -> Attempt {
        Attempt::new(hash)
    }

    fn recall(word: &AtomicU64, hash: u64, now: Nanos) -> Known {
        attempt(hash).recall(word, now).known()
    }

    fn after(secs: u64) -> Nanos {
        START.saturating_add(Nanos::from_secs(secs))
    }

    #[test]
    fn every_outcome_is_remembered_for_as_long_as_a_syn_is_sent() {
        let outcomes = Reason::ALL.map(Known::refused);
        for known in outcomes.into_iter().chain([Known::PASSED]) {
            let word = AtomicU64::new(0);
            attempt(HASH).remember(&word, START, known);
            for secs in [0, 1, 63, 127] {
                assert_eq!(recall(&word, HASH, after(secs)), known, "{secs}");
            }
            for secs in [132, 1_000, 2_000] {
                assert_eq!(recall(&word, HASH, after(secs)), Known::NOTHING, "{secs}");
            }
        }
    }

    #[test]
    fn a_syn_that_was_let_through_too_often_is_a_new_attempt() {
        // The last one: nothing above the tag is left to run over into.
        for hash in [HASH, HASH | TAG_MASK] {
            let word = AtomicU64::new(0);
            for _attempt in 0..3 {
                assert_eq!(recall(&word, hash, START), Known::NOTHING);
                attempt(hash).remember(&word, START, Known::PASSED);
                for repeat in 0..REPEATS {
                    let now = after(repeat);
                    let again = attempt(hash).recall(&word, now);
                    assert_eq!(again.known(), Known::PASSED, "{repeat}");
                    again.remember(&word, now, Known::PASSED);
                }
            }
        }
    }

    #[test]
    fn a_syn_that_comes_again_does_not_become_younger() {
        let word = AtomicU64::new(0);
        attempt(HASH).remember(&word, START, Known::PASSED);
        let again = attempt(HASH).recall(&word, after(127));
        again.remember(&word, after(127), Known::PASSED);
        assert_eq!(recall(&word, HASH, after(127)), Known::PASSED);
        assert_eq!(recall(&word, HASH, after(132)), Known::NOTHING);
    }

    #[test]
    fn a_refusal_has_its_reason() {
        for reason in Reason::ALL {
            assert_eq!(Known::refused(reason).refusal(), Some(reason));
        }
        assert_eq!(Known::NOTHING.refusal(), None);
        assert_eq!(Known::PASSED.refusal(), None);
    }

    #[test]
    fn an_empty_word_and_that_of_another_attempt_tell_nothing() {
        let word = AtomicU64::new(0);
        assert_eq!(recall(&word, 0, Nanos::ZERO), Known::NOTHING);
        assert_eq!(recall(&word, HASH, START), Known::NOTHING);
        attempt(HASH).remember(&word, START, Known::PASSED);
        for bit in 20..63 {
            assert_eq!(
                recall(&word, HASH ^ 1 << bit, START),
                Known::NOTHING,
                "{bit}"
            );
        }
    }
}
