//! The pinned maps and programs: what `bpftool` and `pony clients` look at while the daemon runs.
//!
//! What always holds: a directory with an instance's name is complete; it is locked for as long as
//! its daemon lives, so that no other one takes it away; what a daemon that died has left behind
//! is replaced by the next one of its name. Only the owner may look inside. Nothing here is needed
//! for the guard to work.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use aya::{Ebpf, maps::Map};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    process::geteuid,
};
use tracing::warn;

use super::error::explain;
use crate::instance;

/// The end of the name of a directory that is being filled; no instance's name has it.
const UNFINISHED: &str = "~";

/// Why nothing could be pinned.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinsError {
    #[error(
        "there is no BPF file system at {0}; `mount -t bpf bpf {0}` makes one",
        path.display()
    )]
    NoFileSystem { path: PathBuf, source: io::Error },
    #[error("another pony with the server.name {name:?} is running; give this one another name")]
    Taken { name: String },
    #[error("{} belongs to somebody else; remove it", path.display())]
    Foreign { path: PathBuf },
    #[error("cannot {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot pin {name}")]
    Pin {
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The directory of this daemon. Dropping it removes it.
pub(super) struct Pins {
    path: PathBuf,
    /// Where it will be when it is complete, if it is not there yet.
    goal: Option<PathBuf>,
    /// Locked until the end, also that of a process that is killed.
    _lock: File,
}

impl Pins {
    /// Pins every map and program of the object, and others by their names, for the instance with
    /// this name, still out of sight. What cannot be pinned is said, and the guard goes on without.
    pub(super) fn prepare(name: &str, ebpf: &mut Ebpf, others: &[(&str, &Map)]) -> Option<Self> {
        let file_system = Path::new(FILE_SYSTEM);
        let pinned = ensure_mounted(file_system)
            .and_then(|()| Self::make(file_system, name))
            .and_then(|pins| pin_all(ebpf, others, &pins.path).map(|()| pins));
        tolerate(pinned)
    }

    /// Shows what is pinned under the instance's name.
    pub(super) fn publish(self) -> Option<Self> {
        tolerate(self.rename())
    }

    /// An empty directory. May wait for other daemons that make one.
    fn make(file_system: &Path, name: &str) -> Result<Self, PinsError> {
        let base = file_system.join(DIRECTORY);
        make_directory(&base)?;
        let _others_wait = lock_base(&base, File::try_lock)?;

        let goal = base.join(instance::to_file_name(name));
        clear(&goal, name)?;
        let path = base.join(instance::to_file_name(name) + UNFINISHED);
        clear(&path, name)?;
        make_directory(&path)?;
        let lock = open(&path)?;
        lock.lock().map_err(io_error("lock", &path))?;
        Ok(Self {
            path,
            goal: Some(goal),
            _lock: lock,
        })
    }

    fn rename(mut self) -> Result<Self, PinsError> {
        if let Some(goal) = self.goal.take() {
            // Nothing is there: whoever wanted to make it would have had to lock ours.
            fs::rename(&self.path, &goal).map_err(io_error("rename", &self.path))?;
            self.path = goal;
        }
        Ok(self)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Its own lock keeps others away until nothing is left.
        if let Err(error) = remove(&self.path) {
            let reason = explain(&error);
            warn!(reason, "Pinned maps of the kernel guard not removed");
        }
    }
}

/// The pins of a daemon, whether it runs or has died.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Found {
    /// Its `server.name`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) is_running: bool,
}

/// Everything that is pinned below this file system, by name.
pub(super) fn find(file_system: &Path) -> Result<Vec<Found>, PinsError> {
    let base = file_system.join(DIRECTORY);
    // Whoever makes a directory finds none of the locks with which it is looked for.
    let _makers_wait = match lock_base(&base, File::try_lock_shared) {
        Err(PinsError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        lock => lock?,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(&base).map_err(io_error("list", &base))? {
        let entry = entry.map_err(io_error("list", &base))?;
        let Some(name) = instance::from_file_name(&entry.file_name()) else {
            continue;
        };
        let path = entry.path();
        let lock = match File::open(&path) {
            // Its daemon has just ended.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            lock => lock.map_err(io_error("open", &path))?,
        };
        let is_running = matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
        found.push(Found {
            name,
            path,
            is_running,
        });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn tolerate(pins: Result<Pins, PinsError>) -> Option<Pins> {
    match pins {
        Ok(pins) => Some(pins),
        Err(error) => {
            let reason = explain(&error);
            warn!(
                reason,
                "Kernel guard goes on without pins: bpftool and pony clients will not find it"
            );
            None
        }
    }
}

fn pin_all(ebpf: &mut Ebpf, others: &[(&str, &Map)], directory: &Path) -> Result<(), PinsError> {
    let error = |name: &str, source| PinsError::Pin {
        name: name.to_owned(),
        source,
    };
    for (name, map) in ebpf.maps().chain(others.iter().copied()) {
        // The sections that hold constants; and a BPF file system takes no dots.
        if !name.starts_with('.') {
            map.pin(directory.join(name))
                .map_err(|source| error(name, source.into()))?;
        }
    }
    for (name, program) in ebpf.programs_mut() {
        program
            .pin(directory.join(name))
            .map_err(|source| error(name, source.into()))?;
    }
    Ok(())
}

fn ensure_mounted(path: &Path) -> Result<(), PinsError> {
    if statfs(path).is_ok_and(|info| info.f_type == BPF_FS_MAGIC) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", path, "bpf", flags, c"mode=0700").map_err(|source| PinsError::NoFileSystem {
        path: path.to_owned(),
        source: source.into(),
    })
}

/// A directory of our own into which nobody else may look.
fn make_directory(path: &Path) -> Result<(), PinsError> {
    match DirBuilder::new().mode(OURS_ALONE).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(io_error("make", path)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(PinsError::Foreign {
            path: path.to_owned(),
        });
    }
    if found.permissions().mode() & 0o777 == OURS_ALONE {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(OURS_ALONE))
        .map_err(io_error("close to others", path))
}

/// Keeps others out while one makes its directory, or looks for those that are there.
fn lock_base(
    base: &Path,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<File, PinsError> {
    let lock = open(base)?;
    let start = Instant::now();
    loop {
        match try_lock(&lock) {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => sleep(PAUSE),
            Err(error) => return Err(io_error("lock", base)(error.into())),
        }
    }
}

/// Removes what a daemon left behind that is no more.
fn clear(path: &Path, name: &str) -> Result<(), PinsError> {
    let left = match File::open(path) {
        Ok(left) => left,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    match left.try_lock() {
        Ok(()) => remove(path),
        Err(TryLockError::WouldBlock) => Err(PinsError::Taken {
            name: name.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", path)(error)),
    }
}

fn remove(path: &Path) -> Result<(), PinsError> {
    match fs::remove_dir_all(path) {
        // Its daemon was about to end.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(io_error("remove", path)),
    }
}

fn open(path: &Path) -> Result<File, PinsError> {
    File::open(path).map_err(io_error("open", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinsError {
    move |source| PinsError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Where a BPF file system is by custom.
pub(super) const FILE_SYSTEM: &str = "/sys/fs/bpf";
/// Below it, one directory per instance.
const DIRECTORY: &str = "packetpony";
const OURS_ALONE: u32 = 0o700;
/// From `linux/magic.h`.
const BPF_FS_MAGIC: rustix::fs::FsWord = 0xcafe_4a11;
/// How long to wait for other daemons. Each needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
