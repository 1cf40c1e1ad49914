use std::{sync::atomic::AtomicU64, vec::Vec};

use proptest::prelude::*;

use super::*;

mod threads;

type Window = super::Window<AtomicU64>;

const LEN: Nanos = Nanos(3_200);
const SLOT: u64 = 100;
/// All slots together.
const TURN: u64 = SLOT * SLOTS as u64;

#[test]
fn zeroed_memory_is_an_empty_window() {
    // What a kernel map holds for a client it has just made room for.
    let window = Window::default();
    assert_eq!(Cell64::load(&window.next_turn), 0);
    assert!(window.slots.iter().all(|slot| Cell64::load(slot) == 0));
    for now in [0, 1, TURN - 1, TURN, TURN << 19, TURN << 20, u64::MAX] {
        assert_eq!(window.sum(Nanos(now), LEN), 0);
    }
}

#[test]
fn remembers_for_its_length_and_forgets_within_one_slot_more() {
    for begun in [0, 1, 50, 99] {
        let window = Window::default();
        window.add(Nanos(1_000_000 + begun), LEN, 7);
        assert_eq!(window.sum(Nanos(1_000_000 + begun + LEN.0), LEN), 7);
        assert_eq!(window.sum(Nanos(1_000_000 + TURN - 1), LEN), 7);
        assert_eq!(window.sum(Nanos(1_000_000 + TURN), LEN), 0);
    }
}

#[test]
fn forgets_slot_by_slot_at_the_exact_boundaries() {
    let window = Window::default();
    let start = 5_000;
    window.add(Nanos(start), LEN, 1);
    window.add(Nanos(start + SLOT - 1), LEN, 10);
    window.add(Nanos(start + SLOT), LEN, 100);
    assert_eq!(window.sum(Nanos(start + 33 * SLOT - 1), LEN), 111);
    assert_eq!(window.sum(Nanos(start + 33 * SLOT), LEN), 100);
    assert_eq!(window.sum(Nanos(start + 34 * SLOT - 1), LEN), 100);
    assert_eq!(window.sum(Nanos(start + 34 * SLOT), LEN), 0);
}

#[test]
fn answers_what_was_there_before() {
    let window = Window::default();
    assert_eq!(window.add(Nanos(5_000), LEN, 1), 0);
    assert_eq!(window.add(Nanos(5_000), LEN, 10), 1);
    assert_eq!(window.add(Nanos(5_000 + SLOT), LEN, 100), 11);
    assert_eq!(window.add(Nanos(5_000 + TURN), LEN, 1_000), 100);
}

#[test]
fn the_first_one_counts_in_whatever_turn_a_window_was_cleared() {
    for (used, again) in (0..10).flat_map(|used| (used..20).map(move |again| (used, again))) {
        let window = Window::default();
        if used > 0 {
            window.add(Nanos(used * TURN), LEN, 7);
        }
        window.clear();
        let now = Nanos(again * TURN);
        assert_eq!(window.add(now, LEN, 1), 0, "{used}, {again}");
        assert_eq!(window.sum(now, LEN), 1, "{used}, {again}");
        assert_eq!(window.add(now, LEN, 1), 1, "{used}, {again}");
    }
}

#[test]
fn a_steady_stream_reaches_a_steady_sum() {
    let window = Window::default();
    for n in 0..10_000 {
        window.add(Nanos(n * 10), LEN, 1);
    }
    let sum = window.sum(Nanos(10_000 * 10), LEN);
    assert!((320..=330).contains(&sum), "{sum}");
}

#[test]
fn time_that_goes_a_little_backwards_forgets_nothing() {
    let window = Window::default();
    window.add(Nanos(10_000), LEN, 5);
    window.add(Nanos(9_000), LEN, 6);
    assert_eq!(window.sum(Nanos(7_000), LEN), 11);
    assert_eq!(window.sum(Nanos(9_000 + LEN.0), LEN), 11);
    assert_eq!(window.sum(Nanos(10_000 + LEN.0), LEN), 5);
    assert_eq!(window.sum(Nanos(10_000 + LEN.0 + SLOT), LEN), 0);
    // Into a slot that has begun its next turn meanwhile.
    window.add(Nanos(10_000 + TURN), LEN, 1);
    window.add(Nanos(10_000), LEN, 2);
    assert_eq!(window.sum(Nanos(10_000 + TURN), LEN), 3);
}

#[test]
fn a_turn_that_looks_like_an_old_one_is_not_taken_for_it() {
    // As many turns later as make the same low bits, and a few less and more.
    for turns in (1 << 20) - 3..(1 << 20) + 3 {
        let window = Window::default();
        window.add(Nanos(5_000), LEN, 7);
        let later = Nanos(5_000 + turns * TURN);
        assert_eq!(window.sum(later, LEN), 0, "{turns}");
        assert_eq!(window.add(later, LEN, 1), 0, "{turns}");
        assert_eq!(window.sum(later, LEN), 1);
    }
}

#[test]
fn a_slot_that_is_seldom_used_is_not_remembered_for_ever() {
    // The client comes once a turn, and so always to the same slot; once it came to another one.
    let window = Window::default();
    window.add(Nanos(5_000 + 10 * SLOT), LEN, 7);
    for turns in 1..(1 << 20) + 3 {
        let now = Nanos(5_000 + turns * TURN);
        assert_eq!(
            window.add(now, LEN, 1),
            if turns == 1 { 7 } else { 0 },
            "{turns}"
        );
    }
}

#[test]
fn the_first_turns_are_like_any_other() {
    // A zeroed cell must not pass for one of turn zero, nor for one of the turn after the last.
    for turn in [0, 1, 2, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
        let window = Window::default();
        let now = turn * TURN + 150;
        window.add(Nanos(now), LEN, 7);
        assert_eq!(window.sum(Nanos(now + LEN.0), LEN), 7, "{turn}");
        assert_eq!(window.sum(Nanos(now + TURN), LEN), 0, "{turn}");
    }
}

#[test]
fn the_end_of_time_and_a_length_of_zero_are_harmless() {
    let window = Window::default();
    window.add(Nanos::MAX, LEN, 1);
    assert_eq!(window.sum(Nanos::MAX, LEN), 1);
    let window = Window::default();
    window.add(Nanos::MAX, Nanos::MAX, 1);
    assert_eq!(window.sum(Nanos::MAX, Nanos::MAX), 1);
    let window = Window::default();
    window.add(Nanos(50), Nanos::ZERO, 1);
    assert_eq!(window.sum(Nanos(50), Nanos::ZERO), 1);
    assert_eq!(window.sum(Nanos(50 + 33), Nanos::ZERO), 0);
}

#[test]
fn a_full_slot_saturates_and_the_window_still_forgets_exactly() {
    let window = Window::default();
    for at in [10_000, 10_000 + SLOT] {
        for _ in 0..5_000 {
            window.add(Nanos(at), LEN, u64::MAX);
        }
    }
    let full = MAX_COUNT.next_multiple_of(MAX_ADD);
    assert_eq!(full, 15 << 40);
    assert_eq!(window.sum(Nanos(10_000 + SLOT), LEN), 2 * full);
    assert_eq!(window.sum(Nanos(10_000 + 33 * SLOT), LEN), full);
    assert_eq!(window.sum(Nanos(10_000 + 34 * SLOT), LEN), 0);
}

#[test]
fn says_when_it_may_next_forget() {
    assert_eq!(until_next_slot(Nanos(10_030), LEN), Nanos(70));
    assert_eq!(until_next_slot(Nanos(10_000), LEN), Nanos(100));
    assert_eq!(until_next_slot(Nanos(10_099), LEN), Nanos(1));
}

#[test]
fn a_length_that_changes_takes_effect_without_getting_stuck() {
    let longer = Nanos(LEN.0 * 1_000);
    let window = Window::default();
    for (now, len) in [(1_000_000, LEN), (1_010_000, longer), (1_020_000, LEN)] {
        window.add(Nanos(now), len, 4);
        let sum = window.sum(Nanos(now), len);
        assert!((4..=12).contains(&sum), "only what was added: {sum}");
        assert_eq!(window.sum(Nanos(now + len.0 * 2), len), 0);
    }
}

#[test]
fn a_cleared_window_is_empty() {
    let window = Window::default();
    window.add(Nanos(5_000), LEN, 7);
    window.clear();
    assert_eq!(window.sum(Nanos(5_000), LEN), 0);
    assert_eq!(window.add(Nanos(5_000), LEN, 1), 0);
    assert_eq!(window.sum(Nanos(5_000), LEN), 1);
}

#[test]
fn however_often_a_window_is_cleared_nothing_of_before_comes_back() {
    let window = Window::default();
    // More often than a cell can tell turns apart, and in the same one.
    for slot in (0..SLOTS as u64).cycle().take(1 << 20) {
        let now = Nanos(TURN + slot * SLOT);
        assert_eq!(window.add(now, LEN, 7), 0);
        assert_eq!(window.sum(now, LEN), 7);
        window.clear();
    }
    assert_eq!(window.sum(Nanos(TURN), LEN), 0);
}

/// One step of a client: time passes, then this much is added.
fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![4 => 0..50_u64, 4 => 0..2_000_u64, 1 => 0..100_000_u64];
    prop::collection::vec((gap, 0..1_000_u64), 1..300)
}

proptest! {
    #[test]
    fn a_cleared_window_is_as_good_as_a_new_one(
        clients in prop::collection::vec((1..20_000_u64, steps()), 1..5),
        start in any::<u32>(),
    ) {
        let (window, mut now) = (Window::default(), u64::from(start));
        for (len, steps) in clients {
            let new = Window::default();
            for (gap, n) in steps {
                now += gap;
                let (now, len) = (Nanos(now), Nanos(len));
                prop_assert_eq!(window.sum(now, len), new.sum(now, len));
                prop_assert_eq!(window.add(now, len, n), new.add(now, len, n));
            }
            window.clear();
        }
    }

    #[test]
    fn the_sum_is_never_early_and_at_most_a_slot_late(
        steps in steps(),
        len in 1..20_000_u64,
        start in prop_oneof![Just(0), any::<u32>().prop_map(u64::from), 0..u64::MAX / 2],
    ) {
        let window = Window::default();
        let slot = len.div_ceil(32);
        prop_assert!(33 * slot <= len + len / 32 + 33, "late by 1/32 and rounding");
        let (mut log, mut now, mut before) = (Vec::new(), start, 0);
        for (gap, n) in steps {
            now += gap;
            if gap == 0 {
                prop_assert_eq!(window.sum(Nanos(now), Nanos(len)), before);
            }
            let told = window.add(Nanos(now), Nanos(len), n);
            log.push((now, n));

            let younger = |age: u64| -> u64 {
                log.iter().filter(|(at, _)| now - at < age).map(|(_, n)| n).sum()
            };
            let sum = window.sum(Nanos(now), Nanos(len));
            prop_assert!(sum >= younger(len + 1), "forgot early: {sum}");
            prop_assert!(sum <= younger(33 * slot), "forgot late: {sum}");
            prop_assert_eq!(told + n, sum);
            before = sum;
        }
    }

    #[test]
    fn no_sequence_of_times_breaks_it(
        steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..100),
    ) {
        let window = Window::default();
        let mut added = 0;
        for (now, len, n) in steps {
            window.add(Nanos(now), Nanos(len), n);
            added += n.min(MAX_ADD);
            let sum = window.sum(Nanos(now), Nanos(len));
            prop_assert!(sum <= added, "remembers what was never added");
            prop_assert!(sum >= n.min(MAX_ADD), "forgot at once");
            let next = until_next_slot(Nanos(now), Nanos(len));
            prop_assert!(next > Nanos::ZERO);
        }
    }
}
