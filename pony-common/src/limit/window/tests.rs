use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const LEN: Nanos = Nanos(3_200);
const SLOT: u64 = 100;

#[test]
fn zeroed_memory_is_an_empty_window() {
    // What a kernel map holds for a client it has just made room for.
    let mut window: Window = Window::new();
    assert_eq!((window.start.0, window.total, window.newest), (0, 0, 0));
    assert_eq!(window.slots, [0; SLOTS]);
    assert_eq!(window.sum(Nanos(u64::MAX), LEN), 0);
}

#[test]
fn remembers_for_its_length_and_forgets_within_one_slot_more() {
    let mut window: Window = Window::new();
    window.add(Nanos(1_000_000), LEN, 7);
    assert_eq!(window.sum(Nanos(1_000_000 + LEN.0), LEN), 7);
    assert_eq!(window.sum(Nanos(1_000_000 + LEN.0 + SLOT - 1), LEN), 7);
    assert_eq!(window.sum(Nanos(1_000_000 + LEN.0 + SLOT), LEN), 0);
}

#[test]
fn forgets_slot_by_slot_at_the_exact_boundaries() {
    let mut window: Window = Window::new();
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
fn a_steady_stream_reaches_a_steady_sum() {
    let mut window: Window = Window::new();
    for n in 0..10_000 {
        window.add(Nanos(n * 10), LEN, 1);
    }
    let sum = window.sum(Nanos(10_000 * 10), LEN);
    assert!((320..=330).contains(&sum), "{sum}");
}

#[test]
fn time_that_goes_backwards_forgets_nothing() {
    let mut window: Window = Window::new();
    window.add(Nanos(10_000), LEN, 5);
    window.add(Nanos(2_000), LEN, 6);
    assert_eq!(window.sum(Nanos(0), LEN), 11);
    assert_eq!(window.sum(Nanos(10_000 + LEN.0), LEN), 11);
    assert_eq!(window.sum(Nanos(10_000 + LEN.0 + SLOT), LEN), 0);
}

#[test]
fn the_end_of_time_and_a_length_of_zero_are_harmless() {
    let mut window: Window = Window::new();
    window.add(Nanos::MAX, LEN, 1);
    assert_eq!(window.sum(Nanos::MAX, LEN), 1);
    assert_eq!(window.sum(Nanos::MAX, Nanos::MAX), 1);
    let mut window: Window = Window::new();
    window.add(Nanos(50), Nanos::ZERO, 1);
    assert_eq!(window.sum(Nanos(50), Nanos::ZERO), 1);
    assert_eq!(window.sum(Nanos(50 + 33), Nanos::ZERO), 0);
}

#[test]
fn a_full_slot_saturates_and_the_window_still_forgets_exactly() {
    let mut window: Window<u32> = Window::new();
    for at in [10_000, 10_000 + SLOT] {
        window.add(Nanos(at), LEN, u64::MAX);
        window.add(Nanos(at), LEN, 1);
    }
    assert_eq!(
        window.sum(Nanos(10_000 + SLOT), LEN),
        2 * u64::from(u32::MAX)
    );
    assert_eq!(
        window.sum(Nanos(10_000 + 33 * SLOT), LEN),
        u64::from(u32::MAX)
    );
    assert_eq!(window.sum(Nanos(10_000 + 34 * SLOT), LEN), 0);

    let mut window: Window = Window::new();
    for n in 0..SLOTS as u64 {
        window.add(Nanos(10_000 + n * SLOT), LEN, u64::MAX);
    }
    assert_eq!(window.total, SLOTS as u64 * <u64 as Count>::MAX);
}

#[test]
fn says_when_it_may_next_forget() {
    let mut window: Window = Window::new();
    window.add(Nanos(10_000), LEN, 1);
    assert_eq!(window.until_next_slot(Nanos(10_030), LEN), Nanos(70));
    assert_eq!(window.until_next_slot(Nanos(9_000), LEN), Nanos(1_100));
}

#[test]
fn a_length_that_changes_takes_effect_without_getting_stuck() {
    let mut window: Window = Window::new();
    window.add(Nanos(1_000_000), LEN, 4);
    let longer = Nanos(LEN.0 * 1_000);
    assert_eq!(window.sum(Nanos(1_000_000 + LEN.0 * 2), longer), 4);
    assert_eq!(window.sum(Nanos(1_000_000 + LEN.0 * 2), LEN), 0);
    window.add(Nanos(1_010_000), longer, 4);
    assert_eq!(window.sum(Nanos(1_010_000 + longer.0 * 33 / 32), longer), 0);
}

/// One step of a client: time passes, then this much is added.
fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![4 => 0..50_u64, 4 => 0..2_000_u64, 1 => 0..100_000_u64];
    prop::collection::vec((gap, 0..1_000_u64), 1..300)
}

proptest! {
    #[test]
    fn the_sum_is_never_early_and_at_most_a_slot_late(steps in steps(), len in 1..20_000_u64) {
        let mut window: Window = Window::new();
        let mut small: Window<u32> = Window::new();
        let slot = len.div_ceil(32);
        prop_assert!(33 * slot <= len + len / 32 + 33, "late by 1/32 and rounding");
        let (mut log, mut now) = (Vec::new(), 0);
        for (gap, n) in steps {
            now += gap;
            window.add(Nanos(now), Nanos(len), n);
            small.add(Nanos(now), Nanos(len), n);
            log.push((now, n));

            let younger = |age: u64| -> u64 {
                log.iter().filter(|(at, _)| now - at < age).map(|(_, n)| n).sum()
            };
            let sum = window.sum(Nanos(now), Nanos(len));
            prop_assert!(sum >= younger(len + 1), "forgot early: {sum}");
            prop_assert!(sum <= younger(33 * slot), "forgot late: {sum}");
            prop_assert_eq!(window.slots.iter().sum::<u64>(), sum);
            prop_assert_eq!(small.sum(Nanos(now), Nanos(len)), sum);
        }
    }

    #[test]
    fn no_sequence_of_times_breaks_it(steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..100)) {
        let mut window: Window = Window::new();
        for (now, len, n) in steps {
            window.add(Nanos(now), Nanos(len), n);
            prop_assert_eq!(window.slots.iter().sum::<u64>(), window.total);
            prop_assert!(window.until_next_slot(Nanos(now), Nanos(len)) > Nanos::ZERO);
        }
    }
}
