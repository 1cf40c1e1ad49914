//! `cargo xtask bench`: figures, measured by the real programs in the real kernel.
//!
//! Sets up and builds what is measured, in release, and hands over to the measuring program of the
//! subject (`pony/benches/`), which needs root. It prints a table and writes the same as JSON.

use std::{env, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use crate::{build_ebpf, debian::is_root, setup, step, toolchain, workspace::Workspace};

/// The options of the task.
#[derive(Parser)]
pub(crate) struct Options {
    /// What is measured
    subject: Subject,
    /// Shows that everything can be measured, in a fraction of the time; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only sections whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Measure as root with sudo
    #[arg(long)]
    sudo: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// The kernel programs at the interfaces, beside xdp-filter and nftables
    Guard,
}

impl Subject {
    /// The measuring program, and the file that it writes.
    const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
        }
    }
}

/// Builds and measures.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    measure(workspace, options, "bench")
}

/// Measures everything once, to show that it can be measured. No figure is judged, and what is
/// measured is built as for tests: they have most of it already.
pub(crate) fn rehearse(workspace: &Workspace) -> Result<ExitCode> {
    if !is_root() && env::var_os("CI").is_none_or(|ci| ci != "true") {
        step::warn("not root: nothing is measured");
        return Ok(ExitCode::SUCCESS);
    }
    for subject in Subject::value_variants() {
        let quick = Options {
            subject: *subject,
            quick: true,
            only: None,
            sudo: false,
        };
        measure(workspace, &quick, "test")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds what is measured as cargo's `subcommand` does, and measures it.
fn measure(workspace: &Workspace, options: &Options, subcommand: &str) -> Result<ExitCode> {
    ensure!(
        is_root() || options.sudo,
        "not root; type: cargo xtask bench {} --sudo",
        options.subject.name()
    );
    let kernel = toolchain::ensure(workspace)?;
    build_ebpf::run(workspace, &kernel)?;
    let traffic = build_ebpf::bench(workspace, &kernel)?;
    setup::bench_tools(workspace)?;

    let name = options.subject.name();
    // Quick figures never take the place of real ones.
    let suffix = if options.quick { "-quick" } else { "" };
    let mut cargo = workspace.cargo();
    cargo.args([subcommand, "--package=pony", "--bench", name]);
    if !is_root() {
        cargo.args(["--config", SUDO_RUNNER]);
    }
    cargo
        .arg("--")
        .env("PATH", setup::wide_path())
        .env("PONY_BENCH_OBJECT", traffic)
        .env(
            "PONY_BENCH_JSON",
            workspace
                .target()
                .join("bench")
                .join(format!("{name}{suffix}.json")),
        )
        .envs(options.quick.then_some(("PONY_BENCH_QUICK", "1")))
        .envs(options.only.as_ref().map(|only| ("PONY_BENCH_ONLY", only)));
    step::loud_ok("measuring", &mut cargo).map(|()| ExitCode::SUCCESS)
}

const SUDO_RUNNER: &str = r#"target."cfg(all())".runner = ["sudo", "--preserve-env"]"#;
