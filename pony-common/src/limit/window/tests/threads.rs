//! Several threads on one window: what is lost, and what gets in too much.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use super::{super::*, SLOT, TURN};
use crate::limit::{Action, AttemptLimit, Attempts, Bandwidth, BandwidthLimit, DatagramCharge};

const THREADS: u64 = 4;
const LEN: Nanos = Nanos(SLOT * 32);

/// Runs `each` on all threads at once, and answers what they say together.
fn together(each: impl Fn() -> u64 + Sync) -> u64 {
    let ready = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        let run = || {
            ready.wait();
            each()
        };
        let threads = [(); 4].map(|()| scope.spawn(run));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    })
}

#[test]
fn nothing_is_lost_in_one_window_of_time() {
    for round in 0..200 {
        // All begin the same fresh slots together, in a window that was used before.
        let window: Window<AtomicU64> = Window::default();
        window.add(Nanos(5_000), LEN, 1);
        let clock = AtomicU64::new(TURN * (4 + round * 5_000));
        let start = clock.load(Relaxed);
        together(|| {
            let mut added = 0;
            loop {
                let now = clock.fetch_add(1, Relaxed);
                if now >= start + LEN.0 {
                    return added;
                }
                window.add(Nanos(now), LEN, 1);
                added += 1;
            }
        });
        assert_eq!(
            window.sum(Nanos(start + LEN.0), LEN),
            LEN.0,
            "round {round}"
        );
    }
}

#[test]
fn of_one_slot_nobody_gets_the_same_place() {
    let limit = AttemptLimit {
        max: 100,
        window: LEN,
    };
    for round in 0..500 {
        let attempts: Attempts<AtomicU64> = Attempts::default();
        let now = Nanos(TURN * round * 1_000);
        let admitted = together(|| {
            let admitted = (0..100).filter(|_| attempts.admit(&limit, now));
            u64::try_from(admitted.count()).unwrap()
        });
        assert_eq!(admitted, 100, "round {round}");
    }
}

#[test]
fn what_is_admitted_is_off_by_at_most_what_is_in_flight() {
    let limit = AttemptLimit {
        max: 50,
        window: LEN,
    };
    for round in 0..200 {
        let attempts: Attempts<AtomicU64> = Attempts::default();
        let clock = AtomicU64::new(TURN * (1 + round));
        let end = clock.load(Relaxed) + LEN.0;
        let admitted = together(|| {
            let mut admitted = 0;
            while clock.load(Relaxed) < end {
                // The clocks of the threads differ by what they take between these two lines.
                let now = clock.fetch_add(3, Relaxed);
                admitted += u64::from(attempts.admit(&limit, Nanos(now)));
            }
            admitted
        });
        let off = admitted.abs_diff(u64::from(limit.max));
        assert!(off < THREADS, "{admitted} in round {round}");
    }
}

#[test]
fn bytes_over_the_limit_are_at_most_those_in_flight() {
    const LEN_OF_ONE: u64 = 100;
    let limit = BandwidthLimit {
        limit: 20_000,
        window: LEN,
        action: Action::Drop,
        throttle_minimum: 0,
    };
    for round in 0..300 {
        let bandwidth: Bandwidth<AtomicU64> = Bandwidth::default();
        let now = Nanos(TURN * (1 + round));
        let passed = together(|| {
            let passed = (0..200).filter(|_| {
                bandwidth.charge_datagram(&limit, now, LEN_OF_ONE) == DatagramCharge::Pass
            });
            u64::try_from(passed.count()).unwrap() * LEN_OF_ONE
        });
        let most = limit.limit + (THREADS - 1) * LEN_OF_ONE;
        assert!(
            (limit.limit..=most).contains(&passed),
            "{passed} in round {round}"
        );
        // What passed is counted, all of it.
        let used = BandwidthLimit {
            limit: passed,
            ..limit
        };
        assert!(!bandwidth.has_room(&used, now));
        let more = BandwidthLimit {
            limit: passed + 1,
            ..limit
        };
        assert!(bandwidth.has_room(&more, now));
    }
}
