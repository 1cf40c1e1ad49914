//! `cargo xtask bench`: figures, measured by the real programs in the real kernel.
//!
//! Sets up and builds what is measured, in release, and hands over to the measuring program of the
//! subject (`pony/benches/`), which needs root. It prints a table and writes the same as JSON.

use std::process::ExitCode;

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
    let mut cargo = workspace.cargo();
    cargo.args(["bench", "--package=pony", "--bench", name]);
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
                .join(format!("{name}.json")),
        )
        .envs(options.quick.then_some(("PONY_BENCH_QUICK", "1")))
        .envs(options.only.as_ref().map(|only| ("PONY_BENCH_ONLY", only)));
    step::loud_ok("measuring", &mut cargo).map(|()| ExitCode::SUCCESS)
}

const SUDO_RUNNER: &str = r#"target."cfg(all())".runner = ["sudo", "--preserve-env"]"#;
