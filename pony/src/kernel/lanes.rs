//! The lane: flows whose bytes the kernel moves from socket to socket, without the daemon.
//!
//! Owns the kernel program for that with its maps, and how a flow gets in and out. Does not decide
//! which flows are in it, does not read or write their bytes, and does not know what a client may.
//!
//! A flow in the lane has two directions. In each, the program hands bytes over as long as the
//! daemon's orders allow, or leaves them to the daemon, which then reads and writes them as it does
//! without a lane. Which of them it does changes in mid-stream and at any time, by the rule in
//! `pony_common::lane`.
//!
//! What always holds:
//!
//! - No byte is lost, doubled or moved out of its order. If one were lost all the same,
//!   [`Direction::is_broken`] would say so, and the flow have to be reset.
//! - The kernel holds no more of a flow than its sockets' buffers and the budget.
//! - The sockets stay the daemon's. When it drops a [`Joined`], or dies, the program is off them.
//! - Nothing here waits but for the lock of a socket, for as long as the kernel is at work on it.
//!
//! A flow takes about 400 bytes of the maps, if there is one or not, and in the kernel some 2 KiB
//! more while it is in the lane.

mod calls;
mod direction;
mod error;
mod joined;
mod load;
mod passage;
mod self_test;
mod table;
mod types;
mod walker;

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Arc, atomic::Ordering::Acquire},
};

use pony_common::layout::lane::SLIPS;

pub use self::{
    calls::{Call, Calls},
    direction::{Direction, Progress},
    error::{JoinError, LanesError},
    joined::{Joined, Left, Place},
};
use self::{load::load, table::Table};

/// The loaded program, with room for so many flows. Dropping it unloads it.
pub struct Lanes {
    table: Arc<Table>,
    calls: Option<Calls>,
    /// What happened in the self-test, by its value.
    tested: [u64; SLIPS as usize],
}

/// Where the bytes of a direction come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Client,
    Target,
}

/// What a direction may do, counted from where it joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// How many bytes may be handed over before the daemon has to allow more.
    pub credit: u64,
    /// After how many bytes handed over the daemon wants to be called. 0: it does not.
    pub call_at: u64,
    /// How many bytes may be on their way to the peer of the other socket, as far as its buffer has
    /// room for them.
    pub budget: u64,
}

impl Terms {
    /// So many bytes that no flow gets to their end.
    pub const UNLIMITED: u64 = u64::MAX / 4;
}

impl Lanes {
    /// Loads the program, with room for so many flows at once.
    pub fn load(max_flows: u32) -> Result<Self, LanesError> {
        let (table, ring) = load(max_flows)?;
        let table = Arc::new(table);
        let calls = Calls::new(Arc::clone(&table), ring);
        Ok(Self {
            table,
            calls: Some(calls),
            tested: [0; SLIPS as usize],
        })
    }

    /// Tries the cases that kernels were seen to get wrong, on loopback. Blocks, for less than a
    /// tenth of a second as a rule, and twenty seconds at most where it fails, or
    /// the machine is busy with others: not to be called from a task. A program that fails this must not be used.
    pub fn self_test(&mut self) -> Result<(), LanesError> {
        self.tested = self_test::run(self)?;
        Ok(())
    }

    /// The calls of the program. Only the first who asks gets them.
    pub fn take_calls(&mut self) -> Option<Calls> {
        self.calls.take()
    }

    /// Puts a flow into the lane, on terms for what the client sends and for what the target
    /// sends. From here on, nobody else reads or writes the sockets but as [`Direction`] says, and
    /// before, nothing that was read from one is still to be written to the other.
    pub fn join<'a>(
        &'a self,
        [client, target]: [BorrowedFd<'a>; 2],
        terms: [Terms; 2],
    ) -> Result<Joined<'a>, JoinError> {
        Joined::new(&self.table, [client, target], terms)
    }

    /// How often each [`Slip`](pony_common::layout::lane::Slip) happened to flows, by its value.
    pub fn slips(&self) -> io::Result<[u64; SLIPS as usize]> {
        let mut slips = self.table.slips()?;
        for (slips, tested) in slips.iter_mut().zip(self.tested) {
            *slips = slips.wrapping_sub(tested);
        }
        Ok(slips)
    }

    /// The kernel's own count of bytes of the flow in this slot that it handed over, of what a side
    /// sends. It goes on from flow to flow, and wraps around.
    pub fn redirected(&self, slot: u32, side: Side) -> u64 {
        let elements = self.table.moved.elements();
        let moved = elements.get(2 * slot as usize + side as usize);
        moved.map_or(0, |moved| moved.redirected.load(Acquire))
    }

    /// How many more flows there is room for.
    pub fn room(&self) -> usize {
        self.table.maps().free.len()
    }
}
