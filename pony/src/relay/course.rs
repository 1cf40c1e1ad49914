//! Which lane a direction should use next, by what it has shown of itself.
//!
//! Pure: it is told what happened and answers. The figures behind the thresholds are in README.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use super::whim::Whim;
use crate::{config::Lane, observe::Direction};

/// What one direction has shown so far.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// The only lane that may be used, if there is one.
    only: Option<Lane>,
    lane: Lane,
    /// How many times in a row much was waiting.
    much: u8,
    /// How many times in a row little came through a pipe.
    small: u8,
    /// For tests. On the heap, where it costs others nothing.
    whim: Option<Box<Whim>>,
}

/// Why a direction goes over to another lane: the `reason` of `packetpony_lane_changes_total`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It moves more than buffers are good for.
    Bulk,
    /// Its reader does not keep up.
    SlowReader,
    /// It moves too little at a time for a pipe.
    Small,
    /// The kernel refused the lane.
    Refused,
    /// Its client is near to a bandwidth limit, and every piece has to be counted.
    NearLimit,
    /// In tests.
    Whim,
}

impl Change {
    /// The metric label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::SlowReader => "slow_reader",
            Self::Small => "small",
            Self::Refused => "refused",
            Self::NearLimit => "near_limit",
            Self::Whim => "whim",
        }
    }
}

impl Course {
    pub(super) fn new(only: Option<Lane>) -> Self {
        let lane = match only {
            Some(Lane::Splice) => Lane::Splice,
            // The sockmap lane is joined by both directions at once.
            Some(Lane::Copy | Lane::Sockmap) | None => Lane::Copy,
        };
        Self {
            only,
            lane,
            much: 0,
            small: 0,
            whim: None,
        }
    }

    /// The same, that may do anything at any time.
    pub(super) fn with_whim(self, whim: Option<Whim>) -> Self {
        Self {
            whim: whim.map(Box::new),
            ..self
        }
    }

    /// Whether it takes it into its head to join the kernel's lane.
    pub(super) fn wants_to_join(&mut self) -> bool {
        self.whim.as_mut().is_some_and(|whim| whim.one_in(6))
    }

    /// After a stay in the kernel's lane that ended for this reason.
    pub(super) fn after(change: Change) -> Self {
        let lane = match change {
            Change::Bulk | Change::SlowReader => Lane::Splice,
            Change::Small | Change::Refused | Change::NearLimit | Change::Whim => Lane::Copy,
        };
        Self {
            lane,
            ..Self::new(None)
        }
    }

    /// The lane for what comes next.
    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    /// `len` bytes were taken from the source at once, of at most `room`.
    pub(super) fn took(&mut self, len: usize, room: usize) -> Option<Change> {
        if let Some(whim) = &mut self.whim
            && whim.one_in(3)
        {
            let lane = [Lane::Copy, Lane::Splice][usize::from(whim.one_in(2))];
            return (lane != self.lane).then(|| self.turn(lane, Change::Whim));
        }
        if self.only.is_some() {
            return None;
        }
        match self.lane {
            Lane::Splice => {
                self.small = if len < LITTLE {
                    self.small.saturating_add(1)
                } else {
                    0
                };
                (self.small >= OFTEN_SMALL).then(|| self.turn(Lane::Copy, Change::Small))
            }
            Lane::Copy | Lane::Sockmap => {
                self.much = if len >= room / 4 {
                    self.much.saturating_add(1)
                } else {
                    0
                };
                (self.much >= OFTEN_MUCH).then(|| self.turn(Lane::Splice, Change::Bulk))
            }
        }
    }

    /// The destination did not take all that there was.
    pub(super) fn blocked(&mut self) -> Option<Change> {
        let may_turn = self.only.is_none() && self.lane == Lane::Copy;
        may_turn.then(|| self.turn(Lane::Splice, Change::SlowReader))
    }

    /// The kernel has no pipe for us, or does not take these sockets.
    pub(super) fn refused(&mut self) -> Change {
        self.only = Some(Lane::Copy);
        self.turn(Lane::Copy, Change::Refused)
    }

    fn turn(&mut self, lane: Lane, change: Change) -> Change {
        (self.lane, self.much, self.small) = (lane, 0, 0);
        change
    }
}

/// Whether the two sides of a flow speak in turn.
#[derive(Debug)]
pub(super) struct Talk {
    /// The direction that spoke last, and how often they have taken turns.
    last: AtomicU8,
    turns: AtomicU32,
    /// So many turns are a conversation.
    enough: u32,
    /// It need not be one: every piece counts as a turn, and the first attempt waits for none.
    is_forced: bool,
}

impl Talk {
    pub(super) fn new(only: Option<Lane>) -> Self {
        let is_forced = only == Some(Lane::Sockmap);
        Self {
            last: AtomicU8::new(0),
            turns: AtomicU32::new(0),
            enough: if is_forced { 0 } else { TURNS },
            is_forced,
        }
    }

    /// Begins anew after a stay in the kernel's lane, or an attempt at one. Who has that often has
    /// to show more.
    pub(super) fn begin_anew(&mut self) {
        let most = if self.is_forced {
            MOST_PIECES
        } else {
            MOST_TURNS
        };
        self.enough = self.enough.saturating_mul(2).clamp(1, most);
        *self.turns.get_mut() = 0;
    }

    /// So many bytes went this way.
    pub(super) fn heard(&self, direction: Direction, len: usize) {
        if self.is_forced {
            self.turns.fetch_add(1, Relaxed);
            return;
        }
        if len > BRIEF {
            self.turns.store(0, Relaxed);
        }
        let last = self.last.swap(direction as u8 + 1, Relaxed);
        if last != direction as u8 + 1 && len <= BRIEF {
            self.turns.fetch_add(1, Relaxed);
        }
    }

    /// It is to join at once, whatever it is.
    pub(super) fn settle(&self) {
        self.turns.store(SETTLED, Relaxed);
    }

    /// Whether they have shown that this is a conversation, and it is one that the kernel had better
    /// move: one that is served for itself, unless it has to join.
    pub(super) fn should_join(&self, is_alone: bool) -> bool {
        let turns = self.turns.load(Relaxed);
        if turns < self.enough {
            return false;
        }
        let should = self.is_forced || turns >= SETTLED || is_alone;
        if !should {
            // Asked again after as many turns, not at each: what is so for a moment is by chance.
            self.turns.store(0, Relaxed);
        }
        should
    }
}

/// More turns than there ever are.
const SETTLED: u32 = u32::MAX / 2;

/// So many turns are a conversation.
const TURNS: u32 = 16;
const MOST_TURNS: u32 = 4096;

/// A flow that has to use the kernel's lane tries it again after so many pieces at most.
const MOST_PIECES: u32 = 64;

/// What is said at once in a conversation, at most.
const BRIEF: usize = 16_384;

/// So many buffers in a row of which a quarter was filled are bulk. To ask for whole ones would be to
/// miss it: a source that is let write a window at a time fills one and a half by turns.
const OFTEN_MUCH: u8 = 4;

/// Below this, two more system calls cost more than the copying that they spare.
const LITTLE: usize = 4096;

/// So many small pieces in a row are not bulk.
const OFTEN_SMALL: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 65_536;

    #[test]
    fn buffers_in_a_row_that_are_not_nearly_empty_are_bulk() {
        let mut course = Course::new(None);
        for _ in 0..100 {
            for _ in 0..OFTEN_MUCH - 1 {
                assert_eq!(course.took(ROOM / 4, ROOM), None);
            }
            assert_eq!(course.took(ROOM / 4 - 1, ROOM), None);
        }
        for _ in 0..OFTEN_MUCH - 1 {
            assert_eq!(course.took(ROOM / 4, ROOM), None);
        }
        assert_eq!(course.lane(), Lane::Copy);
        assert_eq!(course.took(ROOM, ROOM), Some(Change::Bulk));
        assert_eq!(course.lane(), Lane::Splice);
    }

    #[test]
    fn bulk_that_becomes_a_trickle_is_copied_again() {
        let mut course = Course::new(None);
        assert_eq!(course.blocked(), Some(Change::SlowReader));
        assert_eq!(course.blocked(), None, "it is there already");
        for _ in 0..OFTEN_SMALL - 1 {
            assert_eq!(course.took(LITTLE - 1, ROOM), None);
        }
        assert_eq!(course.took(LITTLE, ROOM), None);
        for _ in 0..OFTEN_SMALL - 1 {
            assert_eq!(course.took(1, ROOM), None);
        }
        assert_eq!(course.took(1, ROOM), Some(Change::Small));
        assert_eq!(course.lane(), Lane::Copy);
    }

    #[test]
    fn a_flow_that_was_not_let_in_tries_again_after_it_has_moved_something() {
        let mut talk = Talk::new(Some(Lane::Sockmap));
        assert!(talk.should_join(true));
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            talk.begin_anew();
            for _ in 0..expected {
                assert!(!talk.should_join(true));
                talk.heard(Direction::Sent, ROOM);
            }
            assert!(talk.should_join(true));
        }
        let mut talk = Talk::new(None);
        talk.begin_anew();
        for turn in 0..2 * TURNS {
            assert!(!talk.should_join(true));
            let directions = [Direction::Sent, Direction::Received];
            talk.heard(directions[turn as usize % 2], 1);
        }
        assert!(talk.should_join(true));
    }

    #[test]
    fn a_conversation_in_company_is_asked_again_after_as_many_turns() {
        let talk = Talk::new(None);
        let speak = |turns| {
            for turn in 0..turns {
                let directions = [Direction::Sent, Direction::Received];
                talk.heard(directions[turn as usize % 2], 1);
            }
        };
        speak(TURNS);
        assert!(!talk.should_join(false));
        assert!(
            !talk.should_join(true),
            "what is so for a moment is by chance"
        );
        speak(TURNS);
        assert!(talk.should_join(true));
        talk.settle();
        assert!(talk.should_join(false));
        assert!(Talk::new(Some(Lane::Sockmap)).should_join(false));
    }

    #[test]
    fn a_forced_lane_is_kept_unless_the_kernel_refuses_it() {
        for only in [Lane::Copy, Lane::Splice] {
            let mut course = Course::new(Some(only));
            for len in [ROOM, 1].repeat(100) {
                assert_eq!(course.took(len, ROOM), None);
                assert_eq!(course.blocked(), None);
            }
            assert_eq!(course.lane(), only);
        }
        let mut course = Course::new(Some(Lane::Splice));
        assert_eq!(course.refused(), Change::Refused);
        assert_eq!(course.lane(), Lane::Copy);
        assert_eq!(course.blocked(), None);
    }
}
