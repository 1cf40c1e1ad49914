//! The maps of the loaded programs, and which slots of them are free.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use aya::maps::{HashMap, MapData, MapError, PerCpuArray, SockMap};
use pony_common::layout::lane::{BROKEN, Moved, OUT, Orders, SLIPS, never};

use super::{error::JoinError, walker::Walker};
use crate::sys::View;

/// What all flows in the lane share.
pub(super) struct Table {
    pub(super) maps: Mutex<Maps>,
    pub(super) moved: View<Moved<AtomicU64>>,
    pub(super) orders: View<Orders<AtomicU64>>,
    pub(super) next: View<AtomicU64>,
    pub(super) leave_at: View<AtomicU64>,
    pub(super) slipped: PerCpuArray<MapData, u64>,
    /// Holds the programs, and their hold on the map.
    pub(super) walker: Walker,
}

impl Table {
    /// The maps, for as short as a few system calls.
    pub(super) fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done with the bytes of a direction.
    pub(super) fn moved(&self, direction: u32) -> &Moved<AtomicU64> {
        &self.moved.elements()[direction as usize]
    }

    /// What is wanted of a direction.
    pub(super) fn orders(&self, direction: u32) -> &Orders<AtomicU64> {
        &self.orders.elements()[direction as usize]
    }

    /// Has the next piece of a direction begin where its socket says. For a direction whose socket
    /// is not in the lane yet.
    pub(super) fn forget_place(&self, direction: u32) {
        self.next.elements()[direction as usize].store(0, Release);
    }

    /// Whether bytes of a direction are missing.
    pub(super) fn is_broken(&self, direction: u32) -> bool {
        self.next.elements()[direction as usize].load(Acquire) == BROKEN
    }

    /// Whether a walk took the socket of a direction out of the lane.
    pub(super) fn is_out(&self, direction: u32) -> bool {
        self.next.elements()[direction as usize].load(Acquire) == OUT
    }

    /// Wants the socket of a direction taken out as soon as so much was left to the daemon, which
    /// is what the daemon has read.
    pub(super) fn let_leave(&self, direction: u32, read: u64) {
        self.leave_at.elements()[direction as usize].store(read, Release);
    }

    /// Wants it to stay.
    pub(super) fn let_stay(&self, direction: u32) {
        let passed = self.moved(direction).passed.load(Acquire);
        self.let_leave(direction, never(passed));
    }

    /// How often each [`Slip`](pony_common::layout::lane::Slip) happened, by its value.
    pub(super) fn slips(&self) -> io::Result<[u64; SLIPS as usize]> {
        let mut slips = [0; SLIPS as usize];
        for (slot, count) in (0..).zip(&mut slips) {
            let per_cpu = self.slipped.get(&slot, 0).map_err(io::Error::other)?;
            *count = per_cpu.iter().sum();
        }
        Ok(slips)
    }
}

/// The maps that system calls change.
pub(super) struct Maps {
    pub(super) sockets: SockMap<MapData>,
    pub(super) cookies: HashMap<MapData, u64, u32>,
    /// The slots of flows that nobody has, the next one last.
    pub(super) free: Vec<u32>,
}

impl Maps {
    /// Has the program run for what arrives on `socket`. Fails if it is not open in both directions.
    pub(super) fn insert(
        &mut self,
        direction: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<(), JoinError> {
        self.sockets
            .set(direction, &socket.as_raw_fd(), NEW)
            .map_err(|source| refusal("the socket", source))
    }

    /// No longer has the program run for a socket of a flow that is over: what arrives at that moment,
    /// and what was left to the daemon, is lost. That it is gone already is no error.
    pub(super) fn remove(&mut self, direction: u32) {
        drop(self.sockets.clear_index(&direction));
    }

    /// Tells the program which direction a socket's bytes belong to.
    pub(super) fn know(&mut self, cookie: u64, direction: u32) -> Result<(), JoinError> {
        self.cookies
            .insert(cookie, direction, 0)
            .map_err(|source| refusal("the socket's number", source))
    }

    /// Has the program forget that.
    pub(super) fn forget(&mut self, cookie: u64) {
        drop(self.cookies.remove(&cookie));
    }
}

fn refusal(what: &'static str, source: MapError) -> JoinError {
    let errno = crate::kernel::error::errno(&source);
    if errno == Some(libc::EOPNOTSUPP) {
        return JoinError::NotOpen;
    }
    JoinError::Refused {
        what,
        source: source.into(),
    }
}

/// The kernel's flag for an element that must not be there yet.
const NEW: u64 = 1;
