//! What carries the bytes of one direction from socket to socket: a buffer or a pipe.
//!
//! Borrowed while there is something to carry. System calls only, nothing waits.

use std::io;

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

use super::{
    buffer::{BUFFER_LEN, Buffer},
    pipe::{PIPE_LEN, Pipe},
};
use crate::config::Lane;

/// Bytes on their way.
pub(super) enum Carrier {
    Buffer(Filled),
    Pipe(Pipe),
}

/// A buffer, and which part of it is still to be written.
pub(super) struct Filled {
    buffer: Buffer,
    start: usize,
    end: usize,
}

impl Carrier {
    /// An empty one. Fails where there is no pipe to be had.
    pub(super) fn take(lane: Lane) -> io::Result<Self> {
        match lane {
            Lane::Splice => Pipe::take().map(Self::Pipe),
            Lane::Copy | Lane::Sockmap => Ok(Self::buffer()),
        }
    }

    /// An empty buffer.
    pub(super) fn buffer() -> Self {
        Self::Buffer(Filled {
            buffer: Buffer::take(),
            start: 0,
            end: 0,
        })
    }

    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Buffer(_) => Lane::Copy,
            Self::Pipe(_) => Lane::Splice,
        }
    }

    /// How many bytes it carries.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Buffer(filled) => filled.end - filled.start,
            Self::Pipe(pipe) => pipe.len(),
        }
    }

    /// How many it takes at once.
    pub(super) const fn room(&self) -> usize {
        match self {
            Self::Buffer(_) => BUFFER_LEN,
            Self::Pipe(_) => PIPE_LEN,
        }
    }

    /// Takes up to `most` bytes of what `from` has; 0 is end of file. It must be empty.
    pub(super) fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let mut drained = None;
        let filled = from.try_io(Interest::READABLE, || match self {
            Self::Buffer(filled) => {
                let len = filled.fill(from, most)?;
                if (1..most).contains(&len) {
                    // The socket is empty now. Said so, the runtime waits for the next arrival
                    // without another system call to learn the same.
                    drained = Some(len);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(len)
            }
            Self::Pipe(pipe) => pipe.fill(from, most),
        });
        drained.map_or(filled, Ok)
    }

    /// Gives `to` up to `most` bytes.
    pub(super) fn drain(&mut self, to: &TcpStream, most: usize) -> io::Result<usize> {
        to.try_io(Interest::WRITABLE, || match self {
            Self::Buffer(filled) => filled.drain(to, most),
            Self::Pipe(pipe) => pipe.drain(to, most),
        })
    }

    /// Takes no more memory than what it carries. For one that has to wait.
    pub(super) fn trim(&mut self) {
        if let Self::Buffer(filled) = self
            && let Some(smaller) = filled.buffer.trimmed(filled.start..filled.end)
        {
            *filled = Filled {
                start: 0,
                end: smaller.len(),
                buffer: smaller,
            };
        }
    }
}

impl Filled {
    fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let room = &mut self.buffer[..most.min(BUFFER_LEN)];
        let len = rustix::net::recv(from, room, rustix::net::RecvFlags::empty())?.0;
        (self.start, self.end) = (0, len);
        Ok(len)
    }

    fn drain(&mut self, to: &TcpStream, most: usize) -> io::Result<usize> {
        let end = self.end.min(self.start.saturating_add(most));
        let len = SockRef::from(to).send(&self.buffer[self.start..end])?;
        self.start += len;
        Ok(len)
    }
}
