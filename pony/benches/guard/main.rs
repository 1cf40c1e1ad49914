//! What the guard costs and what it saves, beside xdp-filter and nftables.
//!
//! `cargo xtask bench guard` builds what it needs and runs it, as root. The daemon that is measured
//! is the real one, started with a configuration like anybody's; its program is then run and
//! flooded from outside. Nothing outside of the namespaces that it makes is touched.
//!
//! Whatever is compared is measured in turns, several times; a figure is the median, with the least
//! and the most beside it.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a table is what it is for, and a step that fails ends it"
)]

/// A process and what it logs are the same here as in the tests.
#[path = "../../tests/e2e"]
#[allow(
    dead_code,
    unused_imports,
    reason = "a benchmark uses a part of the harness"
)]
mod e2e {
    pub(crate) mod harness;
}
#[path = "../../tests/namespaces/namespace.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod namespace;
#[path = "../../tests/namespaces/tools.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod tools;

mod filter;
mod flood;
mod frame;
mod lab;
mod packet;
mod rate;
mod report;
mod start;
mod traffic;

use std::env;

use e2e::harness;

use crate::report::Report;

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Whether the figures mean nothing.
    is_quick: bool,
}

impl Effort {
    /// One number for a real measurement, another for a look whether it works.
    pub(crate) const fn pick(self, full: u32, quick: u32) -> u32 {
        if self.is_quick { quick } else { full }
    }
}

/// Measures a subject.
type Measure = fn(Effort, &mut Report);

fn main() {
    let effort = Effort {
        is_quick: env::var_os("PONY_BENCH_QUICK").is_some(),
    };
    let only = env::var("PONY_BENCH_ONLY").unwrap_or_default();
    let mut report = Report::new(effort);
    let sections: [(&str, Measure); 4] = [
        ("start", start::measure),
        ("packet", packet::measure),
        ("rate", rate::measure),
        ("flood", flood::measure),
    ];
    for (name, measure) in sections {
        if name.contains(&only) {
            measure(effort, &mut report);
        }
    }
    println!("{report}");
    if let Some(path) = env::var_os("PONY_BENCH_JSON") {
        report.write(path.as_ref());
    }
}
