//! `cargo xtask test`: every test, with everything that tests need.

mod failures;

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use clap::Parser;

use self::failures::Failures;
use crate::{build_ebpf, debian::is_root, setup, step, toolchain, workspace::Workspace};

/// The options of the task.
#[derive(Parser)]
pub(crate) struct Options {
    /// Run the test programs as root with sudo
    #[arg(long)]
    sudo: bool,
    /// Arguments of `cargo test`: a filter, `-p pony`, `-- --nocapture`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    arguments: Vec<String>,
}

/// Sets up, builds the kernel programs, and runs the tests.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let status = step::loud("testing", &mut prepare(workspace, options)?)?;
    Ok(exit_code(status))
}

/// Runs every test, whichever fail, and says which did.
pub(crate) fn run_all(workspace: &Workspace) -> Result<(ExitCode, Failures)> {
    let arguments = ["test", "--no-fail-fast"];
    let mut cargo = prepare(workspace, &Options::parse_from(arguments))?;
    let mut failures = Failures::default();
    let status = step::overheard("testing", &mut cargo, &mut |line| failures.read(line))?;
    Ok((exit_code(status), failures))
}

/// Everything but the run itself.
fn prepare(workspace: &Workspace, options: &Options) -> Result<Command> {
    let kernel = toolchain::ensure(workspace)
        .and_then(|kernel| build_ebpf::run(workspace, &kernel))
        .context("the kernel programs could not be built");
    if let Err(error) = kernel {
        build_ebpf::forget(workspace)?;
        unless_ci(error)?;
    }
    if let Err(error) = setup::test_tools(workspace) {
        unless_ci(error)?;
    }
    if !is_root() && !options.sudo {
        step::warn("not root: tests that load kernel programs or make namespaces are skipped");
        step::note("all of them: cargo xtask test --sudo");
    }
    let mut cargo = workspace.cargo();
    cargo.arg("test").env("PATH", setup::wide_path());
    if options.sudo && !is_root() {
        cargo.args(["--config", SUDO_RUNNER]);
    }
    let asked = with_separator(&options.arguments, env::args());
    cargo.args(cargo_arguments(&asked));
    Ok(cargo)
}

/// Ends with the exit code of the command.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}

/// In CI nothing may be missing; elsewhere the rest is tested.
fn unless_ci(error: anyhow::Error) -> Result<()> {
    if env::var_os("CI").is_some_and(|value| value == "true") {
        return Err(error);
    }
    step::warn(format_args!("{error:#}"));
    step::note("the tests that need it will fail or say that they are skipped");
    Ok(())
}

/// Gives back the `--` that the parser swallows when it comes first.
fn with_separator(parsed: &[String], typed: impl Iterator<Item = String>) -> Vec<String> {
    let kept = parsed.iter().filter(|argument| *argument == "--").count();
    let swallowed = typed.filter(|argument| argument == "--").count() > kept;
    let separator = swallowed.then(|| "--".to_owned());
    separator
        .into_iter()
        .chain(parsed.iter().cloned())
        .collect()
}

/// Tests the whole workspace unless packages are named.
fn cargo_arguments(asked: &[String]) -> Vec<String> {
    let names_package = asked
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let all = (!names_package).then(|| "--workspace".to_owned());
    all.into_iter().chain(asked.iter().cloned()).collect()
}

const SUDO_RUNNER: &str = r#"target."cfg(all())".runner = ["sudo", "--preserve-env"]"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_separator_reaches_cargo() {
        let separated = |typed: &str| {
            let typed = typed.split_whitespace().map(str::to_owned);
            let options = Options::parse_from(typed.clone());
            with_separator(&options.arguments, typed).join(" ")
        };
        assert_eq!(separated("test -- --nocapture"), "-- --nocapture");
        assert_eq!(separated("test --sudo -- -- x"), "-- -- x");
        assert_eq!(separated("test udp -- --nocapture"), "udp -- --nocapture");
        assert_eq!(separated("test -p pony"), "-p pony");
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_a_package_is_named() {
        let arguments = |asked: &str| {
            let asked: Vec<_> = asked.split_whitespace().map(str::to_owned).collect();
            cargo_arguments(&asked).join(" ")
        };
        assert_eq!(arguments(""), "--workspace");
        assert_eq!(arguments("udp -- -p"), "--workspace udp -- -p");
        assert_eq!(arguments("-p pony udp"), "-p pony udp");
        assert_eq!(arguments("--package=pony"), "--package=pony");
    }
}
