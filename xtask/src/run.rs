//! `cargo xtask run`: from a clone to a running PacketPony.
//!
//! Ends by becoming the daemon, so that signals and the exit code are the daemon's own.

use std::{
    env, fs,
    io::IsTerminal as _,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{build_ebpf, debian::is_root, step, toolchain, workspace::Workspace};

/// The options of the task.
#[derive(Parser)]
pub(crate) struct Options {
    /// Start the daemon as root with sudo, so that it can load its kernel programs
    #[arg(long)]
    sudo: bool,
    /// Arguments of pony: `-c FILE` runs your own configuration
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// Builds the daemon and becomes it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if let Err(error) = kernel_programs(workspace) {
        build_ebpf::forget(workspace)?;
        step::warn("PacketPony will run without its kernel programs, which could not be built:");
        step::note(format_args!("{error:#}"));
    }
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--package=pony", "--bin=pony"]);
    step::loud_ok(
        "building the daemon (a few minutes the first time)",
        &mut cargo,
    )?;

    let arguments = pony_arguments(&options.arguments);
    let mut pony = daemon(workspace, as_root(options, &arguments));
    pony.args(&arguments);
    step::say(step::shown(&pony));
    let error = pony.exec();
    Err(error).with_context(|| format!("cannot run {}", step::shown(&pony)))
}

fn kernel_programs(workspace: &Workspace) -> Result<()> {
    build_ebpf::run(workspace, &toolchain::ensure(workspace)?)
}

fn daemon(workspace: &Workspace, with_sudo: bool) -> Command {
    let pony = workspace.target().join("release/pony");
    let mut command = if with_sudo {
        let mut sudo = Command::new("sudo");
        sudo.arg(pony);
        sudo
    } else {
        Command::new(pony)
    };
    // The daemon is no child of cargo, and must not look like one.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") {
            command.env_remove(name);
        }
    }
    command
}

/// Whether sudo starts the daemon; says so where the answer could surprise.
fn as_root(options: &Options, arguments: &[String]) -> bool {
    if is_root() || options.sudo {
        return !is_root();
    }
    let requires = config_of(arguments)
        .and_then(|file| fs::read_to_string(file).ok())
        .is_some_and(|text| requires_guard(&text));
    if requires && std::io::stdin().is_terminal() {
        step::say("guard.mode is require, which needs root: starting with sudo");
        return true;
    }
    step::note("not root, so no kernel programs will be loaded; with them: cargo xtask run --sudo");
    false
}

/// What pony is started with.
fn pony_arguments(asked: &[String]) -> Vec<String> {
    let subcommand = match asked.first() {
        None => Some("demo"),
        Some(first) if names_config(first) => Some("run"),
        Some(_) => None,
    };
    let subcommand = subcommand.map(str::to_owned);
    subcommand
        .into_iter()
        .chain(asked.iter().cloned())
        .collect()
}

fn names_config(argument: &str) -> bool {
    let long = argument == "--config" || argument.starts_with("--config=");
    // `-config` is how the original is started: pony itself understands it.
    long || (argument.starts_with("-c") && !argument.starts_with("-config"))
}

/// The configuration file among the arguments.
fn config_of(arguments: &[String]) -> Option<&str> {
    let names = ["--config", "-config", "-c"];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(value) = names.iter().find_map(|name| argument.strip_prefix(name)) else {
            continue;
        };
        return match value {
            "" => rest.next().map(String::as_str),
            attached => Some(attached.strip_prefix('=').unwrap_or(attached)),
        };
    }
    None
}

/// Whether the configuration says `guard: mode: require`.
///
/// A glance, not a parser: the daemon reads the file properly, and refuses to start if root is
/// needed and missing.
fn requires_guard(yaml: &str) -> bool {
    let plain = |line: &str| -> String {
        let line = line.split('#').next().unwrap_or_default();
        line.replace(['"', '\'', '{', '}'], " ")
    };
    let lines: Vec<_> = yaml.lines().map(plain).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with("guard:")) else {
        return false;
    };
    let block = lines[at + 1..]
        .iter()
        .take_while(|line| line.starts_with([' ', '\t']) || line.trim().is_empty());
    let text = std::iter::once(&lines[at]).chain(block);
    let words: Vec<_> = text.flat_map(|line| line.split([' ', ',', '\t'])).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| pair == ["mode:", "require"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(arguments: &[&str]) -> Vec<String> {
        arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect()
    }

    #[test]
    fn the_demo_runs_unless_something_else_is_asked_for() {
        let rows: [(&[&str], &[&str]); 7] = [
            (&[], &["demo"]),
            (&["-c", "a.yaml"], &["run", "-c", "a.yaml"]),
            (&["-ca.yaml"], &["run", "-ca.yaml"]),
            (&["--config=a.yaml"], &["run", "--config=a.yaml"]),
            (&["check", "-c", "a.yaml"], &["check", "-c", "a.yaml"]),
            (&["-config", "a.yaml"], &["-config", "a.yaml"]),
            (&["--version"], &["--version"]),
        ];
        for (asked, expected) in rows {
            assert_eq!(pony_arguments(&owned(asked)), owned(expected), "{asked:?}");
        }
    }

    #[test]
    fn finds_the_configuration_file_in_every_spelling() {
        let spellings: [&[&str]; 5] = [
            &["run", "-c", "a.yaml"],
            &["run", "-ca.yaml"],
            &["run", "--config", "a.yaml"],
            &["run", "--config=a.yaml"],
            &["-config", "a.yaml"],
        ];
        for arguments in spellings {
            assert_eq!(
                config_of(&owned(arguments)),
                Some("a.yaml"),
                "{arguments:?}"
            );
        }
        assert_eq!(config_of(&owned(&["demo"])), None);
    }

    #[test]
    fn a_required_guard_is_seen_in_the_file() {
        for yaml in [
            "guard:\n  interfaces: auto\n\n  # why\n  mode: require # x\nlisteners: []\n",
            "guard: { mode: \"require\" }\n",
        ] {
            assert!(requires_guard(yaml), "{yaml}");
        }
        for yaml in [
            "guard:\n  mode: auto\nother:\n  mode: require\n",
            "guard:\n  # mode: require\n",
            "other:\n  mode: require\n",
        ] {
            assert!(!requires_guard(yaml), "{yaml}");
        }
    }
}
