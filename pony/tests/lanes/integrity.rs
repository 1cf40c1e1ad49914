//! Flows of every shape: every byte arrives, once and in order, and so does the end.

use crate::{
    crowd::Crowd,
    dice::{Dice, is_long, seed},
    lane::Lane,
    plan::Plan,
};

in_every_lane!(
    shared: flows_of_every_shape_arrive_whole_and_leave_nothing_behind,
    flows_that_a_side_resets_end_with_a_reset_after_a_beginning_of_what_was_sent,
);

fn flows_of_every_shape_arrive_whole_and_leave_nothing_behind(lane: Lane) {
    for threads in [2, 1] {
        batches(lane, threads, if is_long() { 10 } else { 2 }, Plan::orderly);
    }
}

fn flows_that_a_side_resets_end_with_a_reset_after_a_beginning_of_what_was_sent(lane: Lane) {
    batches(lane, 2, if is_long() { 10 } else { 2 }, Plan::cut_short);
}

/// So many batches through one daemon.
fn batches(lane: Lane, threads: usize, count: u32, plan: fn(u32, &mut Dice) -> Plan) {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let crowd = Crowd::new(lane, threads);
    for batch in 0..count {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let plans = numbers.map(|number| plan(number, &mut dice)).collect();
        crowd.run(plans, AT_ONCE, seed);
    }
}

const BATCH: u32 = 500;
const AT_ONCE: usize = 250;
