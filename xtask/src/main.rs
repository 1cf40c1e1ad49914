//! The project's tasks: `cargo xtask <task>`. People and CI run the same commands.
//!
//! Every task brings the machine to where it can work by itself; `setup` does only that. This file
//! reads the command line and hands over; each task has a file of its own.

mod bench;
mod build_ebpf;
mod ci;
mod debian;
mod lint;
mod run;
mod setup;
mod step;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::workspace::Workspace;

/// PacketPony's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what is missing to run, build, test and lint; quick when nothing is.
    ///
    /// Finds or installs the kernel toolchain (rustup's nightly with rust-src, or Debian's
    /// packages), builds bpf-linker into target/tools, and installs the programs that tests use.
    /// Where it can't install it says what to type.
    Setup(setup::Options),
    /// Compile the kernel programs into target/bpf/pony, where the daemon's build embeds them.
    BuildEbpf,
    /// Set up, build, and run PacketPony; without arguments, `pony demo`.
    ///
    /// What follows `--` goes to `pony run` if it begins with -c or --config, else to `pony`.
    /// Without the kernel toolchain it runs without kernel programs.
    Run(run::Options),
    /// Set up, build the kernel programs, and run every test.
    ///
    /// Tests that need root run as root; otherwise they say that they are skipped, and fail if
    /// CI=true.
    Test(test::Options),
    /// Measure, beside what people use otherwise; figures as a table and in target/bench/.
    Bench(bench::Options),
    /// Check formatting, lints (host and kernel target), the structural rules, and dependencies.
    Lint,
    /// What CI runs: `lint`, then `test`, with the time each takes.
    Ci,
}

fn main() -> ExitCode {
    let task = Task::parse();
    take_on(task).unwrap_or_else(|error| {
        step::error(&error);
        ExitCode::FAILURE
    })
}

fn take_on(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup(options) => setup::run(&workspace, &options).map(|()| ExitCode::SUCCESS),
        Task::BuildEbpf => {
            let kernel = toolchain::ensure(&workspace)?;
            build_ebpf::run(&workspace, &kernel).map(|()| ExitCode::SUCCESS)
        }
        Task::Run(options) => run::run(&workspace, &options),
        Task::Test(options) => test::run(&workspace, &options),
        Task::Bench(options) => bench::run(&workspace, &options),
        Task::Lint => lint::run(&workspace),
        Task::Ci => Ok(ci::run(&workspace)),
    }
}
