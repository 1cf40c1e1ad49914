//! Reading the header of a front end's connection, in however many pieces it comes.
//!
//! What holds: nothing is taken from the socket that is not part of a header, so what follows is still
//! there for whoever relays it; what has not begun like a header stays there too, for the client that
//! may be meant.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream, select, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{super::service::Service, FrontEnds, result_of_error};
use crate::{
    observe::{HeaderResult, Recorder},
    proxy_header::{self, Header, HeaderError, Progress, Transport, has_begun},
    target::DestinationError,
};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error("the PROXY header did not come in time")]
    Timeout,
    #[error("the connection ended before its PROXY header")]
    Closed,
}

impl Problem {
    /// Whether it may be that a client without a header was meant.
    pub(super) const fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Header(HeaderError::Missing) | Self::Timeout | Self::Closed
        )
    }

    pub(super) const fn result(&self) -> HeaderResult {
        match self {
            Self::Header(error) => result_of_error(*error),
            Self::Destination(_) => HeaderResult::Destination,
            Self::Timeout => HeaderResult::Timeout,
            Self::Closed => HeaderResult::Closed,
        }
    }
}

/// A header that is being received.
///
/// What begins like nothing else is taken out of the socket as it comes: the longest headers do not fit
/// into every receive buffer, and nobody but a front end is meant by it any more.
#[derive(Default)]
pub(super) struct Reading {
    /// What has come, and room for more; no more than twice as much.
    buffer: Vec<u8>,
    received: usize,
    /// How much of that is not in the socket any more.
    taken: usize,
}

impl Reading {
    /// Waits for the header, as one of the connections of the front end's address. `None` if there is
    /// no place for it, or the daemon ends.
    pub(super) async fn wait(
        &mut self,
        service: &Service,
        front_ends: &FrontEnds,
        socket: &TcpStream,
        front_end: SocketAddr,
        cut: &CancellationToken,
    ) -> Option<Result<Header, Problem>> {
        let address = front_end.ip();
        let place = match service.policy.wait(address) {
            Ok(place) => place,
            Err(reason) => {
                service.recorder.refused(address, reason);
                return None;
            }
        };
        if let Some(reason) = place.violation() {
            service.recorder.violated(address, reason);
        }
        let _awaited = Awaited::new(&service.recorder);
        select! {
            biased;
            () = cut.cancelled() => None,
            read = timeout(front_ends.rules.timeout, self.finish(socket)) => {
                Some(read.unwrap_or(Err(Problem::Timeout)))
            }
        }
    }

    async fn finish(&mut self, socket: &TcpStream) -> Result<Header, Problem> {
        loop {
            let ready = socket.ready(Interest::READABLE).await;
            let ready = ready.map_err(|_broken| Problem::Closed)?;
            let mut read = Ok(None);
            // Whatever comes after the look makes it ready again.
            let looked = socket.try_io(Interest::READABLE, || {
                read = self.attempt(socket.as_fd());
                match read {
                    Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match read? {
                Some(header) => return Ok(header),
                None if looked.is_err() && ready.is_read_closed() => return Err(Problem::Closed),
                None => {}
            }
        }
    }

    /// Looks at what has come, and answers the header if that is all there.
    pub(super) fn attempt(&mut self, socket: BorrowedFd<'_>) -> Result<Option<Header>, Problem> {
        if self.buffer.is_empty() {
            self.buffer.resize(USUAL_LEN, 0);
        }
        loop {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            self.received = match recv(socket, &mut self.buffer[self.taken..], flags) {
                Ok((0, _)) => return Err(Problem::Closed),
                Ok((len, _)) => self.taken + len,
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(_broken) => return Err(Problem::Closed),
            };
            match proxy_header::decode(&self.buffer[..self.received], Transport::Stream)? {
                Progress::Complete { header, len } => {
                    self.take(socket, len)?;
                    return Ok(Some(header));
                }
                Progress::More(wanted) => {
                    if self.has_begun() {
                        self.take(socket, self.received)?;
                    }
                    if self.received < self.buffer.len() {
                        return Ok(None);
                    }
                    self.buffer.resize(wanted.min(2 * self.received), 0);
                }
            }
        }
    }

    /// Takes the first `len` bytes out of the socket, as far as they are still there.
    fn take(&mut self, socket: BorrowedFd<'_>, len: usize) -> Result<(), Problem> {
        let rest = &mut self.buffer[self.taken..len];
        // It was there a moment ago, and nobody else reads.
        match recv(socket, &mut *rest, RecvFlags::DONTWAIT) {
            Ok((taken, _)) if taken == rest.len() => self.taken = len,
            _ => return Err(Problem::Closed),
        }
        Ok(())
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.received == 0
    }

    /// Whether what has come can be nothing but a header.
    pub(super) fn has_begun(&self) -> bool {
        has_begun(&self.buffer[..self.received])
    }
}

/// Counts a connection as waiting.
struct Awaited<'a>(&'a Recorder);

impl<'a> Awaited<'a> {
    fn new(recorder: &'a Recorder) -> Self {
        recorder.header_awaited(true);
        Self(recorder)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.header_awaited(false);
    }
}

/// Longer than nearly all headers. Version 2 may have 64 KB.
const USUAL_LEN: usize = 256;

#[cfg(test)]
mod tests;
