//! A flow in the lane: its way in, its two directions, and its way out.

use std::{os::fd::BorrowedFd, sync::Arc};

use super::{
    Side, Terms,
    direction::Direction,
    error::JoinError,
    passage::{hold, insert, release},
    table::Table,
    walker::Walk,
};
use crate::sys::tcp::{TcpInfo, cookie, is_tcp};

/// A flow in the lane. Dropping it takes the sockets out, with what they still hold: that is for
/// flows that have ended or are out. [`leave`](Self::leave) is for the others.
pub struct Joined<'a> {
    slot: Arc<Slot<'a>>,
    directions: [Direction<'a>; 2],
    departure: Departure,
}

/// Keeps a flow's slot from being given to another flow, also when it has left the lane: until its
/// bytes have been counted for the last time.
pub struct Place<'a> {
    _slot: Arc<Slot<'a>>,
}

/// How far a flow has got on its way out of the lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Departure {
    /// It has not set out.
    None,
    /// What was handed over before has to get into the sockets first.
    Draining,
    /// The kernel may take the sockets out, and this walk is the next one to do it.
    Waiting { walk: Walk, walks: u32 },
}

/// Whether a flow that is leaving is out of the lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// Its sockets are like any others. What has not been read is still to be.
    Out,
    /// One of them is still in, or both are.
    NotYet,
}

impl<'a> Joined<'a> {
    pub(super) fn new(
        table: &'a Table,
        [client, target]: [BorrowedFd<'a>; 2],
        terms: [Terms; 2],
    ) -> Result<Self, JoinError> {
        for socket in [client, target] {
            if !is_tcp(socket)? {
                return Err(JoinError::NotTcp);
            }
        }
        let slot = Arc::new(Slot::take(table).ok_or(JoinError::Full)?);
        let (there, back) = (2 * slot.number, 2 * slot.number + 1);
        let directions = [
            Direction::new(table, there, [client, target], cookie(client)?, terms[0])?,
            Direction::new(table, back, [target, client], cookie(target)?, terms[1])?,
        ];
        // If it does not get in, dropping this clears up.
        let joined = Self {
            slot,
            directions,
            departure: Departure::None,
        };
        let result = joined.enter(terms);
        for direction in &joined.directions {
            // What waits goes through the program now, before anything that comes.
            release(direction.source);
        }
        result.map(|()| joined)
    }

    fn enter(&self, terms: [Terms; 2]) -> Result<(), JoinError> {
        // What comes meanwhile waits in the sockets: nothing is handed over to one that is not in
        // yet, and a way back remains.
        for direction in &self.directions {
            hold(direction.source)?;
        }
        insert(&self.directions)?;
        for (direction, terms) in self.directions.iter().zip(terms) {
            direction.begin(terms);
        }
        Ok(())
    }

    /// The number by which [`Calls`](super::Calls) name the flow.
    pub fn slot(&self) -> u32 {
        self.slot.number
    }

    /// That nobody else gets the slot.
    pub fn place(&self) -> Place<'a> {
        Place {
            _slot: Arc::clone(&self.slot),
        }
    }

    /// What [`Lanes::redirected`](super::Lanes::redirected) was when it joined, of what the client
    /// sends and of what the target sends.
    pub fn origins(&self) -> [u64; 2] {
        self.directions.each_ref().map(Direction::origin)
    }

    /// The direction of what a side sends.
    pub const fn from(&self, side: Side) -> &Direction<'a> {
        match side {
            Side::Client => &self.directions[0],
            Side::Target => &self.directions[1],
        }
    }

    /// Whether it has to leave, since the kernel has not taken one of its sockets.
    pub fn must_leave(&self) -> bool {
        self.directions.iter().any(Direction::is_outside)
    }

    /// Goes on taking the flow out of the lane, while its peers may be sending. Waits for nothing:
    /// it is to be called again, until the flow is out, and does more each time that what was
    /// handed over is [drained](Direction::is_drained) or [a walk](Self::walked) is over.
    ///
    /// From the first time on nothing is handed over any more, and there is no way back: the daemon
    /// reads and writes everything, as [`Direction`] says. A socket is let go as soon as a walk
    /// meets it when the daemon has read all that was left to it; one may be so long before the
    /// other.
    pub fn leave(&mut self) -> Left {
        match self.departure {
            Departure::None => {
                self.directions.iter().for_each(Direction::close);
                self.departure = Departure::Draining;
                self.open_doors();
            }
            Departure::Draining => self.open_doors(),
            Departure::Waiting { walk, walks } if self.slot.table.walker.is_over(walk) => {
                self.directions.iter_mut().for_each(Direction::note_out);
                self.wait_for_another(walks + 1);
            }
            Departure::Waiting { .. } => {}
        }
        if self.directions.iter().all(Direction::is_outside) {
            return Left::Out;
        }
        Left::NotYet
    }

    /// Waits until a walk is over that the flow needs to leave; for ever if it needs none.
    pub async fn walked(&self) {
        match self.departure {
            Departure::Waiting { walk, .. } => self.slot.table.walker.until_over(walk).await,
            Departure::None | Departure::Draining => std::future::pending().await,
        }
    }

    /// Nothing is handed over to a sink any more once what was is in it.
    fn open_doors(&mut self) {
        let is_drained = |direction: &Direction<'_>| direction.is_drained().unwrap_or(false);
        if self.directions.iter().all(is_drained) {
            self.directions.iter().for_each(Direction::open_door);
            self.wait_for_another(0);
        }
    }

    /// After so many walks that met a socket when something was left to the daemon that it had not
    /// read.
    fn wait_for_another(&mut self, walks: u32) {
        for direction in &mut self.directions {
            if !direction.is_outside() {
                direction.press(walks);
            }
        }
        let walk = self.slot.table.walker.ask();
        self.departure = Departure::Waiting { walk, walks };
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        {
            let mut maps = self.slot.table.maps();
            for direction in &self.directions {
                maps.remove(direction.number);
            }
        }
        // The programs run under the lock that this takes. Where `sk_verdict` still ran it is done,
        // and knows the sockets to be gone: then they may be forgotten.
        self.serialize();
        {
            let mut maps = self.slot.table.maps();
            for direction in &self.directions {
                maps.forget(direction.cookie);
            }
        }
        // And where `tcp_leave` still knew them it is done: then the slot may be given away.
        self.serialize();
    }
}

impl Joined<'_> {
    fn serialize(&self) {
        for direction in &self.directions {
            drop(TcpInfo::of(direction.source));
        }
    }
}

/// A place in the maps, which it gives back when it is dropped.
struct Slot<'a> {
    table: &'a Table,
    number: u32,
}

impl<'a> Slot<'a> {
    fn take(table: &'a Table) -> Option<Self> {
        let number = table.maps().free.pop()?;
        Some(Self { table, number })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.table.maps().free.push(self.number);
    }
}
