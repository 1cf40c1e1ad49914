//! The guard changes nothing but who refuses.
//!
//! Every scenario of one table runs with the guard off, in the driver, in the stack, and with the
//! guard taken away half-way, over IPv4 and IPv6, and for listeners on ranges of ports. What is expected is written down once: what the
//! clients get, every count in the metrics after every step, and who refuses. Only one thing may
//! differ: a connection attempt that the guard refuses is not answered, or with `refuse: reset`
//! answered with a reset, where the daemon accepts and closes.

mod case;
mod expected;
mod scenario;
mod table;
mod totals;

use std::thread;

use self::{
    case::{Case, Family, Guard, Ports, Refusal, Stage},
    table::scenarios,
    totals::Watch,
};
use crate::{
    harness::{Entry, Launch},
    lab::Lab,
    servers,
};

#[test]
fn without_the_guard() {
    run("off", None, Ports::One, |_| {});
}

#[test]
fn without_the_guard_on_ranges() {
    run("off", None, Ports::Range, |_| {});
}

#[test]
fn with_the_guard_in_the_driver() {
    let guard = "require, attach: native";
    run(guard, Some(Refusal::Silence), Ports::One, |_| {});
}

#[test]
fn with_the_guard_in_the_driver_on_ranges() {
    let guard = "require, attach: native";
    run(guard, Some(Refusal::Silence), Ports::Range, |_| {});
}

#[test]
fn with_the_guard_in_the_stack() {
    let guard = "require, attach: generic";
    run(guard, Some(Refusal::Silence), Ports::One, |_| {});
}

#[test]
fn with_the_guard_answering_from_the_driver() {
    let guard = "require, attach: native, refuse: reset";
    run(guard, Some(Refusal::Reset), Ports::One, |_| {});
}

#[test]
fn with_the_guard_answering_from_the_stack() {
    let guard = "require, attach: generic, refuse: reset";
    run(guard, Some(Refusal::Reset), Ports::One, |_| {});
}

#[test]
fn with_the_guard_taken_away_half_way() {
    run("require", Some(Refusal::Silence), Ports::One, Lab::detach);
}

#[test]
fn with_the_guard_taken_away_half_way_on_ranges() {
    run("require", Some(Refusal::Silence), Ports::Range, Lab::detach);
}

/// The table, with `half_way` called when every scenario has done half of its steps.
fn run(guard: &str, refusal: Option<Refusal>, ports: Ports, half_way: fn(&Lab)) {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let cases =
        scenarios().flat_map(|scenario| [Family::V4, Family::V6].map(|family| (scenario, family)));
    let mut cases: Vec<_> = cases
        .enumerate()
        .map(|(number, (scenario, family))| Case::new(scenario, (family, ports), number))
        .collect();
    let entries: Vec<_> = cases.iter().map(Case::entry).collect();
    let pony = lab.start(launch(&entries).guard(guard).control());

    if refusal == Some(Refusal::Reset) {
        lab.receive_from_driver();
    }
    let blocks = refusal.map(|_| lab.blocks());
    let attached = || {
        let is_attached = lab.attached() != [None, None];
        let guard = refusal.zip(blocks.as_ref()).filter(|_| is_attached);
        guard.map(|(refusal, blocks)| Guard { refusal, blocks })
    };
    Watch::during(&lab.proxy, &pony, |watch| {
        let guard = attached();
        let pony = &pony;
        all(&lab, &mut cases, |case| {
            case.begin(&Stage { pony, watch, guard });
        });
        half_way(&lab);
        let guard = attached();
        all(&lab, &mut cases, |case| {
            case.finish(&Stage { pony, watch, guard });
        });
    });
}

/// Does something with all of them at once, at the client.
fn all(lab: &Lab, cases: &mut [Case], act: impl Fn(&mut Case) + Sync) {
    let act = &act;
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || lab.client.enter(|| act(case)));
        }
    });
}

fn launch(entries: &[Entry]) -> Launch {
    let (first, more) = entries.split_first().unwrap();
    more.iter().fold(Launch::new(first), Launch::and)
}
