//! `cargo xtask ci`: everything that CI checks, in one command.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Parser as _;

use crate::{bench, lint, step, test, workspace::Workspace};

/// Lints, tests and tries the benchmarks, whatever failed before: one run shows all there is to
/// mend.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    let all = test::Options::parse_from(["test"]);
    let lint = timed("lint", || lint::run(workspace));
    let test = timed("test", || test::run(workspace, &all));
    let bench = timed("bench", || bench::rehearse(workspace));

    for (name, passed, time) in [&lint, &test, &bench] {
        let outcome = if *passed { "ok" } else { "FAILED" };
        step::say(format_args!("{name}: {outcome}, {time}"));
    }
    let passed = lint.1 && test.1 && bench.1;
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn timed(
    name: &'static str,
    task: impl FnOnce() -> Result<ExitCode>,
) -> (&'static str, bool, String) {
    let start = Instant::now();
    let passed = match task() {
        Ok(code) => code == ExitCode::SUCCESS,
        Err(error) => {
            step::warn(format_args!("{name}: {error:#}"));
            false
        }
    };
    (name, passed, step::took(start.elapsed()))
}
