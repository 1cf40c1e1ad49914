//! The handover of one direction between the kernel and the daemon, in every order of its steps.
//!
//! What runs here is the kernel's own rule, [`pony_common::lane::judge`]. Around it stand models of
//! what it meets: a sender, two sockets with their queues as `sk_skb` verdict programs treat them
//! (Linux 6.18: `net/core/skmsg.c`, `net/ipv4/tcp_bpf.c`), the kernel's worker that writes what was
//! redirected, a peer that acknowledges, and the daemon from joining the lane to the end of the
//! stream or to leaving. A stream has a few numbered bytes, which arrive in pieces; so a byte that is
//! lost, repeated or out of order shows. The checker visits every state that can be reached.
//!
//! # Steps
//!
//! A step of the daemon is one system call, or one load or store of a number in a map. A step of the
//! program is its decision about one piece ([`Grain::Piece`]) or one access to a number that the
//! daemon writes or reads ([`Grain::Access`]); then the record of its call; then the queueing of the
//! piece. While it runs it holds the lock of the source, from the first piece of the receive queue to
//! the last, so `recv` and `setsockopt` on the source wait, and so do arrivals. Everything else may
//! happen between its steps: what the daemon does with the maps and the peer, the worker, and
//! acknowledgements. A walk that meets a socket is one step: it takes the lock too.
//!
//! Two things are coarser. A byte that the daemon writes is counted in `handed` in the same step:
//! nobody reads that number before `promote_at` is published. And `EOF` is accounted for in one
//! step: all has arrived then and the program has seen it, so the numbers do not change.
//!
//! Stores become visible at once. They may be late on a real CPU, but not later than the lock that
//! the daemon takes next: an order given before a `recv` is seen by every run that follows it.
//!
//! # What is not here
//!
//! The opposite direction: that a walk lets the peer go is for that one to say, so it may happen at
//! any time once the daemon has let this direction's bytes get there. A walk that meets a socket that
//! must not go: it changes nothing. A ring that is full: it has room for a call of each
//! direction, and the model shows that there is never more than one. An `acked` of the program's that
//! is left from the flow before.
#![expect(
    clippy::struct_excessive_bools,
    reason = "a world has them as a configuration has"
)]

mod cycles;
mod daemon;
mod flaw;
mod kernel;
mod leave;
mod model;
mod program;
mod properties;
mod queue;
mod state;

use std::{collections::BTreeSet, time::Instant};

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::{flaw::Flaw, model::World, program::Grain};

const WORLD: World = World {
    pieces: &[1, 2, 1],
    grain: Grain::Piece,
    room: 2,
    budget: 2,
    credit: 3,
    grants: 1,
    mark: 1,
    leaves: true,
    holds: true,
    fails: false,
    runs_unasked: true,
    runs_short: false,
    flaw: None,
};

/// The worlds in which everything must hold.
const WORLDS: [(&str, World); 8] = [
    (
        "a longer stream",
        World {
            pieces: &[1, 2, 1, 1],
            budget: 3,
            credit: 4,
            grants: 0,
            ..WORLD
        },
    ),
    (
        "a stream that stays in the lane",
        World {
            pieces: &[1, 2, 1, 2, 1],
            room: 3,
            budget: 3,
            credit: 4,
            grants: 2,
            mark: 2,
            leaves: false,
            ..WORLD
        },
    ),
    (
        "single accesses",
        World {
            grain: Grain::Access,
            ..WORLD
        },
    ),
    (
        "single accesses, more pieces",
        World {
            pieces: &[1, 1, 1, 1],
            grants: 0,
            grain: Grain::Access,
            ..WORLD
        },
    ),
    (
        "ends that fail",
        World {
            grants: 0,
            fails: true,
            ..WORLD
        },
    ),
    (
        "too little memory",
        World {
            runs_short: true,
            ..WORLD
        },
    ),
    (
        "arrivals that stay held",
        World {
            runs_unasked: false,
            ..WORLD
        },
    ),
    (
        "arrivals that are not held",
        World {
            holds: false,
            grain: Grain::Access,
            ..WORLD
        },
    ),
];

#[test]
fn every_byte_arrives_once_and_in_order_or_the_flow_is_reset() {
    for (name, world) in WORLDS {
        let begin = Instant::now();
        let checker = world.checker().threads(2).spawn_dfs().join();
        let (states, steps) = (checker.unique_state_count(), checker.max_depth());
        println!(
            "{name}: {states} states, up to {steps} steps, {:.1?}",
            begin.elapsed()
        );
        checker.assert_properties();
    }
}

/// With "nothing waits at rest" this says that the stream ends if the sender does and the peer
/// reads: whatever the order, there is a last step.
#[test]
fn nothing_goes_round_in_circles() {
    let everything = World {
        fails: true,
        runs_short: true,
        ..WORLD
    };
    let circle = cycles::find(&everything);
    assert!(circle.is_none(), "{:#?}", circle.unwrap());
}

#[test]
fn every_flaw_of_a_daemon_is_found() {
    const ORDER: &str = "bytes are written in order and once";
    const CLEAN_END: &str = "a clean end comes after the last byte";
    const AT_REST: &str = "nothing waits at rest";
    const MARK: &str = "no mark is missed";
    const RING: &str = "one call at a time waits in the ring";
    const OUT: &str = "who is to leave is out at last";
    const UNWRITTEN: &str = "the peer leaves with nothing to write";
    let flaws = [
        (Flaw::OpensFirst, AT_REST),
        (Flaw::NoKick, AT_REST),
        (Flaw::SleepsDeaf, AT_REST),
        (Flaw::HearsUncalled, RING),
        (Flaw::MarksBlindly, MARK),
        (Flaw::PromotesUnread, ORDER),
        (Flaw::WritesAtOnce, ORDER),
        (Flaw::ShutsDownAtOnce, CLEAN_END),
        (Flaw::IgnoresFin, CLEAN_END),
        (Flaw::OutqFirst, ORDER),
        (Flaw::BaseTooLow, ORDER),
        (Flaw::BaseTooHigh, AT_REST),
        (Flaw::NeverPolls, AT_REST),
        (Flaw::LeavesWithCredit, UNWRITTEN),
        (Flaw::LeavesAtOnce, UNWRITTEN),
        (Flaw::RemovesUnread, CLEAN_END),
        (Flaw::RemovesUnlocked, ORDER),
        (Flaw::ReadsInSilence, OUT),
    ];
    for (flaw, broken) in flaws {
        let world = World {
            flaw: Some(flaw),
            fails: flaw == Flaw::IgnoresFin,
            runs_short: flaw == Flaw::NeverPolls,
            ..WORLD
        };
        let found = world
            .checker()
            .finish_when(HasDiscoveries::AllOf(BTreeSet::from([broken])))
            .spawn_bfs()
            .join();
        let trace = found.discovery(broken);
        let trace = trace.unwrap_or_else(|| panic!("{flaw:?} goes unnoticed"));
        println!("{flaw:?}: {broken}: {:?}", trace.into_actions());
    }
}

/// The daemon does both. One would do: a call that is heard before the last `recv` is made again
/// for whatever that did not see.
#[test]
fn hearing_first_and_receiving_again_are_each_enough_to_miss_no_call() {
    for flaw in [Flaw::HearsLate, Flaw::SleepsAtOnce] {
        let world = World {
            flaw: Some(flaw),
            ..WORLD
        };
        world
            .checker()
            .threads(2)
            .spawn_dfs()
            .join()
            .assert_properties();
    }
}
