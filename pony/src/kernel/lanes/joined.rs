//! A flow in the lane: its way in, its two directions, and its way out.

use std::os::fd::BorrowedFd;

use super::{
    Side, Terms,
    direction::Direction,
    error::JoinError,
    passage::{Withdrawal, hold, insert, release, withdraw},
    table::Table,
};
use crate::sys::tcp::{TcpInfo, cookie, is_tcp};

/// A flow in the lane. Dropping it takes the sockets out, with what they still hold: that is for
/// flows that have ended. [`leave`](Self::leave) is for the others.
pub struct Joined<'a> {
    slot: Slot<'a>,
    directions: [Direction<'a>; 2],
}

/// How a flow left the lane.
pub enum Left<'a> {
    /// Its sockets are like any others. What has not been read is still to be.
    Out,
    /// It is still in, as before; it may be tried again.
    Busy(Joined<'a>),
    /// Bytes are missing: whoever has the flow must reset both connections.
    Lost,
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
        let slot = Slot::take(table).ok_or(JoinError::Full)?;
        let (there, back) = (2 * slot.number, 2 * slot.number + 1);
        let directions = [
            Direction::new(table, there, [client, target], cookie(client)?, terms[0])?,
            Direction::new(table, back, [target, client], cookie(target)?, terms[1])?,
        ];
        // If it does not get in, dropping this clears up.
        let joined = Self { slot, directions };
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
    pub const fn slot(&self) -> u32 {
        self.slot.number
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

    /// Takes the flow out of the lane, while its peers may be sending.
    ///
    /// Succeeds if the daemon has read everything that was left to it, what was handed over gets
    /// into the sockets at once, and both connections are open in both directions. What it has
    /// read and not yet written it writes as usual.
    ///
    /// Where bytes are handed over that is so at any time. Where they are left to the daemon and
    /// never pause, it is so just after the daemon has read everything in one go while they were
    /// [held](Direction::hold).
    pub fn leave(self) -> Left<'a> {
        match withdraw(&self.directions) {
            Withdrawal::Out => Left::Out,
            Withdrawal::Busy => Left::Busy(self),
            Withdrawal::Lost => Left::Lost,
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        {
            let mut maps = self.slot.table.maps();
            for direction in &self.directions {
                maps.remove(direction.number);
                maps.let_go(direction.number);
            }
        }
        for direction in &self.directions {
            // The program runs under the lock that this takes: where it still ran it is done, and
            // knows the sockets to be gone. Then they may be forgotten, and the slot be given away.
            drop(TcpInfo::of(direction.source));
        }
        let mut maps = self.slot.table.maps();
        for direction in &self.directions {
            maps.forget(direction.cookie);
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
