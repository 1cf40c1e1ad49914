//! What the kernel programs are built with: a rustc that has a `core` for BPF, and bpf-linker.
//!
//! Two ways lead to such a rustc. A rustup nightly with the component `rust-src` compiles `core`
//! itself; a distribution's rustc may come with a compiled one. Either works with any bpf-linker
//! whose LLVM is at least as new as the one that the rustc carries.
//!
//! [`find`] only looks and is quick; [`ensure`] installs what is missing.

mod install;
mod linker;
mod rust;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use self::rust::Rust;
use crate::workspace::{Object, Workspace};

/// Everything that compiles the kernel programs.
pub(crate) struct Kernel {
    /// The compiler.
    pub(crate) rust: Rust,
    /// The bpf-linker.
    pub(crate) linker: PathBuf,
}

impl Kernel {
    /// `cargo <subcommand>` for the kernel programs, with more flags for rustc.
    ///
    /// All subcommands share one directory: cargo keeps apart what differs in its flags.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str, flags: &[&str]) -> Command {
        let mut cargo = self.rust.cargo(subcommand);
        let linker = format!("linker={}", self.linker.display());
        // Atomic operations that answer what was there before came with the third version of BPF.
        let mut all = vec![
            "-Ctarget-cpu=v3",
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            "-C",
            &linker,
        ];
        all.extend(flags);
        cargo
            .current_dir(workspace.root())
            // The encoded form wins over every other source of flags, and paths may have spaces.
            .env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"))
            .arg("--target-dir")
            .arg(workspace.target().join(DIRECTORY))
            .args(["--package=pony-ebpf", "--release"])
            .args(Object::ALL.map(|object| format!("--bin={}", object.program())))
            .arg(format!("--target={TARGET}"));
        cargo
    }

    /// What `cargo build` makes of a program of `pony-ebpf`.
    pub(crate) fn built(workspace: &Workspace, program: &str) -> PathBuf {
        let directory = workspace.target().join(DIRECTORY).join(TARGET);
        directory.join("release").join(program)
    }
}

/// Finds a complete toolchain, without changing anything.
pub(crate) fn find(workspace: &Workspace) -> Option<Kernel> {
    rust::ready().into_iter().find_map(|rust| {
        let linker = linker::find(workspace, rust.llvm)?;
        Some(Kernel { rust, linker })
    })
}

/// Finds a complete toolchain, or installs what is missing of it.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Kernel> {
    find(workspace).map_or_else(|| install::toolchain(workspace), Ok)
}

const TARGET: &str = "bpfel-unknown-none";
const DIRECTORY: &str = "bpf-build";
