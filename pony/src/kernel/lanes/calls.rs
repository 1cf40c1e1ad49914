//! `CALLS`: the directions that the daemon has to look at.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Release},
    },
};

use aya::maps::{MapData, RingBuf};

use super::{Side, table::Table};

/// The calls of the program. Its descriptor is readable when there are some.
pub struct Calls {
    table: Arc<Table>,
    ring: RingBuf<MapData>,
}

/// Who is called: the direction of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call {
    /// The slot of the flow, see [`Joined::slot`](super::Joined::slot).
    pub slot: u32,
    /// Which direction of it.
    pub side: Side,
}

impl Calls {
    pub(super) const fn new(table: Arc<Table>, ring: RingBuf<MapData>) -> Self {
        Self { table, ring }
    }

    /// The next call, if there is one. Whoever takes it has to look at the direction afterwards:
    /// for all that happens from now on there will be another call, and for what was before there
    /// will be none. The flow that is called may be gone, and another one have its slot.
    pub fn take(&mut self) -> Option<Call> {
        loop {
            let direction = self
                .ring
                .next()
                .and_then(|record| record.first_chunk().copied().map(u32::from_ne_bytes))?;
            if direction as usize >= self.table.moved.elements().len() {
                continue;
            }
            // The program waits for this before it calls for the direction again, so it does not
            // change what is read here.
            let calls = self.table.moved(direction).calls.load(Acquire);
            self.table.orders(direction).heard.store(calls, Release);
            return Some(Call {
                slot: direction / 2,
                side: Side::of(direction),
            });
        }
    }
}

impl AsFd for Calls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Calls {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
