use proptest::{collection::vec, prelude::*};

use super::*;

const MEBI: u64 = 1 << 20;
const MOST: u64 = 10 * MEBI;

fn first(moved: u64) -> Asking {
    Asking {
        moved,
        ..Asking::default()
    }
}

#[test]
fn who_is_alone_has_no_limit_and_takes_only_what_it_can_have_pinned() {
    let memory = Memory::with(1 << 30, MOST);
    let grant = memory.ask(first(LIGHT));
    assert_eq!(grant, Grant::Plenty(LIGHT * PINNED_BY_MOVED));
    let again = Asking {
        held: grant.bytes(),
        moved: 100 * MEBI,
        is_limited: false,
    };
    assert_eq!(memory.ask(again), Grant::Plenty(MOST));
    assert_eq!(memory.given(), MOST);
    memory.take_back(MOST);
    assert_eq!(memory.given(), 0);
}

#[test]
fn many_that_start_at_once_get_about_the_same() {
    let memory = Memory::with(64 * MEBI, MOST);
    let grants: Vec<_> = (0..256).map(|_| memory.ask(first(LIGHT)).bytes()).collect();
    assert_eq!(grants[0], MEBI * 3 / 8);
    assert!(grants[99] > MEBI / 7, "{}", grants[99]);
    assert!(grants[255] >= FLOOR);
    assert!(memory.given() <= memory.total());
}

#[test]
fn a_thousand_that_start_at_once_stay_within_a_quarter_of_a_mebibyte_for_each() {
    let memory = Memory::with(250 * MEBI, MOST);
    for _ in 0..1_000 {
        assert!(memory.ask(first(LIGHT)).bytes() >= FLOOR);
    }
    assert!(memory.given() <= memory.total(), "{}", memory.given());
}

#[test]
fn a_thousand_that_stall_as_late_as_they_can_leave_more_than_floors_to_the_next() {
    let memory = Memory::with(2 << 30, MOST);
    for round in 0..1_000 {
        let mut one = first(LIGHT);
        for _ in 0..10 {
            let grant = memory.ask(one);
            (one.held, one.moved) = (grant.bytes(), one.moved * 2);
            if matches!(grant, Grant::Limit(_)) {
                break;
            }
        }
        assert!(one.held > FLOOR, "{round}: {}", one.held);
    }
    assert!(memory.given() <= memory.total());
}

#[test]
fn progress_is_rewarded_and_something_left_to_the_next() {
    let memory = Memory::with(64 * MEBI, MOST);
    let mut held = memory.ask(first(LIGHT)).bytes();
    for round in 1..100 {
        let grant = memory.ask(Asking {
            held,
            moved: round * MEBI,
            is_limited: true,
        });
        held = grant.bytes();
    }
    assert_eq!(held, MOST);
    for _ in 0..100 {
        let mut held = memory.ask(first(LIGHT)).bytes();
        for _ in 0..100 {
            held = memory
                .ask(Asking {
                    held,
                    moved: MEBI,
                    is_limited: true,
                })
                .bytes();
        }
    }
    assert!(memory.ask(first(LIGHT)).bytes() >= FLOOR);
    assert!(memory.given() <= memory.total(), "{}", memory.given());
}

#[test]
fn a_lane_takes_nothing_when_little_is_left() {
    let memory = Memory::with(64 * MEBI, MOST);
    assert_eq!(memory.ask_for_lane(8192, 8 * MEBI), (0, false));
    assert_eq!(memory.ask_for_lane(128, 8 * MEBI), (MEBI / 2, false));
    let memory = Memory::with(1 << 40, MOST);
    assert_eq!(memory.ask_for_lane(8192, 8 * MEBI), (8 * MEBI, true));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(usize, u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..40_usize, 0..200 * MEBI).prop_map(|(who, moved)| Step::Ask(who, moved));
    vec(
        prop_oneof![4 => ask, 1 => (0..40_usize).prop_map(Step::Leave)],
        1..400,
    )
}

proptest! {
    #[test]
    fn the_sum_is_what_all_have_and_exceeds_the_total_by_floors_alone(
        steps in steps(),
        total in MEBI..100 * MEBI,
        most in LIGHT..20 * MEBI,
    ) {
        let memory = Memory::with(total, most);
        let mut all = [Asking::default(); 40];
        for step in steps {
            match step {
                Step::Ask(who, moved) => {
                    let one = &mut all[who];
                    one.moved += moved;
                    let grant = memory.ask(*one);
                    prop_assert!(grant.bytes() >= one.held.max(FLOOR));
                    prop_assert!(grant.bytes() <= most.max(FLOOR));
                    one.held = grant.bytes();
                    one.is_limited = matches!(grant, Grant::Limit(_));
                }
                Step::Leave(who) => {
                    memory.take_back(all[who].held);
                    all[who] = Asking::default();
                }
            }
            let sum: u64 = all.iter().map(|one| one.held).sum();
            prop_assert_eq!(memory.given(), sum);
            let some = all.iter().filter(|one| one.held > 0).count() as u64;
            prop_assert!(sum <= total + some * FLOOR);
            prop_assert_eq!(memory.holders.load(Relaxed), some);
        }
    }
}
