//! The flows in the kernel's lane: who is called, and what they have moved.
//!
//! The kernel program calls a direction by its number; the switchboard rings the flow that has it.
//! What the kernel moves is counted by the kernel, and brought into a flow's record when somebody
//! looks at it. Where the client has a limit, the kernel moves no more than the flow was lent, and
//! what it has moved is charged to the client at the same time.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pony_common::layout::lane::SLIPS;
use socket2::SockRef;
use tokio::{io::unix::AsyncFd, select, sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::sockets::{end_on_close, reset};
use crate::{
    config::Lane,
    kernel::lanes::{self, Calls, JoinError, Joined, Lanes, Place, Side, Terms},
    observe::{Direction, FlowRecord},
    policy::Credit,
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
    /// From the client and from the target. `None` when the flow has left: the slot may be another's.
    tallies: Mutex<Option<[Tally; 2]>>,
}

/// What is known of one direction.
struct Tally {
    /// The kernel's count when the flow joined.
    origin: u64,
    /// What is in the record already, by the kernel's count.
    counted: u64,
    /// What else the kernel may move. `None` if it may move everything.
    credit: Option<Credit>,
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

    /// Rings the flows that the program calls, for ever. `bell_push` is readable when there are calls.
    pub async fn ring(
        &self,
        mut calls: Calls,
        bell_push: AsyncFd<OwnedFd>,
    ) -> io::Result<Infallible> {
        loop {
            let mut ready = bell_push.readable().await?;
            // Before the look: what comes after that makes it ready again.
            ready.clear_ready();
            while let Some(call) = calls.take() {
                self.bell(call.slot).inspect(|bell| bell.notify_one());
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
            if rider.count(&self.lanes) {
                self.bell(rider.slot).inspect(|bell| bell.notify_one());
            }
        }
    }

    /// See [`Lanes::slips`].
    pub fn slips(&self) -> io::Result<[u64; SLIPS as usize]> {
        self.lanes.slips()
    }

    pub(super) fn join<'a>(
        &'a self,
        sockets: [BorrowedFd<'a>; 2],
        terms: [Terms; 2],
        record: &Arc<FlowRecord>,
        credits: [Option<Credit>; 2],
    ) -> Result<Ride<'a>, JoinError> {
        let joined = self.lanes.join(sockets, terms)?;
        for socket in &sockets {
            reset(&SockRef::from(socket));
        }
        let slot = joined.slot();
        let [up, down] = joined.origins();
        let [of_up, of_down] = credits;
        let is_metered = of_up.is_some() || of_down.is_some();
        let tallies = [(up, of_up), (down, of_down)];
        let rider = Arc::new(Rider {
            slot,
            record: Arc::clone(record),
            tallies: Mutex::new(Some(tallies.map(|(origin, credit)| Tally {
                origin,
                counted: origin,
                credit,
            }))),
        });
        self.riders().insert(slot, Arc::clone(&rider));
        self.joined.notify_one();
        Ok(Ride {
            guest: Guest {
                board: self,
                rider,
                is_metered,
                _place: joined.place(),
            },
            joined,
        })
    }

    fn bell(&self, slot: u32) -> Option<&Notify> {
        self.bells.get(slot as usize)
    }

    fn riders(&self) -> MutexGuard<'_, HashMap<u32, Arc<Rider>>> {
        self.riders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rider {
    /// Brings the record up to date, and answers whether the flow should ask for more credit.
    fn count(&self, lanes: &Lanes) -> bool {
        let mut is_low = false;
        for ((side, direction), tally) in SIDES.into_iter().zip(self.tallies().iter_mut().flatten())
        {
            self.count_one(lanes, side, direction, tally);
            is_low |= tally.credit.as_ref().is_some_and(Credit::is_low);
        }
        is_low
    }

    fn count_one(&self, lanes: &Lanes, side: Side, direction: Direction, tally: &mut Tally) {
        let redirected = lanes.redirected(self.slot, side);
        let news = redirected.wrapping_sub(tally.counted);
        if news == 0 {
            return;
        }
        tally.counted = redirected;
        self.record.moved(direction, Lane::Sockmap, news);
        if let Some(credit) = &mut tally.credit {
            // By the time after the look: nothing may be forgiven before its window is over.
            credit.spend(news, sys::now());
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Option<[Tally; 2]>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn is_called_back(&self) -> bool {
        let credit = self.credit.as_ref();
        credit.is_some_and(|credit| credit.recall().is_cancelled())
    }

    /// Asks for more credit if there is not much left. False if there is none to be had.
    fn renew(&mut self, lane: &lanes::Direction<'_>) -> bool {
        let Some(credit) = self.credit.as_mut().filter(|credit| credit.is_low()) else {
            return true;
        };
        let is_renewed = credit.renew(sys::now());
        if is_renewed {
            let moved = self.counted.wrapping_sub(self.origin);
            lane.set_credit(moved.saturating_add(credit.lent()));
        }
        is_renewed
    }
}

/// A flow's stay in the lane.
///
/// Until it is over, closing a socket resets its connection: should the daemon be killed, what is on
/// its way is lost, and what the peer sends would wait for a reader until the kernel forgets the
/// socket after a minute. Neither may look like an ordinary end.
pub(super) struct Ride<'a> {
    pub(super) joined: Joined<'a>,
    pub(super) guest: Guest<'a>,
}

/// That it is listed. To be dropped after the flow has left: then it is counted for the last time,
/// nothing can move any more, and the slot is still its own.
pub(super) struct Guest<'a> {
    board: &'a Switchboard,
    rider: Arc<Rider>,
    is_metered: bool,
    _place: Place<'a>,
}

impl Guest<'_> {
    /// Waits until the program calls, or what the flow was lent is called back.
    pub(super) async fn called(&self) {
        let Some(bell) = self.board.bell(self.rider.slot) else {
            return pending().await;
        };
        let [up, down] = self.recalls();
        select! {
            () = bell.notified() => {}
            () = recalled(up) => {}
            () = recalled(down) => {}
        }
    }

    /// Sees to it that the kernel may go on moving bytes. False if it may not for long, because the
    /// client is near to its limit. With `may_renew` false it gets no more, and what it has is kept
    /// unless it is called back.
    pub(super) fn renew(&self, joined: &Joined<'_>, may_renew: bool) -> bool {
        if !self.is_metered {
            return true;
        }
        let mut tallies = self.rider.tallies();
        let Some(tallies) = tallies.as_mut() else {
            return false;
        };
        if tallies.iter().any(Tally::is_called_back) {
            self.give_back(joined, tallies);
            return false;
        }
        let mut is_renewed = true;
        for ((side, direction), tally) in SIDES.into_iter().zip(tallies) {
            // What is left is known only then.
            self.rider
                .count_one(&self.board.lanes, side, direction, tally);
            is_renewed &= !may_renew || tally.renew(joined.from(side));
        }
        is_renewed
    }

    /// Has the kernel move nothing more, and gives back what it has not used.
    fn give_back(&self, joined: &Joined<'_>, tallies: &mut [Tally; 2]) {
        for ((side, direction), tally) in SIDES.into_iter().zip(tallies) {
            let lane = joined.from(side);
            lane.withhold();
            // Waits for a run of the program that saw the credit as it was.
            drop(lane.stage());
            self.rider
                .count_one(&self.board.lanes, side, direction, tally);
            if let Some(credit) = &mut tally.credit {
                credit.give_back();
            }
        }
    }

    fn recalls(&self) -> [Option<CancellationToken>; 2] {
        if !self.is_metered {
            return [None, None];
        }
        let recall = |tally: &Tally| Some(tally.credit.as_ref()?.recall().clone());
        let tallies = self.rider.tallies();
        tallies
            .as_ref()
            .map_or([None, None], |tallies| tallies.each_ref().map(recall))
    }
}

async fn recalled(recall: Option<CancellationToken>) {
    match recall {
        Some(recall) => recall.cancelled().await,
        None => pending().await,
    }
}

const SIDES: [(Side, Direction); 2] = [
    (Side::Client, Direction::Sent),
    (Side::Target, Direction::Received),
];

/// No figure is older than this.
const COUNT_TIME: Duration = Duration::from_millis(90);

impl Drop for Ride<'_> {
    fn drop(&mut self) {
        for side in [Side::Client, Side::Target] {
            let direction = self.joined.from(side);
            // What was left to us and not read is out of the kernel's sight. Where it looks itself,
            // it resets the connection of a socket that is closed with something unread.
            if !direction.has_unread() {
                end_on_close(&SockRef::from(&direction.source()));
            }
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.rider.count(&self.board.lanes);
        self.rider.tallies().take();
        self.board.riders().remove(&self.rider.slot);
    }
}
