//! `cargo xtask lint`: everything about the code that a machine can judge without running it.
//!
//! All checks run, whatever the first ones find; the end says which failed.

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{setup, step, tidy, toolchain, workspace::Workspace};

/// A check, and whether what it looks at passes.
type Check = fn(&Workspace) -> Result<bool>;

/// Runs every check.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    setup::lint_tools(workspace)?;
    let checks: [(&str, Check); 6] = [
        ("lock file", lock_file),
        ("rustfmt", rustfmt),
        ("tidy", tidy),
        ("clippy", clippy),
        ("kernel target", kernel_target),
        ("cargo deny", deny),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        let passed = check(workspace).unwrap_or_else(|error| {
            step::warn(format_args!("{name}: {error:#}"));
            false
        });
        if !passed {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    step::say(format_args!("lint FAILED: {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

fn lock_file(workspace: &Workspace) -> Result<bool> {
    let mut cargo = workspace.cargo();
    cargo.args(["metadata", "--locked", "--format-version=1"]);
    let what = "Cargo.lock fits Cargo.toml (if not, `cargo check` mends it)";
    step::quiet(workspace, what, &mut cargo, Duration::from_mins(10)).map(|()| true)
}

fn rustfmt(workspace: &Workspace) -> Result<bool> {
    passes(
        "rustfmt",
        workspace.cargo().args(["fmt", "--all", "--check"]),
    )
}

fn clippy(workspace: &Workspace) -> Result<bool> {
    let mut cargo = workspace.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]);
    passes("clippy", &mut cargo)
}

fn tidy(workspace: &Workspace) -> Result<bool> {
    let problems = tidy::check(workspace.root())?;
    for problem in &problems {
        step::note(problem);
    }
    step::say(format_args!("tidy: {} problems", problems.len()));
    Ok(problems.is_empty())
}

/// The kernel programs with warnings as errors; by clippy where the toolchain has it.
fn kernel_target(workspace: &Workspace) -> Result<bool> {
    let kernel = toolchain::ensure(workspace).context("the kernel programs are unchecked")?;
    let subcommand = if kernel.rust.clippy().is_some() {
        "clippy"
    } else {
        step::note("this kernel toolchain has no clippy: rustc's own warnings must do");
        "check"
    };
    passes(
        &format!("{subcommand} for the kernel target"),
        kernel
            .cargo(workspace, subcommand, &["-Dwarnings"])
            .arg("--bin=bench"),
    )
}

/// Licences, bans and sources; advisories where their database can be reached.
fn deny(workspace: &Workspace) -> Result<bool> {
    let cargo_deny = || {
        let mut cargo = workspace.cargo();
        cargo.args(["deny", "--workspace"]);
        cargo
    };
    if step::output(workspace.cargo().args(["deny", "--version"])).is_none() {
        step::say("cargo deny: skipped, it is not installed");
        return Ok(true);
    }
    let offline = passes(
        "cargo deny",
        cargo_deny().args(["check", "licenses", "bans", "sources"]),
    )?;
    if step::output(cargo_deny().arg("fetch").arg("db")).is_none() {
        step::say("cargo deny advisories: skipped, the database can't be reached");
        return Ok(offline);
    }
    Ok(passes(
        "cargo deny advisories",
        cargo_deny().args(["check", "advisories"]),
    )? && offline)
}

fn passes(what: &str, command: &mut Command) -> Result<bool> {
    Ok(step::loud(what, command)?.success())
}
