//! A flow on loopback whose ends and whose daemon are all played by one thread.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use pony_common::time::Nanos;

use super::{Joined, Lanes, Side, Terms};
use crate::{
    kernel::lanes::Direction,
    sys::{self, tcp::unread},
};

/// The four sockets. None of them blocks.
pub(super) struct Trial {
    pub(super) client: TcpStream,
    /// The daemon's socket for the client.
    pub(super) near: TcpStream,
    /// The daemon's socket for the target.
    pub(super) far: TcpStream,
    pub(super) target: TcpStream,
    patience: Patience,
}

/// How long it may take. What counts is the time that this thread is at work, as a machine that is
/// busy with others is no kernel that fails.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    work: Nanos,
    deadline: Instant,
}

impl Patience {
    pub(super) fn new(work: Nanos, longest: Duration) -> Self {
        Self {
            work: Nanos(sys::thread_time().0.saturating_add(work.0)),
            deadline: Instant::now() + longest,
        }
    }

    fn is_over(self) -> bool {
        sys::thread_time() >= self.work || Instant::now() >= self.deadline
    }
}

impl Trial {
    pub(super) fn new(patience: Patience) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let connect = || {
            let connected = TcpStream::connect_timeout(&listener.local_addr()?, REACHABLE)?;
            let accepted = listener.accept()?.0;
            for socket in [&connected, &accepted] {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
            }
            io::Result::Ok((connected, accepted))
        };
        let (client, near) = connect()?;
        let (far, target) = connect()?;
        Ok(Self {
            client,
            near,
            far,
            target,
            patience,
        })
    }

    pub(super) fn join<'a>(&'a self, lanes: &'a Lanes, terms: Terms) -> io::Result<Joined<'a>> {
        let sockets = [self.near.as_fd(), self.far.as_fd()];
        lanes.join(sockets, [terms; 2]).map_err(io::Error::other)
    }

    /// Fails when it has taken too long.
    pub(super) fn in_time(&self) -> io::Result<()> {
        if self.patience.is_over() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    pub(super) fn until(&self, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        let mut turns = 0_u32;
        while !is_so()? {
            self.in_time()?;
            turns = turns.saturating_add(1);
            if turns < TURNS {
                thread::yield_now();
            } else {
                // The kernel's workers have no turn while all processors are busy, and this thread
                // would spend on looking what it may spend on work.
                thread::sleep(NAP * turns.div_ceil(TURNS).min(LONGEST_NAP));
            }
        }
        Ok(())
    }

    /// Waits until so many bytes can be read.
    pub(super) fn arrived(&self, socket: &TcpStream, len: usize) -> io::Result<()> {
        self.until(|| Ok(unread(socket.as_fd())? >= len as u64))
    }

    pub(super) fn send(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        self.until(|| {
            rest = &rest[some(|| (&*socket).write(rest))?..];
            Ok(rest.is_empty())
        })
    }

    /// Sends from the client in pieces that are small beside its window. Where that has no room for
    /// some more as large as the largest so far, nobody may leave the lane: and that is right.
    pub(super) fn send_in_pieces(&self, bytes: &[u8]) -> io::Result<()> {
        let mut pieces = bytes.chunks(PIECE);
        pieces.try_for_each(|piece| self.send(&self.client, piece))
    }

    /// Sends what can be sent from the client at once.
    pub(super) fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        some(|| (&self.client).write(bytes))
    }

    /// Reads so many bytes, which must be these.
    pub(super) fn expect(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut read = 0;
        self.until(|| {
            read += matching(socket, &bytes[read..])?;
            Ok(read == bytes.len())
        })
    }

    pub(super) fn expect_end(&self, socket: &TcpStream) -> io::Result<()> {
        self.until(|| match (&*socket).read(&mut [0]) {
            Ok(0) => Ok(true),
            Ok(_) => Err(io::Error::other("more bytes came than were sent")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Sends from the client to the target, and does the daemon's part.
    pub(super) fn carry(&self, joined: &Joined<'_>, bytes: &[u8]) -> io::Result<()> {
        self.carry_on(joined, bytes, 0)
    }

    /// The same where the client has sent some already.
    pub(super) fn carry_on(
        &self,
        joined: &Joined<'_>,
        bytes: &[u8],
        mut sent: usize,
    ) -> io::Result<()> {
        let mut read = 0;
        self.until(|| {
            sent += self.send_some(&bytes[sent..])?;
            self.relay(joined.from(Side::Client))?;
            read += matching(&self.target, &bytes[read..])?;
            Ok(read == bytes.len())
        })
    }

    /// Copies to the target what the client has sent, of which some may be there already.
    pub(super) fn copy(&self, bytes: &[u8]) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut read = 0;
        self.until(|| {
            let len = some(|| (&self.near).read(&mut buffer))?;
            self.send(&self.far, &buffer[..len])?;
            read += matching(&self.target, &bytes[read..])?;
            Ok(read == bytes.len())
        })
    }

    /// Reads what was left to the daemon, if there is some, and writes it.
    pub(super) fn relay(&self, direction: &Direction<'_>) -> io::Result<usize> {
        let (source, sink) = match direction.side() {
            Side::Client => (&self.near, &self.far),
            Side::Target => (&self.far, &self.near),
        };
        let mut buffer = vec![0; BUFFER];
        let len = some(|| (&*source).read(&mut buffer))?;
        if len > 0 {
            direction.note_taken(len as u64);
            self.until(|| direction.is_drained())?;
            self.send(sink, &buffer[..len])?;
            direction.note_handed(len as u64);
            direction.promote();
        }
        Ok(len)
    }
}

/// How many bytes of a socket that does not block are these; fails if they are others.
fn matching(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut buffer = vec![0; bytes.len().min(BUFFER)];
    let len = some(|| (&*socket).read(&mut buffer))?;
    if buffer[..len] == bytes[..len] {
        return Ok(len);
    }
    Err(io::Error::other("other bytes came than were sent"))
}

/// As many as there are now, which may be none.
fn some(act: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    match act() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// Bytes of which no two stretches are alike.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_ne_bytes()
    });
    bytes.flatten().take(len).collect()
}

const BUFFER: usize = 65_536;
/// How often to look again at once.
const TURNS: u32 = 1_000;
/// How long to wait after that, at first.
const NAP: Duration = Duration::from_micros(100);
/// So many times that in the end.
const LONGEST_NAP: u32 = 20;
const PIECE: usize = 5_000;
/// Within it, who can be reached on loopback is reached.
const REACHABLE: Duration = Duration::from_secs(2);
