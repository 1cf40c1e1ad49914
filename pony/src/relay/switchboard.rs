//! The flows in the kernel's lane: who is called, and what they have moved.
//!
//! The kernel program calls a direction by its number; the switchboard rings the flow that has it.
//! What the kernel moves is counted by the kernel, and brought into a flow's record when somebody
//! looks at it.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::Interest, sync::Notify, time::sleep};

use crate::{
    config::Lane,
    kernel::lanes::{Calls, JoinError, Joined, Lanes, Side, Terms},
    observe::{Direction, FlowRecord},
    sys,
};

/// See the module.
pub struct Switchboard {
    lanes: Lanes,
    /// By slot.
    bells: Box<[Notify]>,
    riders: Mutex<HashMap<u32, Arc<Rider>>>,
    /// Somebody has joined.
    joined: Notify,
}

/// A flow in the lane, as others see it.
pub(super) struct Rider {
    slot: u32,
    record: Arc<FlowRecord>,
    /// What is in the record already, from the client and from the target.
    counted: Mutex<[u64; 2]>,
}

impl Switchboard {
    /// For a loaded program.
    pub fn new(lanes: Lanes) -> Self {
        let slots = lanes.room();
        Self {
            lanes,
            bells: (0..slots).map(|_| Notify::new()).collect(),
            riders: Mutex::default(),
            joined: Notify::new(),
        }
    }

    /// Rings the flows that the program calls, for ever. Needs a runtime.
    pub async fn ring(&self, mut calls: Calls) -> io::Result<()> {
        let watched = calls.as_fd().try_clone_to_owned()?;
        let watched = sys::watch(watched.as_fd(), Interest::READABLE)?;
        loop {
            let mut ready = watched.readable().await?;
            // Before the look: what comes after that makes it ready again.
            ready.clear_ready();
            while let Some(call) = calls.take() {
                if let Some(bell) = self.bells.get(call.slot as usize) {
                    bell.notify_one();
                }
            }
        }
    }

    /// Brings the records of all flows up to date ten times a second, as long as there are some.
    pub async fn keep_counting(&self) -> Infallible {
        loop {
            if self.riders().is_empty() {
                self.joined.notified().await;
            }
            sleep(COUNT_TIME).await;
            self.count();
        }
    }

    /// Brings the records of all flows in the lane up to date.
    pub fn count(&self) {
        let riders: Vec<_> = self.riders().values().cloned().collect();
        for rider in riders {
            rider.count(&self.lanes);
        }
    }

    pub(super) fn join<'a>(
        &'a self,
        sockets: [BorrowedFd<'a>; 2],
        terms: [Terms; 2],
        record: &Arc<FlowRecord>,
    ) -> Result<Ride<'a>, JoinError> {
        let joined = self.lanes.join(sockets, terms)?;
        let slot = joined.slot();
        let rider = Arc::new(Rider {
            slot,
            record: Arc::clone(record),
            counted: Mutex::new(joined.origins()),
        });
        self.riders().insert(slot, Arc::clone(&rider));
        self.joined.notify_one();
        Ok(Ride {
            guest: Guest { board: self, rider },
            joined,
        })
    }

    fn riders(&self) -> MutexGuard<'_, HashMap<u32, Arc<Rider>>> {
        self.riders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rider {
    fn count(&self, lanes: &Lanes) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let sides = [
            (Side::Client, Direction::Sent),
            (Side::Target, Direction::Received),
        ];
        for ((side, direction), counted) in sides.into_iter().zip(counted.iter_mut()) {
            let redirected = lanes.redirected(self.slot, side);
            let news = redirected.wrapping_sub(*counted);
            if news > 0 {
                *counted = redirected;
                self.record.moved(direction, Lane::Sockmap, news);
            }
        }
    }
}

/// A flow's stay in the lane.
pub(super) struct Ride<'a> {
    // Counted for the last time while the slot is still its own.
    pub(super) guest: Guest<'a>,
    pub(super) joined: Joined<'a>,
}

/// That it is listed.
pub(super) struct Guest<'a> {
    board: &'a Switchboard,
    rider: Arc<Rider>,
}

impl Guest<'_> {
    /// Waits until the program calls.
    pub(super) async fn called(&self) {
        match self.board.bells.get(self.rider.slot as usize) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Brings the flow's record up to date.
    pub(super) fn count(&self) {
        self.rider.count(&self.board.lanes);
    }
}

/// No figure is older than this.
const COUNT_TIME: Duration = Duration::from_millis(90);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.count();
        self.board.riders().remove(&self.rider.slot);
    }
}
