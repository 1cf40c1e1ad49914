//! Finding a rustc with a `core` for BPF.
//!
//! Looks only; [`super::install`] installs.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::step;

/// One usable compiler.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rust {
    cargo: PathBuf,
    rustc: PathBuf,
    core: Core,
    release: String,
    /// The major version of the LLVM inside.
    pub(crate) llvm: u32,
}

/// Where `core` comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Core {
    /// Compiled by us from the component `rust-src`.
    FromSource,
    /// Compiled by the distribution.
    Prebuilt,
}

/// A toolchain that rustup manages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Managed {
    pub(super) name: String,
    path: PathBuf,
}

impl Rust {
    /// What to call it in messages.
    pub(crate) fn label(&self) -> String {
        match self.core {
            Core::FromSource => format!("rustc {} and rust-src", self.release),
            Core::Prebuilt => format!("the distribution's rustc {}", self.release),
        }
    }

    /// The clippy that belongs to this compiler, if it is installed.
    pub(crate) fn clippy(&self) -> Option<PathBuf> {
        let clippy = self.cargo.with_file_name("cargo-clippy");
        let driver = self.cargo.with_file_name("clippy-driver");
        (clippy.is_file() && driver.is_file()).then_some(clippy)
    }

    /// `cargo <subcommand>` by this compiler and nothing that leaks in from the cargo around us.
    pub(super) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match (subcommand, self.clippy()) {
            ("clippy", Some(clippy)) => Command::new(clippy),
            _ => Command::new(&self.cargo),
        };
        for name in LEAKING {
            command.env_remove(name);
        }
        if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
            match without_toolchains(&paths) {
                kept if kept.is_empty() => command.env_remove("LD_LIBRARY_PATH"),
                kept => command.env("LD_LIBRARY_PATH", kept),
            };
        }
        command
            .arg(subcommand)
            .env("CARGO", &self.cargo)
            .env("RUSTC", &self.rustc);
        match self.core {
            Core::FromSource => command.arg("-Zbuild-std=core"),
            // aya-ebpf writes BPF assembly, which a stable rustc takes only when told to.
            Core::Prebuilt => command.env("RUSTC_BOOTSTRAP", "1"),
        };
        command
    }
}

/// Every usable compiler, the preferred one first.
pub(super) fn ready() -> Vec<Rust> {
    nightlies()
        .iter()
        .filter_map(from_source)
        .chain(prebuilt())
        .collect()
}

/// The nightly toolchains of rustup, the plain `nightly` before dated ones.
pub(super) fn nightlies() -> Vec<Managed> {
    let list = step::output(Command::new("rustup").args(["toolchain", "list", "--verbose"]));
    list.map(|list| parse_nightlies(&list)).unwrap_or_default()
}

/// The toolchain as a compiler, if it has the sources of `core`.
pub(super) fn from_source(toolchain: &Managed) -> Option<Rust> {
    let sources = "lib/rustlib/src/rust/library/core/Cargo.toml";
    if !toolchain.path.join(sources).is_file() {
        return None;
    }
    let bin = toolchain.path.join("bin");
    compiler(&bin.join("rustc"), &bin.join("cargo"), Core::FromSource)
}

/// The distribution's compiler, if it has a compiled `core` for BPF.
pub(super) fn prebuilt() -> Option<Rust> {
    let rustc = Path::new("/usr/bin/rustc");
    let sysroot = step::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/bpfel-unknown-none/lib");
    let is_core = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    };
    fs::read_dir(library)
        .ok()?
        .flatten()
        .any(|entry| is_core(&entry.file_name()))
        .then_some(())?;
    compiler(rustc, Path::new("/usr/bin/cargo"), Core::Prebuilt)
}

fn compiler(rustc: &Path, cargo: &Path, core: Core) -> Option<Rust> {
    let version = step::output(Command::new(rustc).arg("-vV"))?;
    let (release, llvm) = parse_version(&version)?;
    let new_enough = number(&release)? >= number(env!("CARGO_PKG_RUST_VERSION"))?;
    (new_enough && cargo.is_file()).then(|| Rust {
        cargo: cargo.to_owned(),
        rustc: rustc.to_owned(),
        core,
        release,
        llvm,
    })
}

/// Reads the output of `rustup toolchain list --verbose`: name, notes in brackets, path.
fn parse_nightlies(list: &str) -> Vec<Managed> {
    let mut found: Vec<_> = list
        .lines()
        .filter(|line| line.starts_with("nightly"))
        .filter_map(|line| {
            let name = line.split_whitespace().next()?.to_owned();
            let path = PathBuf::from(&line[line.find('/')?..]);
            Some(Managed { name, path })
        })
        .collect();
    found.sort_by_key(|toolchain| toolchain.name.len());
    found
}

/// Reads the release and the major version of LLVM from the output of `rustc -vV`.
fn parse_version(text: &str) -> Option<(String, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ")?.trim().to_owned();
    let llvm = field("LLVM version: ")?.trim().split('.').next()?;
    Some((release, llvm.parse().ok()?))
}

/// The first two parts of a version, which can be compared.
pub(super) fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `cargo run` puts the libraries of its own toolchain first; another rustc must not load them.
fn without_toolchains(paths: &OsStr) -> OsString {
    let kept = env::split_paths(paths).filter(|path| {
        !path.components().any(|part| {
            ["toolchains", "rustlib", "target"]
                .map(OsStr::new)
                .contains(&part.as_os_str())
        })
    });
    env::join_paths(kept).unwrap_or_default()
}

/// What cargo and rustup tell their children about themselves, and what would change the build.
const LEAKING: [&str; 11] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_TOOLCHAIN_SOURCE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_release_and_llvm_of_a_rustc() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(parse_version(text), Some(("1.97.0-nightly".to_owned(), 22)));
        assert_eq!(parse_version("rustc 1.97.0"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(number("1.100.0-nightly") > number("1.95"));
        assert_eq!(number("1.95"), number("1.95.3"));
        assert_eq!(number("new"), None);
    }

    #[test]
    fn finds_nightlies_with_their_paths_and_prefers_the_plain_one() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\t/r/toolchains/stable\n\
                    nightly-2026-01-01-x86_64-unknown-linux-gnu /r/toolchains/dated one\n\
                    nightly-x86_64-unknown-linux-gnu /r/toolchains/nightly\n";
        let found = parse_nightlies(list);
        let paths: Vec<_> = found.iter().map(|t| t.path.to_string_lossy()).collect();
        assert_eq!(paths, ["/r/toolchains/nightly", "/r/toolchains/dated one"]);
        assert_eq!(found[0].name, "nightly-x86_64-unknown-linux-gnu");
    }

    #[test]
    fn libraries_of_the_surrounding_toolchain_do_not_leak() {
        let paths = "/r/target/debug:/home/me/.rustup/toolchains/stable/lib:/opt/lib";
        assert_eq!(without_toolchains(OsStr::new(paths)), "/opt/lib");
    }
}
