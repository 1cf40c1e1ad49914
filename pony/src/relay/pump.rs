//! One direction of a flow, through the daemon: a buffer in the copy lane, a pipe in the splice lane.

use std::{
    future::poll_fn,
    io,
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use pony_common::limit::Charge;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream, select, task::yield_now, time::sleep};

use super::{
    activity::{Doing, Progress},
    allowance::Allowance,
    carrier::Carrier,
    course::{Change, Course, Talk},
    end::{End, Side},
};
use crate::{
    config::Lane,
    observe::{Direction, FlowRecord},
    policy::Permit,
    sys,
};

/// One direction of a flow.
pub(super) struct Pump<'a, 'm> {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) direction: Direction,
    pub(super) progress: &'a Progress,
    pub(super) record: &'a FlowRecord,
    pub(super) permit: &'a Permit,
    /// What it may pin while the destination does not keep up.
    pub(super) allowance: &'a mut Allowance<'m>,
    pub(super) ending: &'a Ending,
    pub(super) course: Course,
    /// The other direction.
    pub(super) other: &'a Progress,
    /// Both directions' talk, if the flow may join the kernel's lane.
    pub(super) talk: Option<&'a Talk>,
}

/// Why a direction stopped in good order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// Its source reached end of file, and its destination was told.
    Ended,
    /// Both directions are at rest, and the kernel may take over.
    Join,
}

/// Why the flow is ending, for the direction that still has something to deliver.
#[derive(Default)]
pub(super) struct Ending {
    /// The source broke: what looks like its end of file is none, and must not reach the
    /// destination as one.
    pub(super) is_broken: AtomicBool,
    /// The other direction met the limit: what was granted is delivered, and no more is read.
    pub(super) is_over: AtomicBool,
}

impl Pump<'_, '_> {
    /// Moves bytes until `from` reaches end of file or the client its limit, and then tells `to`.
    ///
    /// Never returns `End::Finished`: that takes both directions.
    pub(super) async fn run(&mut self, from: &TcpStream, to: &TcpStream) -> Result<Stop, End> {
        let end = self.pump(from, to).await;
        if matches!(end, Ok(Stop::Join))
            || self.ending.is_broken.load(Relaxed)
            || matches!(end, Err(End::Broken(..)))
        {
            return end;
        }
        self.progress.note(Doing::Ended, sys::now());
        if matches!(end, Ok(Stop::Ended)) && self.other.doing() == Doing::Ended {
            // Both sockets are about to be closed, with nothing unread, which says the same.
            return end;
        }
        match SockRef::from(to).shutdown(Shutdown::Write) {
            Ok(()) => end,
            // The destination is gone already; the other direction sees what became of it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => end,
            Err(error) => Err(End::Broken(self.destination, error)),
        }
    }

    async fn pump(&mut self, from: &TcpStream, to: &TcpStream) -> Result<Stop, End> {
        let mut rounds = 0;
        loop {
            if self.talk.is_some_and(Talk::is_conversation) && self.other.doing() == Doing::Reading
            {
                return Ok(Stop::Join);
            }
            self.readable(from, to)
                .await
                .map_err(|error| End::Broken(self.source, error))?;
            // Nothing else makes a direction pause that always finds both sockets ready.
            rounds += 1;
            if rounds % ROUNDS_PER_TURN == 0 {
                yield_now().await;
            }
            let mut carrier = self.carrier();
            let room = self.allowance.room(carrier.room());
            match carrier.fill(from, room) {
                Ok(0) => return Ok(Stop::Ended),
                Ok(len) => {
                    if let Some(talk) = self.talk {
                        talk.heard(self.direction, len);
                        if self.course.wants_to_join() {
                            talk.settle();
                        }
                    }
                    self.turn(|course| course.took(len, room));
                    self.allowance.took(len, from, to);
                    self.deliver(&mut carrier, from, to).await?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if is_unfit(&error, carrier.lane()) => {
                    self.turn(Course::refused);
                    continue;
                }
                Err(error) => return Err(End::Broken(self.source, error)),
            }
            self.progress.note(Doing::Reading, sys::now());
            if self.ending.is_over.load(Relaxed) {
                return Err(End::OverBandwidth);
            }
        }
    }

    /// Waits until `from` has bytes, or its end.
    async fn readable(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let wait = poll_fn(|cx| {
            let readable = from.poll_read_ready(cx);
            if readable.is_pending() {
                self.allowance.poll_rest(cx, to);
            }
            readable
        });
        wait.await
    }

    /// An empty carrier for the lane of the moment.
    fn carrier(&mut self) -> Carrier {
        Carrier::take(self.course.lane()).unwrap_or_else(|_error| {
            // Out of descriptors, most likely. A buffer needs none.
            self.turn(Course::refused);
            Carrier::buffer()
        })
    }

    /// Tells the course what happened, and the record what follows from that.
    fn turn<T: Into<Option<Change>>>(&mut self, tell: impl FnOnce(&mut Course) -> T) {
        if let Some(change) = tell(&mut self.course).into() {
            self.record
                .set_lane(self.direction, self.course.lane(), change.as_str());
        }
    }

    /// Writes what `carrier` has, as fast as the client's limit and the destination allow.
    async fn deliver(
        &mut self,
        carrier: &mut Carrier,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Result<(), End> {
        while carrier.len() > 0 {
            let granted = self.wait_for_grant(carrier.len(), from).await?;
            self.write(carrier, granted, from, to).await?;
        }
        Ok(())
    }

    /// How many of `want` bytes may move now; waits while the client is paced.
    async fn wait_for_grant(&self, want: usize, from: &TcpStream) -> Result<usize, End> {
        if !self.permit.is_metered() {
            return Ok(want);
        }
        loop {
            let now = sys::now();
            match self.permit.charge(want as u64, now) {
                Charge::Grant(granted) => return Ok(usize::try_from(granted).unwrap_or(want)),
                Charge::GrantOver(granted) => {
                    self.record.violated();
                    return Ok(usize::try_from(granted).unwrap_or(want));
                }
                Charge::Over => return Err(End::OverBandwidth),
                Charge::Wait(time) => {
                    self.progress.note(Doing::Pacing, now);
                    self.unless_broken(from, sleep(time.to_duration())).await?;
                }
            }
        }
    }

    /// Writes `len` bytes.
    async fn write(
        &mut self,
        carrier: &mut Carrier,
        mut len: usize,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Result<(), End> {
        while len > 0 {
            let written = match carrier.drain(to, len) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.progress.note(Doing::Writing, sys::now());
                    self.turn(Course::blocked);
                    self.allowance.blocked(from, to);
                    carrier.trim();
                    let writable = poll_fn(|cx| to.poll_write_ready(cx));
                    let waited = self.unless_broken(from, writable).await?;
                    waited.map_err(|error| End::Broken(self.destination, error))?;
                    continue;
                }
                Err(error) => return Err(End::Broken(self.destination, error)),
            };
            self.record
                .moved(self.direction, carrier.lane(), written as u64);
            len -= written;
        }
        Ok(())
    }

    /// Waits for `work`, and gives up when the source breaks meanwhile: while a direction does not
    /// read, nothing else would notice.
    ///
    /// On the heap, because few flows wait for it, and every flow would have the room for it.
    async fn unless_broken<T>(
        &self,
        from: &TcpStream,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        let either = async {
            select! {
                biased;
                done = work => Ok(done),
                error = broken(from) => Err(End::Broken(self.source, error)),
            }
        };
        Box::pin(either).await
    }
}

/// Whether the kernel does not splice from such a socket at all.
fn is_unfit(error: &io::Error, lane: Lane) -> bool {
    lane == Lane::Splice
        && matches!(
            error.raw_os_error(),
            Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM)
        )
}

/// Waits until the connection is reset or fails otherwise; an ordinary close does not count.
pub async fn broken(stream: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = stream.ready(Interest::ERROR).await {
            return error;
        }
        let pending = stream.try_io(Interest::ERROR, || {
            SockRef::from(stream)
                .take_error()?
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match pending {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(error) | Err(error) => return error,
        }
    }
}

/// How many rounds a direction goes before others have their turn: 2 MiB through buffers.
pub(super) const ROUNDS_PER_TURN: u32 = 32;
