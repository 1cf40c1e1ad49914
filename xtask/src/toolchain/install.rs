//! Installing the kernel toolchain, by the first of several ways that works.
//!
//! A way that fails is reported and the next one is tried. When none is left, the error says what
//! to type.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{
    Kernel, linker,
    rust::{self, Rust},
};
use crate::{debian::Apt, step, workspace::Workspace};

/// How to get a rustc with a `core` for BPF.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Way {
    /// Add the sources of `core` to this toolchain of rustup.
    AddSources(String),
    /// Install Debian's rustc and its `core` for BPF.
    Debian,
    /// Let rustup install a nightly with the sources of `core`.
    InstallNightly,
}

/// What decides which ways are worth trying.
#[derive(Clone, Debug, Default)]
struct Machine {
    rustup: bool,
    /// Nightlies without the sources of `core`.
    nightlies: Vec<String>,
    /// Debian's packages exist here and we may install them.
    debian: bool,
}

/// Installs what is missing of the kernel toolchain.
pub(super) fn toolchain(workspace: &Workspace) -> Result<Kernel> {
    let apt = Apt::find();
    let mut failures = Vec::new();
    let mut attempt = |what: String, result: Result<Kernel>| match result {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            step::note(format_args!("{what}: {error:#}"));
            failures.push(what);
            None
        }
    };

    // A compiler that is there only lacks its linker.
    for rust in rust::ready() {
        let what = format!("a bpf-linker for {}", rust.label());
        if let Some(kernel) = attempt(what, with_linker(workspace, &apt, rust)) {
            return Ok(kernel);
        }
    }
    for way in ways(&look(&apt)) {
        let result = way.take(workspace, &apt);
        let result = result.and_then(|rust| with_linker(workspace, &apt, rust));
        if let Some(kernel) = attempt(way.describe(), result) {
            return Ok(kernel);
        }
    }
    bail!(
        "there is no toolchain for the kernel programs\n{}",
        advice(&apt)
    );
}

fn look(apt: &Apt) -> Machine {
    let nightlies = rust::nightlies();
    Machine {
        rustup: step::output(Command::new("rustup").arg("--version")).is_some(),
        nightlies: nightlies
            .iter()
            .filter(|toolchain| rust::from_source(toolchain).is_none())
            .map(|toolchain| toolchain.name.clone())
            .collect(),
        debian: rust::prebuilt().is_none() && apt.may_install() && apt.offers(&RUST_PACKAGES),
    }
}

/// The ways in the order to try them: what changes least comes first.
fn ways(machine: &Machine) -> Vec<Way> {
    let mut ways: Vec<_> = machine
        .nightlies
        .iter()
        .take(1)
        .cloned()
        .map(Way::AddSources)
        .collect();
    if machine.debian {
        ways.push(Way::Debian);
    }
    if machine.rustup && machine.nightlies.is_empty() {
        ways.push(Way::InstallNightly);
    }
    ways
}

impl Way {
    fn describe(&self) -> String {
        match self {
            Self::AddSources(name) => format!("adding rust-src to {name}"),
            Self::Debian => "installing Debian's rustc for BPF".to_owned(),
            Self::InstallNightly => "installing a nightly with rust-src".to_owned(),
        }
    }

    fn take(&self, workspace: &Workspace, apt: &Apt) -> Result<Rust> {
        let what = self.describe();
        match self {
            Self::AddSources(name) => {
                let mut rustup = rustup();
                rustup.args(["component", "add", "rust-src", "--toolchain", name]);
                step::quiet(workspace, &what, &mut rustup, Duration::from_mins(1))?;
                first_from_source()
            }
            Self::Debian => {
                apt.install(workspace, &what, &RUST_PACKAGES)?;
                rust::prebuilt().context("Debian's rustc has no core for BPF, or is too old")
            }
            Self::InstallNightly => {
                let mut rustup = rustup();
                rustup
                    .args(["toolchain", "install", "nightly", "--no-self-update"])
                    .args(["--profile", "minimal", "--component", "rust-src"]);
                step::quiet(workspace, &what, &mut rustup, Duration::from_mins(15))?;
                first_from_source()
            }
        }
    }
}

/// Its errors are for people here: the stack says nothing to them.
fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    rustup.env("RUST_BACKTRACE", "0");
    rustup
}

fn first_from_source() -> Result<Rust> {
    rust::nightlies()
        .iter()
        .find_map(rust::from_source)
        .with_context(|| {
            format!(
                "the nightly is older than {}",
                env!("CARGO_PKG_RUST_VERSION")
            )
        })
}

fn with_linker(workspace: &Workspace, apt: &Apt, rust: Rust) -> Result<Kernel> {
    let linker = match linker::find(workspace, rust.llvm) {
        Some(linker) => linker,
        None => linker::build(workspace, &llvm(workspace, apt, rust.llvm)?)?,
    };
    Ok(Kernel { rust, linker })
}

fn llvm(workspace: &Workspace, apt: &Apt, oldest: u32) -> Result<linker::Llvm> {
    if let Some(llvm) = linker::find_llvm(oldest) {
        return Ok(llvm);
    }
    let packages = linker::LLVMS.into_iter().filter(|major| *major >= oldest);
    let package = packages
        .map(|major| format!("llvm-{major}-dev"))
        .find(|package| apt.offers(&[package]))
        .with_context(|| {
            format!("building bpf-linker needs the development files of LLVM {oldest} or newer")
        })?;
    apt.install(workspace, &format!("installing {package}"), &[&package])?;
    linker::find_llvm(oldest).with_context(|| format!("{package} has no llvm-config"))
}

/// What to type where we can't do it ourselves.
fn advice(apt: &Apt) -> String {
    let version = linker::VERSION;
    let rustup = format!(
        "with rustup:\n  rustup toolchain install nightly --component rust-src\n  \
         and a bpf-linker {version} on the path whose LLVM is not older than the one that\n  \
         `rustc +nightly -vV` shows (LLVM's development files are enough to build it here)"
    );
    let packages = [&RUST_PACKAGES[..], &["llvm-22-dev"]].concat();
    let debian = format!("with Debian's packages:\n  {}", Apt::to_type(&packages));
    if apt.exists() {
        format!("{debian}\n{rustup}\nthen again: cargo xtask setup")
    } else {
        format!("{rustup}\nthen again: cargo xtask setup")
    }
}

/// Debian 12 has these among its security updates.
const RUST_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_is_completed_before_packages_are_installed() {
        let machine = Machine {
            rustup: true,
            nightlies: vec!["nightly-x".to_owned(), "nightly-2026-01-01-x".to_owned()],
            debian: true,
        };
        let expected = [Way::AddSources("nightly-x".to_owned()), Way::Debian];
        assert_eq!(ways(&machine), expected);
    }

    #[test]
    fn packages_come_before_a_whole_new_toolchain() {
        let machine = Machine {
            rustup: true,
            debian: true,
            ..Machine::default()
        };
        assert_eq!(ways(&machine), [Way::Debian, Way::InstallNightly]);
    }

    #[test]
    fn a_machine_with_neither_rustup_nor_packages_has_no_way() {
        assert_eq!(ways(&Machine::default()), []);
    }
}
