//! The other end of the control socket: finding it, and asking.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    problem::Body,
    socket::{usual_path, usual_sockets},
};

/// Why no control socket was found, or it did not answer.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(
        "no pony with a control socket runs here: start one with `pony run`, or name the path that \
         its admin.socket has with --socket"
    )]
    None,
    #[error("there are several instances: {names}; choose one with --instance")]
    Several { names: String },
    #[error(
        "instance {instance:?} has no control socket in its usual place {path:?}: does it run? \
         Name the path that its admin.socket has with --socket"
    )]
    Unknown { instance: String, path: PathBuf },
    #[error("cannot look for control sockets: {source}{}", hint(source))]
    Folder { source: io::Error },
    #[error("no answer from the control socket {path:?}: {source}{}", hint(source))]
    NoAnswer { path: PathBuf, source: io::Error },
    #[error("the control socket {path:?} gave an answer that this pony does not understand")]
    Strange { path: PathBuf },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "; ask as root, or as the user of the daemon",
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => "; does the daemon run?",
        _ => "",
    }
}

/// An answer.
#[derive(Debug, Eq, PartialEq)]
pub struct Asked {
    /// The status of HTTP.
    pub status: u16,
    pub body: String,
}

impl Asked {
    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        self.status == 200
    }

    /// What was wrong, for people.
    pub fn problem(&self) -> String {
        match serde_json::from_str::<Body>(&self.body) {
            Ok(body) => body.error.to_string(),
            Err(_) => self.body.trim_end().to_owned(),
        }
    }
}

/// The control socket of an instance, or of the only one that runs here.
pub fn find(instance: Option<&str>) -> Result<PathBuf, FindError> {
    if let Some(instance) = instance {
        let path = usual_path(instance);
        let instance = instance.to_owned();
        return match path.try_exists() {
            Ok(true) => Ok(path),
            Ok(false) => Err(FindError::Unknown { instance, path }),
            Err(source) => Err(FindError::Folder { source }),
        };
    }
    let mut sockets = usual_sockets().map_err(|source| FindError::Folder { source })?;
    // A daemon that was killed leaves its socket behind.
    sockets.retain(|(_, path)| match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
    });
    let names: Vec<_> = sockets.iter().map(|(name, _)| name.clone()).collect();
    match (sockets.pop(), names.len()) {
        (None, _) => Err(FindError::None),
        (Some((_, path)), 1) => Ok(path),
        _ => Err(FindError::Several {
            names: names.join(", "),
        }),
    }
}

/// Asks at a control socket. The path is encoded already, see [`in_path`].
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<Asked, FindError> {
    let no_answer = |source| FindError::NoAnswer {
        path: socket.to_owned(),
        source,
    };
    let answer = exchange(socket, method, path, body).map_err(no_answer)?;
    parse(&answer).ok_or_else(|| FindError::Strange {
        path: socket.to_owned(),
    })
}

fn exchange(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: pony\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Who is turned away may be told before all of it is taken.
    let written = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let read = stream.take(MOST_ANSWER).read_to_end(&mut answer);
    if answer.is_empty() {
        written.and(read)?;
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Asked> {
    let answer = str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Asked {
        status,
        body: body.to_owned(),
    })
}

/// A text as a part of a path or query.
pub fn in_path(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the longest list of bans.
const MOST_ANSWER: u64 = 1 << 30;
