//! `cargo xtask ci`: everything that CI checks, in one command.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

use crate::{bench, lint, step, test, workspace::Workspace};

/// Lints, tests and tries the benchmarks, whatever failed before: one run shows all there is to
/// mend, and its last lines say what that is.
pub(crate) fn run(workspace: &Workspace) -> ExitCode {
    let mut failures = None;
    let lint = timed("lint", || lint::run(workspace));
    let test = timed("test", || {
        let (code, failed) = test::run_all(workspace)?;
        failures = Some(failed);
        Ok(code)
    });
    let bench = timed("bench", || bench::rehearse(workspace));

    for (name, passed, time) in [&lint, &test, &bench] {
        let outcome = if *passed { "ok" } else { "FAILED" };
        step::say(format_args!("{name}: {outcome}, {time}"));
    }
    if let Some(failures) = failures.filter(|failures| !failures.is_empty()) {
        step::say("failed tests:");
        step::note(failures);
    }
    if lint.1 && test.1 && bench.1 {
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
