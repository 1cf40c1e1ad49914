//! `cargo xtask build-ebpf`: the kernel programs, compiled and put where the daemon embeds them.
//!
//! Does not install anything: [`crate::toolchain`] does, before. An object is replaced only when
//! it changed, so that cargo rebuilds the daemon only then.

mod budget;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    step,
    toolchain::Kernel,
    workspace::{Object, Workspace},
};

/// Builds the kernel programs, each object into its [`Workspace::bpf_object`].
pub(crate) fn run(workspace: &Workspace, kernel: &Kernel) -> Result<()> {
    let what = format!("building the kernel programs with {}", kernel.rust.label());
    step::loud_ok(&what, &mut kernel.cargo(workspace, "build", &[]))?;

    for object in Object::ALL {
        publish(workspace, kernel, object)?;
    }
    Ok(())
}

/// Puts an object that was built where the daemon embeds it, and checks what it takes.
fn publish(workspace: &Workspace, kernel: &Kernel, object: Object) -> Result<()> {
    let built = Kernel::built(workspace, object.program());
    let path = workspace.bpf_object(object);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    ensure!(
        has_btf(&bytes),
        "{} has no BTF; is the linker {} a bpf-linker?",
        built.display(),
        kernel.linker.display()
    );
    replace_if_changed(&path, &bytes)?;
    step::note(format_args!(
        "{} ({} KiB)",
        path.display(),
        bytes.len().div_ceil(1024)
    ));
    budget::check(object, &bytes)
}

/// Builds the programs that make traffic for benchmarks, and returns where they are.
pub(crate) fn bench(workspace: &Workspace, kernel: &Kernel) -> Result<PathBuf> {
    let mut cargo = kernel.cargo(workspace, "build", &[]);
    step::loud_ok(
        "building the kernel programs of the benchmark",
        cargo.arg("--bin=bench"),
    )?;
    Ok(Kernel::built(workspace, "bench"))
}

/// Removes the objects, so that a daemon built now embeds no outdated kernel programs.
pub(crate) fn forget(workspace: &Workspace) -> Result<()> {
    for path in Object::ALL.map(|object| workspace.bpf_object(object)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn replace_if_changed(object: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(object).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(directory) = object.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    // Renamed into place: a build that runs at the same time never reads half an object.
    let new = object.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, object).with_context(|| format!("cannot replace {}", object.display()))
}

/// Whether the ELF file names a section `.BTF`. `.BTF.ext` alone is not enough, and the name may
/// be stored as the end of `.rel.BTF`.
fn has_btf(elf: &[u8]) -> bool {
    elf.windows(5).any(|window| window == b".BTF\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let directory = std::env::temp_dir().join(format!("xtask-object-{}", std::process::id()));
        let object = directory.join("bpf/pony");
        let modified = || fs::metadata(&object).unwrap().modified().unwrap();

        replace_if_changed(&object, b"one").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let file = fs::File::options().write(true).open(&object).unwrap();
        file.set_modified(long_ago).unwrap();

        replace_if_changed(&object, b"one").unwrap();
        assert_eq!(modified(), long_ago);
        replace_if_changed(&object, b"two").unwrap();
        assert_ne!(modified(), long_ago);
        assert_eq!(fs::read(&object).unwrap(), b"two");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn btf_is_found_by_the_name_of_its_section() {
        assert!(has_btf(b"\x7fELF..\0.text\0.BTF\0.BTF.ext\0"));
        assert!(has_btf(b"\x7fELF..\0.text\0.rel.BTF\0.BTF.ext\0"));
        assert!(!has_btf(b"\x7fELF..\0.text\0.BTF.ext\0"));
    }
}
