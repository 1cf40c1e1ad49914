//! The two sockets of a flow, watched by the runtime or not.

use std::{io, mem, net, time::Duration};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::end::{End, Side};

/// The client's socket and the target's.
pub(super) enum Sockets {
    /// The runtime watches for everything.
    Watched(TcpStream, TcpStream),
    /// It watches for nothing.
    Bare(net::TcpStream, net::TcpStream),
    /// They could not be watched, and are closed.
    Closed,
}

impl Sockets {
    pub(super) const fn new(client: TcpStream, target: TcpStream) -> Self {
        Self::Watched(client, target)
    }

    /// Has the runtime watch them.
    pub(super) fn watched(&mut self) -> Result<(&TcpStream, &TcpStream), End> {
        *self = match mem::replace(self, Self::Closed) {
            Self::Bare(client, target) => {
                let client = TcpStream::from_std(client);
                let client = client.map_err(|error| End::Broken(Side::Client, error))?;
                let target = TcpStream::from_std(target);
                let target = target.map_err(|error| End::Broken(Side::Target, error))?;
                Self::Watched(client, target)
            }
            as_is => as_is,
        };
        match self {
            Self::Watched(client, target) => Ok((client, target)),
            Self::Bare(..) | Self::Closed => Err(closed()),
        }
    }

    /// Has the runtime forget them.
    pub(super) fn bare(&mut self) -> Result<(&net::TcpStream, &net::TcpStream), End> {
        *self = match mem::replace(self, Self::Closed) {
            Self::Watched(client, target) => {
                let client = client.into_std();
                let client = client.map_err(|error| End::Broken(Side::Client, error))?;
                let target = target.into_std();
                let target = target.map_err(|error| End::Broken(Side::Target, error))?;
                Self::Bare(client, target)
            }
            as_is => as_is,
        };
        match self {
            Self::Bare(client, target) => Ok((client, target)),
            Self::Watched(..) | Self::Closed => Err(closed()),
        }
    }

    /// Makes the coming close an ordinary end again, where [`abort_on_close`] made it a reset.
    pub(super) fn end_on_close(&self) {
        if let Self::Bare(client, target) = self {
            for socket in [client, target] {
                // A failure means that the connection is gone.
                drop(SockRef::from(socket).set_linger(None));
            }
        }
    }

    /// Makes the coming close a reset of both connections.
    pub(super) fn reset(&self) {
        match self {
            Self::Watched(client, target) => {
                reset(&SockRef::from(client));
                reset(&SockRef::from(target));
            }
            Self::Bare(client, target) => {
                reset(&SockRef::from(client));
                reset(&SockRef::from(target));
            }
            Self::Closed => {}
        }
    }
}

fn closed() -> End {
    End::Broken(Side::Client, io::ErrorKind::NotConnected.into())
}

/// Has the kernel reset the connection should the daemon be killed while the kernel moves its bytes.
///
/// Those on their way are lost then, and what the peer sends would wait for a reader until the
/// kernel forgets the socket after a minute: neither may look like an ordinary end.
pub(super) fn abort_on_close(socket: &net::TcpStream) {
    reset(&SockRef::from(socket));
}

/// Makes the coming close a reset, so that the peer learns that this was not an ordinary end.
pub fn reset(socket: &SockRef<'_>) {
    // A failure means that the connection is gone, which is what the reset is for.
    drop(socket.set_linger(Some(Duration::ZERO)));
}
