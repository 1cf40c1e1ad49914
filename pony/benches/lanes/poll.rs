//! Waiting for one of many sockets to have something to read.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event, EventData, EventFlags},
    },
};

pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
        })
    }

    /// A socket that is closed need not be removed.
    pub(crate) fn add(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        self.add_for(socket, number, EventFlags::IN)
    }

    pub(crate) fn add_for(
        &self,
        socket: impl AsFd,
        number: usize,
        interest: EventFlags,
    ) -> io::Result<()> {
        let data = EventData::new_u64(number as u64);
        Ok(epoll::add(&self.epoll, socket, data, interest)?)
    }

    pub(crate) fn change(
        &self,
        socket: impl AsFd,
        number: usize,
        interest: EventFlags,
    ) -> io::Result<()> {
        let data = EventData::new_u64(number as u64);
        Ok(epoll::modify(&self.epoll, socket, data, interest)?)
    }

    pub(crate) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// How many sockets have something for us, as a rule to read; an error if there is none for so long.
    pub(crate) fn wait(&mut self, patience: Duration) -> io::Result<usize> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        self.events.clear();
        epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        )?;
        if self.events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(self.events.len())
    }

    /// The number of one of these sockets.
    pub(crate) fn ready(&self, at: usize) -> usize {
        usize::try_from(self.events[at].data.u64()).expect("it was a usize")
    }

    /// What one of these sockets has for us.
    pub(crate) fn flags(&self, at: usize) -> EventFlags {
        self.events[at].flags
    }
}
