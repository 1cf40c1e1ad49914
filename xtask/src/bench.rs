//! `cargo xtask bench`: figures, measured by the real programs in the real kernel.
//!
//! Sets up and builds what is measured, in release, and hands over to the measuring program of the
//! subject (`pony/benches/`), which needs root. It prints a table and writes the same as JSON.

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, ValueEnum};

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
    #[command(flatten)]
    lanes: Lanes,
}

/// What only `lanes` has.
#[derive(Default, Args)]
struct Lanes {
    /// lanes: the values of tcp.lane to measure; all, if not given
    #[arg(long, value_name = "LANES")]
    variants: Option<String>,
    /// lanes: another build of pony to measure beside this one; may be repeated
    #[arg(long = "pony", value_name = "NAME=PATH")]
    ponies: Vec<String>,
    /// lanes: how many rounds to measure
    #[arg(long)]
    rounds: Option<u32>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    /// The kernel programs at the interfaces, beside xdp-filter and nftables
    Guard,
    /// Forwarding TCP by each lane, beside no proxy, HAProxy and nginx
    Lanes,
}

impl Subject {
    /// The measuring program, and the file that it writes.
    const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Lanes => "lanes",
        }
    }
}

impl Lanes {
    /// How the measuring program is told.
    fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        let ponies = self.ponies.iter().map(|pony| {
            let (name, path) = pony.split_once('=').context("--pony takes NAME=PATH")?;
            // The measuring program has another working directory.
            let path = PathBuf::from(path)
                .canonicalize()
                .with_context(|| format!("no build of pony at {path}"))?;
            Ok(format!("{name}={}", path.display()))
        });
        let ponies = ponies.collect::<Result<Vec<_>>>()?.join("\n");
        let mut variables = vec![("PONY_BENCH_PONIES", ponies)];
        variables.extend(
            self.variants
                .clone()
                .map(|text| ("PONY_BENCH_VARIANTS", text)),
        );
        variables.extend(
            self.rounds
                .map(|number| ("PONY_BENCH_ROUNDS", number.to_string())),
        );
        Ok(variables)
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
            lanes: Lanes::default(),
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
    let traffic = match options.subject {
        Subject::Guard => Some(build_ebpf::bench(workspace, &kernel)?),
        Subject::Lanes => None,
    };
    setup::bench_tools(workspace)?;

    let lanes = options.lanes.environment()?;
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
        .envs(traffic.map(|object| ("PONY_BENCH_OBJECT", object)))
        .env(
            "PONY_BENCH_JSON",
            workspace
                .target()
                .join("bench")
                .join(format!("{name}{suffix}.json")),
        )
        .envs(lanes)
        .envs(options.quick.then_some(("PONY_BENCH_QUICK", "1")))
        .envs(options.only.as_ref().map(|only| ("PONY_BENCH_ONLY", only)));
    step::loud_ok("measuring", &mut cargo).map(|()| ExitCode::SUCCESS)
}

const SUDO_RUNNER: &str = r#"target."cfg(all())".runner = ["sudo", "--preserve-env"]"#;
