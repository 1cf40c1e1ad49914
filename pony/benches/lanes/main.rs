//! What forwarding TCP costs, by each lane, beside no proxy, HAProxy and nginx.
//! Also behind a load balancer, with the clients' own addresses; and what a range of ports costs, of
//! connections and of datagrams.
//!
//! `cargo xtask bench lanes` builds what it needs and runs it, as root. All are the real programs,
//! with configurations like anybody's (`configs.rs`), at once and side by side, and are given the
//! same to do in turns (`section.rs`). Clients and target are threads of this process, which cost
//! the same whoever is between them; nothing outside of the namespaces that it makes is touched.
//!
//! The time of cores is told twice: what the proxy's processes used, and what the whole machine
//! used, client and target included. Some of what a kernel does for a proxy is in nobody's name, and
//! is seen only in the second one; whatever else runs on the machine is seen there as well.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a table is what it is for, and a step that fails ends it"
)]

#[path = "../../tests/namespaces/namespace.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod namespace;
#[path = "../../tests/namespaces/tools.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod tools;

mod aims;
mod bulk;
mod configs;
mod connecting;
mod contestant;
mod conversation;
mod datagrams;
mod door;
mod echoing;
mod idle;
mod mirror;
mod options;
mod pattern;
mod place;
mod poll;
mod process;
mod report;
mod section;
mod setting;
mod target;
mod usage;
mod work;

use std::{env, io, process::ExitCode, thread};

use crate::{
    contestant::{Contestant, Kind},
    options::{Effort, Options},
    place::Place,
    report::Report,
    section::{Section, title},
    setting::Setting,
    target::Target,
    usage::Cpu,
    work::{ADDED_LATENCY, LATENCY, WORKS, Work},
};

/// Makes a place, with nobody in it.
type MakePlace = fn() -> Place;

fn main() -> ExitCode {
    let options = Options::read();
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can make namespaces"
    );
    // Thousands of flows need as many files on both sides of the proxy, and in it.
    pony::sys::raise_open_files();
    let mut report = Report::new(options.effort);
    for (name, make, setting) in SCENES {
        let has = |work| title(name, work).contains(&options.only);
        let works: Vec<_> = WORKS
            .iter()
            .filter(|work| work.setting == setting && has(work.name))
            .collect();
        let is_idle = setting == Setting::Direct && has(idle::NAME);
        if works.is_empty() && !is_idle {
            continue;
        }
        let place = make();
        let target = Target::start(&place);
        let kinds = match setting {
            Setting::Direct | Setting::Balanced => Kind::all(&options.builds, &options.lanes),
            Setting::Ports => Kind::for_ports(&options.builds),
        };
        let are_together = setting != Setting::Ports && !works.is_empty();
        let mut contestants = Contestant::start_all(&kinds, (&place, setting), are_together);
        for work in works {
            report.add(measure(options.effort, work, &place, &mut contestants));
        }
        if is_idle {
            report.add(idle::measure(
                options.effort,
                &place,
                &target,
                &mut contestants,
            ));
        }
    }
    println!("{report}");
    if let Some(path) = env::var_os("PONY_BENCH_JSON") {
        report.write(path.as_ref());
    }
    if report.has_failures() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Has a work done by all.
fn measure(
    effort: Effort,
    work: &'static Work,
    place: &Place,
    contestants: &mut [Contestant],
) -> Section {
    let is_alone = work.setting == Setting::Ports;
    let metrics = [work.metrics, &work.cpu].concat();
    let latency = metrics.iter().position(|metric| *metric == LATENCY);
    let about = (place.name, work.name);
    let mut section = Section::measure(about, metrics, contestants, effort.rounds, |contestant| {
        contestant.start(place)?;
        let figures = turn(effort, work, place, contestant);
        if is_alone {
            contestant.stop();
        }
        figures
    });
    if let Some(latency) = latency {
        section.derive(ADDED_LATENCY, |figures, base| {
            Some(figures[latency]? - base[latency]?)
        });
    }
    section
}

/// Has a work done by one: the figures of [`Work::metrics`] and [`Work::cpu`].
fn turn(
    effort: Effort,
    work: &Work,
    place: &Place,
    contestant: &Contestant,
) -> io::Result<Vec<Option<f64>>> {
    let ids = contestant.ids();
    let ends = contestant.ends;
    let before = Cpu::now(&ids)?;
    let outcome = place.client.enter(|| (work.run)(ends, effort.turn))?;
    let used = Cpu::now(&ids)?.since(before);
    let each = |seconds: f64| seconds * work.cpu_scale / outcome.amount;
    let mut figures: Vec<_> = outcome.figures.into_iter().map(Some).collect();
    figures.push((!ids.is_empty()).then(|| each(used.proxy)));
    figures.push(Some(each(used.machine)));
    Ok(figures)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How many threads of client and target take care of many flows: the other half of the cores is
/// theirs of the other side.
fn workers() -> usize {
    cores().div_ceil(2)
}

/// Each place, with how to make it and how clients come there.
const SCENES: [(&str, MakePlace, Setting); 4] = [
    (place::LOOPBACK, Place::loopback, Setting::Direct),
    (place::VETH, Place::veth, Setting::Direct),
    (place::LOOPBACK, Place::loopback_for_all, Setting::Balanced),
    (place::LOOPBACK, Place::loopback, Setting::Ports),
];
