//! A target that sends back all that it gets, without looking at it: through pipes, so that no byte
//! leaves the kernel. It costs as little as a target can.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    net::{SocketFlags, accept_with},
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// One thread's part of the connections.
pub(crate) struct Mirror {
    epoll: OwnedFd,
    listener: TcpListener,
    flows: HashMap<u64, Flow>,
    next: u64,
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
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            flows: HashMap::new(),
            next: LISTENER + 1,
        })
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    key => self.reflect(key),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = TcpStream::from(accept_with(&self.listener, flags)?);
        let (from, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&into, PIPE_LEN)?;
        // It is not said again as long as nothing changes: see `Flow::reflect`.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(
            &self.epoll,
            &stream,
            EventData::new_u64(self.next),
            interest,
        )?;
        let flow = Flow {
            stream,
            from,
            into,
            held: 0,
            has_ended: false,
        };
        self.flows.insert(self.next, flow);
        self.next += 1;
        Ok(())
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

const LISTENER: u64 = 0;
const PIPE_LEN: usize = 256 * 1024;
