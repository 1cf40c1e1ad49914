//! A target that sends back all that it gets, without looking at it: through pipes, so that no byte
//! leaves the kernel. It costs as little as a target can.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    event::epoll::EventFlags,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

use crate::door::{Call, Door};

/// One thread's part of the connections.
pub(crate) struct Mirror {
    door: Door,
    flows: HashMap<u64, Flow>,
}

struct Flow {
    stream: TcpStream,
    from: OwnedFd,
    into: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
    has_ended: bool,
}

impl Mirror {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        // It is not said again as long as nothing changes: see `Flow::reflect`.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        Ok(Self {
            door: Door::new(listener, interest)?,
            flows: HashMap::new(),
        })
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        loop {
            match self.door.next()? {
                Call::New(key, stream) => {
                    self.flows.insert(key, Flow::new(stream)?);
                }
                Call::Known(key) => self.reflect(key),
            }
        }
    }

    /// A connection that ends or breaks is closed.
    fn reflect(&mut self, key: u64) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        if flow.reflect().is_ok_and(|is_open| is_open) {
            return;
        }
        self.flows.remove(&key);
    }
}

impl Flow {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let (from, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&into, PIPE_LEN)?;
        Ok(Self {
            stream,
            from,
            into,
            held: 0,
            has_ended: false,
        })
    }

    /// Goes on until there is nothing to read, or no room to write. False when all is sent back.
    fn reflect(&mut self) -> io::Result<bool> {
        loop {
            if self.held == 0 && !self.has_ended {
                match pull(&self.stream, &self.into, PIPE_LEN)? {
                    Some(0) => self.has_ended = true,
                    Some(count) => self.held = count,
                    None => return Ok(true),
                }
            }
            if self.held == 0 {
                self.stream.shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            match pull(&self.from, &self.stream, self.held)? {
                Some(count) => self.held -= count,
                None => return Ok(true),
            }
        }
    }
}

/// Moves up to `len` bytes; `None` if it would have to wait.
fn pull(from: impl AsFd, into: impl AsFd, len: usize) -> io::Result<Option<usize>> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    match splice(from, None, into, None, len, flags) {
        Ok(count) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const PIPE_LEN: usize = 256 * 1024;
