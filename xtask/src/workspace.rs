//! Where things are: the repository, cargo's target directory, and what xtask puts there.
//!
//! Every path is absolute, so no task depends on the directory that it was started in.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Kernel programs that are loaded together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Object {
    /// Those that judge packets.
    Guard,
    /// The one that moves bytes from socket to socket.
    Lanes,
    /// The one that gives a listener many ports.
    Ports,
}

impl Object {
    pub(crate) const ALL: [Self; 3] = [Self::Guard, Self::Lanes, Self::Ports];

    /// The program of `pony-ebpf` that it is built from.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Guard => "pony-ebpf",
            Self::Lanes => "lanes",
            Self::Ports => "ports",
        }
    }

    /// What the daemon's build looks for.
    const fn file(self) -> &'static str {
        match self {
            Self::Guard => "pony",
            Self::Lanes => "lanes",
            Self::Ports => "ports",
        }
    }
}

/// The repository and its target directory.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this xtask was built from.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` says where the package is now; the path of the build may be out of date.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .parent()
            .with_context(|| format!("{} is in no workspace", package.display()))?
            .to_owned();
        let target = target_dir(
            &root,
            env::var_os("CARGO_TARGET_DIR").map(PathBuf::from),
            &env::current_dir().context("the current directory is gone")?,
        );
        Ok(Self { root, target })
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where tools are installed that only this workspace uses: `bin/` is below it.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Kernel programs, ready to be embedded into the daemon.
    pub(crate) fn bpf_object(&self, object: Object) -> PathBuf {
        self.target.join("bpf").join(object.file())
    }

    /// The cargo that runs this xtask, working in the repository.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        // Left unset where it was: a build script sees the difference and would run again.
        if env::var_os("CARGO_TARGET_DIR").is_some() {
            cargo.env("CARGO_TARGET_DIR", &self.target);
        }
        cargo
    }
}

/// Cargo reads a relative target directory from where it was started.
fn target_dir(root: &Path, asked: Option<PathBuf>, current: &Path) -> PathBuf {
    asked.map_or_else(|| root.join("target"), |asked| current.join(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_below_the_root_unless_asked_otherwise() {
        let dir = |asked: Option<&str>| {
            target_dir(
                Path::new("/repo"),
                asked.map(PathBuf::from),
                Path::new("/repo/pony"),
            )
        };
        assert_eq!(dir(None), Path::new("/repo/target"));
        assert_eq!(dir(Some("/elsewhere")), Path::new("/elsewhere"));
        assert_eq!(dir(Some("mine")), Path::new("/repo/pony/mine"));
    }
}
