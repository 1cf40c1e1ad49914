//! Tells the crate where the kernel objects are, if there are any.
//!
//! `cargo xtask build-ebpf` puts them into the target folder. Without them the daemon is built all
//! the same, has no kernel programs, and says so when it starts.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> io::Result<()> {
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");
    println!("cargo::rustc-check-cfg=cfg(lanes_object)");
    println!("cargo::rustc-check-cfg=cfg(ports_object)");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");

    println!("cargo::rustc-env=PONY_COMMIT={}", commit());

    // Cargo watches the folder with all that is in it. A missing path would count as changed, and
    // every build would begin here.
    let folder = target_folder().join("bpf");
    fs::create_dir_all(&folder)?;
    println!("cargo::rerun-if-changed={}", folder.display());

    embed(&folder.join("pony"), "bpf_object", "PONY_BPF_OBJECT");
    embed(&folder.join("lanes"), "lanes_object", "PONY_LANES_OBJECT");
    embed(&folder.join("ports"), "ports_object", "PONY_PORTS_OBJECT");
    Ok(())
}

/// Tells the crate by `cfg` that there is an object, and by `variable` where.
fn embed(object: &Path, cfg: &str, variable: &str) {
    if object.is_file() {
        println!("cargo::rustc-cfg={cfg}");
        println!("cargo::rustc-env={variable}={}", object.display());
    }
}

/// The commit that is built, for `--version` and the metrics; packagers without a checkout set
/// `PONY_COMMIT`.
fn commit() -> String {
    println!("cargo::rerun-if-env-changed=PONY_COMMIT");
    if let Ok(commit) = env::var("PONY_COMMIT") {
        return commit;
    }
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.git/logs/HEAD");
    if log.is_file() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--tags"])
        .output();
    match described {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Where `cargo xtask build-ebpf` writes to.
fn target_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(folder)
}
