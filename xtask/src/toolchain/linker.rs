//! Finding bpf-linker, or building the pinned one.
//!
//! bpf-linker reads bitcode that rustc's LLVM wrote, so its own LLVM must be at least as new.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

use super::rust::number;
use crate::{step, workspace::Workspace};

/// An LLVM that bpf-linker can be built with.
pub(super) struct Llvm {
    major: u32,
    prefix: PathBuf,
}

/// The LLVMs that the pinned bpf-linker can be built with, oldest first.
pub(super) const LLVMS: [u32; 3] = [21, 22, 23];

/// Finds a bpf-linker that can read the bitcode of `llvm`: our own, else one on the path.
pub(super) fn find(workspace: &Workspace, llvm: u32) -> Option<PathBuf> {
    let own = workspace.tools().join("bin/bpf-linker");
    std::iter::once(own)
        .chain(on_path("bpf-linker"))
        .find(|linker| version_of(linker).is_some_and(|found| found >= llvm))
}

/// Finds the development files of an LLVM at least as new as `oldest`.
pub(super) fn find_llvm(oldest: u32) -> Option<Llvm> {
    let numbered = LLVMS.into_iter().flat_map(|major| {
        [
            format!("/usr/lib/llvm-{major}/bin/llvm-config"),
            format!("llvm-config-{major}"),
        ]
    });
    numbered
        .chain(["llvm-config".to_owned()])
        .filter_map(|config| describe(&config))
        .find(|llvm| llvm.major >= oldest && LLVMS.contains(&llvm.major))
}

/// Builds the pinned bpf-linker into the workspace's tools.
pub(super) fn build(workspace: &Workspace, llvm: &Llvm) -> Result<PathBuf> {
    let Llvm { major, prefix } = llvm;
    let mut cargo = workspace.cargo();
    cargo
        .args(["install", "--locked", "--force", "bpf-linker"])
        .args(["--version", VERSION, "--no-default-features"])
        .arg("--features")
        .arg(format!("llvm-{major}"))
        .arg("--root")
        .arg(workspace.tools())
        .env("LLVM_PREFIX", prefix)
        .env(format!("LLVM_SYS_{major}1_PREFIX"), prefix)
        // Intermediate files go to a temporary directory, and flags of ours do not apply.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    let what = format!("building bpf-linker {VERSION} with LLVM {major} (about a minute)");
    step::quiet(workspace, &what, &mut cargo, Duration::from_hours(1))?;

    let linker = workspace.tools().join("bin/bpf-linker");
    ensure!(
        version_of(&linker).is_some(),
        "{} was built but does not start",
        linker.display()
    );
    Ok(linker)
}

/// The LLVM of a bpf-linker; `None` if it does not start or can't be judged.
fn version_of(linker: &Path) -> Option<u32> {
    let version = step::output(Command::new(linker).arg("--version"))?;
    let own_version = number(version.trim().strip_prefix("bpf-linker ")?)?;
    llvm_of(own_version, &fs::read(linker).ok()?)
}

/// It does not tell its LLVM, but names the shared library. One without was linked statically,
/// and is taken to be a published build of the default features.
fn llvm_of(own_version: (u32, u32), binary: &[u8]) -> Option<u32> {
    shared_llvm(binary).or_else(|| (own_version >= (0, 13)).then_some(STATIC_LLVM))
}

/// Finds the major version in `libLLVM.so.22.1` or `libLLVM-21.so`.
fn shared_llvm(binary: &[u8]) -> Option<u32> {
    let name: &[u8] = b"\0libLLVM";
    binary
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| *window == name)
        .find_map(|(at, _)| {
            let rest = &binary[at + name.len()..];
            let rest = rest.strip_prefix(b".so.").or(rest.strip_prefix(b"-"))?;
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
        })
}

fn describe(config: &str) -> Option<Llvm> {
    let text = step::output(Command::new(config).args(["--version", "--prefix", "--includedir"]))?;
    let mut lines = text.lines();
    let (major, _) = number(lines.next()?)?;
    let prefix = PathBuf::from(lines.next()?);
    // The tool alone may be there without the headers.
    let headers = Path::new(lines.next()?).join("llvm-c/Core.h").is_file();
    headers.then_some(Llvm { major, prefix })
}

/// Every file of that name on the path.
fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<_> = env::split_paths(&path).map(|dir| dir.join(name)).collect();
    candidates.into_iter().filter(|path| path.is_file())
}

/// The pinned version.
pub(super) const VERSION: &str = "0.13.0";
/// The LLVM of bpf-linker's default features.
const STATIC_LLVM: u32 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_library_names_the_llvm() {
        assert_eq!(shared_llvm(b"x\0libLLVM.so.22.1\0LLVM_22.1\0"), Some(22));
        assert_eq!(shared_llvm(b"x\0libLLVM-21.so\0"), Some(21));
        assert_eq!(shared_llvm(b"x\0libLLVM\0 and libLLVM.so.9"), None);
    }

    #[test]
    fn a_static_linker_is_trusted_from_the_pinned_version_on() {
        assert_eq!(llvm_of((0, 13), b"static"), Some(23));
        assert_eq!(llvm_of((0, 9), b"static"), None);
        assert_eq!(llvm_of((0, 9), b"\0libLLVM.so.22.1\0"), Some(22));
    }
}
