//! What a flow takes that is open and quiet.
//!
//! Everybody is started anew for it, and is alone: memory that was used before is not used again,
//! and nobody else's comes and goes.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    Effort,
    contestant::Contestant,
    conversation::{count, hold},
    place::Place,
    section::Section,
    target::Target,
    usage::Memory,
    work::Metric,
};

pub(crate) fn measure(
    effort: Effort,
    place: &Place,
    target: &Target,
    contestants: &mut [Contestant],
) -> Section {
    for contestant in &mut *contestants {
        contestant.stop();
    }
    let flows = effort.pick(4000, 200);
    // Until what was closed or freed has gone all the way.
    let settle = Duration::from_millis(effort.pick(300, 30) as u64);
    let metrics = vec![PROXY, KERNEL, MACHINE];
    let rounds = effort.pick(3, 1);
    let mut section = Section::measure((place.name, NAME), metrics, contestants, rounds, |one| {
        one.start(place)?;
        let used = used(place, target, one, flows, settle);
        one.stop();
        used
    });
    section.derive(KERNEL_BEYOND, |figures, base| Some(figures[1]? - base[1]?));
    section.derive(MACHINE_BEYOND, |figures, base| Some(figures[2]? - base[2]?));
    section.derive(ALL, |figures, base| {
        Some(figures[0]? + figures[1]? - base[1]?)
    });
    section
}

/// Bytes for each flow.
fn used(
    place: &Place,
    target: &Target,
    contestant: &Contestant,
    flows: usize,
    settle: Duration,
) -> io::Result<Vec<Option<f64>>> {
    let ids = contestant.ids();
    quiet(target)?;
    thread::sleep(settle);
    let before = Memory::now(&ids)?;
    let ends = contestant.ends;
    let streams = place.client.enter(|| hold(ends, flows))?;
    thread::sleep(settle);
    let used = Memory::now(&ids)?.since(before);
    drop(streams);
    let is_there = !ids.is_empty();
    let each = |bytes: f64| bytes / count(flows);
    Ok(vec![
        is_there.then(|| each(used.proxy)),
        Some(each(used.kernel)),
        Some(each(used.machine)),
    ])
}

/// Waits until earlier flows are gone.
fn quiet(target: &Target) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while target.conversations() > 0 {
        if Instant::now() > deadline {
            return Err(io::Error::other("earlier flows do not end"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

const fn metric(name: &'static str) -> Metric {
    Metric {
        name,
        unit: "B/flow",
    }
}

pub(crate) const NAME: &str = "memory of idle flows";
pub(crate) const PROXY: Metric = metric("memory of the proxy's processes");
const KERNEL: Metric = metric("memory of the kernel, also for client and target");
const MACHINE: Metric = metric("memory of the whole machine, also of client and target");
const KERNEL_BEYOND: Metric = metric("memory of the kernel, less no proxy's");
const MACHINE_BEYOND: Metric = metric("memory of the whole machine, less no proxy's");
const ALL: Metric = metric("memory of processes and kernel, less no proxy's");
const PATIENCE: Duration = Duration::from_secs(5);
