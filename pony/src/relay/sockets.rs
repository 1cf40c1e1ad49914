//! The two sockets of a flow, watched by the runtime or not.

use std::{io, mem, net, time::Duration};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::end::{End, Side};

/// The client's socket and the target's.
pub enum Sockets {
    /// There is no connection to the target yet.
    Client(TcpStream),
    /// The runtime watches for everything.
    Watched(TcpStream, TcpStream),
    /// It watches for nothing.
    Bare(net::TcpStream, net::TcpStream),
    /// They could not be watched, and are closed.
    Closed,
}

impl Sockets {
    /// For a client that was accepted.
    pub const fn new(client: TcpStream) -> Self {
        Self::Client(client)
    }

    /// The client's, as long as it is the only one.
    pub fn client(&self) -> Result<&TcpStream, End> {
        match self {
            Self::Client(client) => Ok(client),
            Self::Watched(..) | Self::Bare(..) | Self::Closed => Err(closed()),
        }
    }

    /// The target's is there too.
    pub fn connected(&mut self, target: TcpStream) {
        *self = match mem::replace(self, Self::Closed) {
            Self::Client(client) => Self::Watched(client, target),
            as_is => as_is,
        };
    }

    /// Closes what is there.
    pub fn close(&mut self) {
        *self = Self::Closed;
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
            Self::Client(_) | Self::Bare(..) | Self::Closed => Err(closed()),
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
            Self::Client(_) | Self::Watched(..) | Self::Closed => Err(closed()),
        }
    }

    /// Makes the coming close an ordinary end of both connections, whatever it was to be.
    pub(super) fn end_on_close(&self) {
        match self {
            Self::Watched(client, target) => {
                end_on_close(&SockRef::from(client));
                end_on_close(&SockRef::from(target));
            }
            Self::Bare(client, target) => {
                end_on_close(&SockRef::from(client));
                end_on_close(&SockRef::from(target));
            }
            Self::Client(_) | Self::Closed => {}
        }
    }

    /// Makes the coming close a reset of the connections.
    pub fn reset(&self) {
        match self {
            Self::Client(client) => reset(&SockRef::from(client)),
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

/// Makes the coming close an ordinary end.
pub(super) fn end_on_close(socket: &SockRef<'_>) {
    // A failure means that the connection is gone.
    drop(socket.set_linger(None));
}

/// Makes the coming close a reset, so that the peer learns that this was not an ordinary end.
pub(super) fn reset(socket: &SockRef<'_>) {
    // A failure means that the connection is gone, which is what the reset is for.
    drop(socket.set_linger(Some(Duration::ZERO)));
}
