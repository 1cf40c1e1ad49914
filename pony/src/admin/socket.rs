//! The control socket: made, kept to its owner, and removed.
//!
//! What always holds: nobody but root and the daemon's own user is answered, whatever becomes of
//! the file's mode; a daemon that lives keeps its socket, and one that died does not; nothing but a
//! socket is ever removed.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, fchmod},
    process::geteuid,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tracing::{info, warn};

use crate::{http::Accept, instance, observe::Throttle};

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "admin.socket: another PacketPony answers at {path:?}: stop it, or give each a socket of \
         its own"
    )]
    Taken { path: PathBuf },
    #[error("admin.socket: {path:?} is there and is no socket: remove it, or write another path")]
    NoSocket { path: PathBuf },
    #[error("admin.socket: cannot make {path:?}: {source}: {}", remedy(source))]
    Io { path: PathBuf, source: io::Error },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            "write a path in a folder that is there, or off"
        }
        ErrorKind::InvalidInput => "write a shorter path, or off",
        _ => "write a path in a folder that this user may write to, or off",
    }
}

/// The control socket. Dropping it removes it.
pub struct Control {
    socket: UnixListener,
    strangers: Throttle,
    _file: SocketFile,
}

/// The file of a socket of ours. Dropping it removes it.
pub(super) struct SocketFile {
    path: PathBuf,
    /// What it is known by, so that nobody else's is removed.
    id: (u64, u64),
}

impl Control {
    /// Makes it at this path. Needs a tokio runtime.
    pub(super) fn bind(path: &Path) -> Result<Self, SocketError> {
        let (socket, file) = make(path)?;
        let socket = UnixListener::from_std(socket).map_err(|source| SocketError::Io {
            path: path.to_owned(),
            source,
        })?;
        info!(path = %path.display(), "Control socket ready");
        Ok(Self {
            socket,
            strangers: Throttle::new(),
            _file: file,
        })
    }

    /// Makes it where `pony ban` looks for that of an instance. If that cannot be, it is said, and
    /// the proxy goes on without.
    pub(super) fn bind_usual(instance: &str) -> Option<Self> {
        let path = usual_path(instance);
        let folder = Path::new(RUNTIME_FOLDER);
        let made = make_folder(folder).map_err(|source| SocketError::Io {
            path: folder.to_owned(),
            source,
        });
        match made.and_then(|()| Self::bind(&path)) {
            Ok(control) => Some(control),
            Err(error) => {
                let reason = error.to_string();
                warn!(reason, "No control socket: nobody can be banned by hand");
                None
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.id);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "Control socket not removed");
        }
    }
}

impl Accept for Control {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (client, _) = self.socket.accept().await?;
            if is_known(&client) {
                return Ok(client);
            }
            if let Some(suppressed) = self.strangers.allow(Instant::now()) {
                warn!(suppressed, "Control socket: another user was turned away");
            }
            turn_away(client);
        }
    }
}

/// Makes a socket at this path, and keeps it to its owner.
pub(super) fn make(path: &Path) -> Result<(StdListener, SocketFile), SocketError> {
    let io_error = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    // Two that start at once must not take each other's socket for that of a dead one.
    let _others_wait = lock(folder);
    clear(path)?;
    let socket = listen(path).map_err(io_error)?;
    let metadata = fs::symlink_metadata(path).map_err(io_error)?;
    let file = SocketFile {
        path: path.to_owned(),
        id: (metadata.dev(), metadata.ino()),
    };
    Ok((socket, file))
}

/// Where the control socket of an instance is, unless it is configured.
pub(super) fn usual_path(name: &str) -> PathBuf {
    Path::new(RUNTIME_FOLDER).join(instance::to_file_name(name) + EXTENSION)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Locks a folder for as long as the answer lives. Anybody may hold such a lock, so it is not waited
/// for for long.
fn lock(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    let deadline = Instant::now() + LOCK_TIME;
    while file.try_lock().is_err() {
        if Instant::now() > deadline {
            return None;
        }
        sleep(LOCK_PAUSE);
    }
    Some(file)
}

/// Removes the socket of a daemon that died.
fn clear(path: &Path) -> Result<(), SocketError> {
    let io_error = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    let path = || path.to_owned();
    match fs::symlink_metadata(path()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NoSocket { path: path() });
        }
        Ok(_) => {}
    }
    match StdStream::connect(path()) {
        Ok(_) => Err(SocketError::Taken { path: path() }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path()).map_err(io_error)
        }
        Err(error) => Err(io_error(error)),
    }
}

fn listen(path: &Path) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // The file gets the mode that the socket has, so that there is no moment with another one.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// Whether it is root or the daemon's own user.
fn is_known(client: &UnixStream) -> bool {
    let own = geteuid().as_raw();
    // A credential that cannot be read is nobody's.
    client
        .peer_cred()
        .is_ok_and(|peer| [0, own].contains(&peer.uid()))
}

/// Says why nothing more is said. Whoever does not take it at once has not asked yet, and sees the
/// end.
fn turn_away(client: UnixStream) {
    if let Ok(mut client) = client.into_std() {
        drop(client.write_all(STRANGER));
    }
}

const RUNTIME_FOLDER: &str = "/run/packetpony";
/// The end of a socket's name.
const EXTENSION: &str = ".sock";
/// Operators are few.
const BACKLOG: i32 = 64;
const LOCK_TIME: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
const STRANGER: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    content-type: application/json\r\n\
    connection: close\r\n\
    \r\n\
    {\"error\":{\"problem\":\"only root and the user of the daemon may ask\",\
    \"remedy\":\"ask as one of them\"}}\n";

/// The sockets in the usual place, with the names of their instances.
pub(super) fn usual_sockets() -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(RUNTIME_FOLDER) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(EXTENSION));
        if let Some(name) = name.and_then(|name| instance::from_file_name(name.as_ref())) {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
