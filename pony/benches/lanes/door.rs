//! A listening socket and all that has come through it, waited for together.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, Event, EventData, EventFlags},
    net::{SocketFlags, accept_with},
};

pub(crate) struct Door {
    epoll: OwnedFd,
    listener: TcpListener,
    events: Vec<Event>,
    /// What is waited for of a connection.
    interest: EventFlags,
    next: u64,
}

/// What there is to do.
pub(crate) enum Call {
    /// With a key of its own.
    New(u64, TcpStream),
    /// For the connection with this key.
    Known(u64),
}

impl Door {
    pub(crate) fn new(listener: TcpListener, interest: EventFlags) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            events: Vec::with_capacity(256),
            interest,
            next: LISTENER + 1,
        })
    }

    /// Waits for the next thing to do. A connection that is closed need not be taken out.
    pub(crate) fn next(&mut self) -> io::Result<Call> {
        loop {
            match self.events.pop().map(|event| event.data.u64()) {
                Some(LISTENER) => return self.accept(),
                Some(key) => return Ok(Call::Known(key)),
                None => {
                    epoll::wait(&self.epoll, spare_capacity(&mut self.events), None)?;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<Call> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = TcpStream::from(accept_with(&self.listener, flags)?);
        let key = self.next;
        self.next += 1;
        epoll::add(&self.epoll, &stream, EventData::new_u64(key), self.interest)?;
        Ok(Call::New(key, stream))
    }
}

const LISTENER: u64 = 0;
