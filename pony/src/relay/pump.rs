//! One direction of a flow, through the daemon: a buffer in the copy lane, a pipe in the splice lane.
//!
//! A machine of states and not an async function: every flow has two, which wait for bytes nearly
//! all of their time and must cost little memory meanwhile. What a few flows do for a while waits on
//! the heap.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pony_common::limit::Charge;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream, select, task::yield_now, time::sleep};

use super::{
    activity::{Doing, Progress},
    allowance::Allowance,
    carrier::Carrier,
    company,
    course::{Change, Course, Talk},
    end::{End, Side},
    tcp::Flow,
};
use crate::{config::Lane, observe::Direction, sys};

/// One direction of a flow.
pub(super) struct Pump<'a, 'm> {
    flow: &'a Flow<'a>,
    direction: Direction,
    from: &'a TcpStream,
    to: &'a TcpStream,
    progress: &'a Progress,
    /// The other direction.
    other: &'a Progress,
    /// What it may pin while the destination does not keep up.
    allowance: &'a mut Allowance<'m>,
    course: Course,
    /// Both directions' talk, if the flow may join the kernel's lane.
    talk: Option<&'a Talk>,
    ending: Ending,
    /// What it has in hand while it waits for something else than bytes. On the heap, as most wait
    /// for bytes.
    load: Option<Box<Load>>,
    /// What it waits for, other than bytes.
    wait: Option<Wait<'a>>,
}

/// What a direction has in hand.
struct Load {
    carrier: Carrier,
    /// How many bytes of it may be written.
    granted: usize,
}

/// What the source had.
enum Piece {
    Some(Load),
    Nothing,
    End,
}

type Wait<'a> = Pin<Box<dyn Future<Output = Result<(), End>> + Send + 'a>>;

/// Why a direction stopped in good order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// Its source reached end of file, and its destination was told.
    Ended,
    /// Both directions are at rest, and the kernel may take over.
    Join,
}

/// Whether the flow is ending, for the direction that still has something to deliver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    No,
    /// The source broke: what looks like its end of file is none, and must not reach the
    /// destination as one.
    Broken,
    /// The other direction met the limit: what was granted is delivered, and no more is read.
    Over,
}

impl<'a, 'm> Pump<'a, 'm> {
    /// Between two sockets, in a direction whose progress is the first of the two.
    pub(super) fn new(
        flow: &'a Flow<'a>,
        [from, to]: [&'a TcpStream; 2],
        [progress, other]: [&'a Progress; 2],
        allowance: &'a mut Allowance<'m>,
        course: Course,
        talk: Option<&'a Talk>,
    ) -> Self {
        let direction = match progress.source() {
            Side::Client => Direction::Sent,
            Side::Target => Direction::Received,
        };
        flow.record.set_lane(direction, course.lane(), "left");
        Self {
            flow,
            direction,
            from,
            to,
            progress,
            other,
            allowance,
            course,
            talk,
            ending: Ending::No,
            load: None,
            wait: None,
        }
    }

    /// Where its bytes come from.
    pub(super) const fn from(&self) -> &'a TcpStream {
        self.from
    }

    /// Where its bytes go.
    pub(super) const fn to(&self) -> &'a TcpStream {
        self.to
    }

    /// Its progress.
    pub(super) const fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// The flow is ending.
    pub(super) const fn end(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// Moves bytes until the source reaches end of file or the client its limit, and then tells the
    /// destination.
    ///
    /// Never returns `End::Finished`: that takes both directions.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stop, End>> {
        let end = ready!(self.poll_pump(cx));
        if matches!(end, Ok(Stop::Join) | Err(End::Broken(..))) || self.ending == Ending::Broken {
            return Poll::Ready(end);
        }
        self.progress.note(Doing::Ended, sys::now());
        if matches!(end, Ok(Stop::Ended)) {
            self.flow.record.ended(self.direction);
            if self.other.doing() == Doing::Ended {
                // Both sockets are about to be closed, with nothing unread, which says the same.
                return Poll::Ready(end);
            }
        }
        Poll::Ready(match SockRef::from(self.to).shutdown(Shutdown::Write) {
            Ok(()) => end,
            // The destination is gone already; the other direction sees what became of it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => end,
            Err(error) => Err(self.destination_broke(error)),
        })
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stop, End>> {
        ready!(self.poll_wait(cx))?;
        if let Some(mut load) = self.load.take() {
            let Poll::Ready(delivered) = self.poll_deliver(&mut load, cx) else {
                self.load = Some(load);
                return Poll::Pending;
            };
            delivered?;
        }
        for _round in 0..ROUNDS_PER_TURN {
            let should_join = |talk: &Talk| talk.should_join(company::is_small());
            if self.talk.is_some_and(should_join) && self.other.doing() == Doing::Reading {
                return Poll::Ready(Ok(Stop::Join));
            }
            if let Err(error) = ready!(self.poll_readable(cx)) {
                return Poll::Ready(Err(self.source_broke(error)));
            }
            let mut load = match self.read()? {
                Piece::Some(load) => load,
                Piece::Nothing => continue,
                Piece::End => return Poll::Ready(Ok(Stop::Ended)),
            };
            // Whoever pauses with something in hand says so by its progress: else the other
            // direction would take it for being at rest.
            let Poll::Ready(delivered) = self.poll_deliver(&mut load, cx) else {
                self.load = Some(Box::new(load));
                return Poll::Pending;
            };
            delivered?;
        }
        // Nothing else makes a direction pause that always finds both sockets ready.
        self.wait = Some(Box::pin(async {
            yield_now().await;
            Ok(())
        }));
        ready!(self.poll_wait(cx))?;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Some(wait) = &mut self.wait {
            let done = ready!(wait.as_mut().poll(cx));
            self.wait = None;
            return Poll::Ready(done);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the source has bytes, or its end.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let readable = self.from.poll_read_ready(cx);
        if readable.is_pending() {
            self.allowance.poll_rest(cx, self.to);
        }
        readable
    }

    /// Takes what the source has in hand.
    fn read(&mut self) -> Result<Piece, End> {
        let mut carrier = self.carrier();
        let room = self.allowance.room(carrier.room());
        match carrier.fill(self.from, room) {
            Ok(0) => Ok(Piece::End),
            Ok(len) => {
                if let Some(talk) = self.talk {
                    talk.heard(self.direction, len);
                    if self.course.wants_to_join() {
                        talk.settle();
                    }
                }
                self.turn(|course| course.took(len, room));
                self.allowance.took(len, self.from, self.to);
                Ok(Piece::Some(Load {
                    carrier,
                    granted: 0,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Piece::Nothing),
            Err(error) if is_unfit(&error, carrier.lane()) => {
                self.turn(Course::refused);
                Ok(Piece::Nothing)
            }
            Err(error) => Err(self.source_broke(error)),
        }
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
            let lane = self.course.lane();
            self.flow
                .record
                .set_lane(self.direction, lane, change.as_str());
        }
    }

    /// Writes what is in hand.
    fn poll_deliver(&mut self, load: &mut Load, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        ready!(self.poll_write(load, cx))?;
        company::moved();
        self.progress.note(Doing::Reading, sys::now());
        Poll::Ready(match self.ending {
            Ending::Over => Err(End::OverBandwidth),
            Ending::No | Ending::Broken => Ok(()),
        })
    }

    /// Writes as fast as the client's limit and the destination allow.
    fn poll_write(&mut self, load: &mut Load, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        while load.carrier.len() > 0 {
            ready!(self.poll_wait(cx))?;
            if load.granted == 0 {
                load.granted = self.ask(load.carrier.len())?;
                continue;
            }
            match load.carrier.drain(self.to, load.granted) {
                Ok(written) => {
                    load.granted -= written;
                    let lane = load.carrier.lane();
                    self.flow.record.moved(self.direction, lane, written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.progress.note(Doing::Writing, sys::now());
                    self.turn(Course::blocked);
                    self.allowance.blocked(self.from, self.to);
                    load.carrier.trim();
                    self.wait_for_room();
                }
                Err(error) => return Poll::Ready(Err(self.destination_broke(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How many of `want` bytes may move now. While the client is paced it is none, and a wait
    /// begins.
    fn ask(&mut self, want: usize) -> Result<usize, End> {
        let permit = self.flow.permit;
        if !permit.is_metered() {
            return Ok(want);
        }
        let now = sys::now();
        let granted = match permit.charge(want as u64, now) {
            Charge::Grant(granted) => granted,
            Charge::GrantOver(granted) => {
                self.flow.record.violated();
                granted
            }
            Charge::Over => return Err(End::OverBandwidth),
            Charge::Wait(time) => {
                self.progress.note(Doing::Pacing, now);
                let time = time.to_duration();
                self.wait_unless_broken(async move {
                    sleep(time).await;
                    Ok(())
                });
                0
            }
        };
        Ok(usize::try_from(granted).unwrap_or(want))
    }

    fn wait_for_room(&mut self) {
        let (to, destination) = (self.to, self.progress.destination());
        self.wait_unless_broken(async move {
            let writable = std::future::poll_fn(|cx| to.poll_write_ready(cx)).await;
            writable.map_err(|error| End::Broken(destination, error))
        });
    }

    /// Begins to wait for `work`, and gives up when the source breaks meanwhile: while a direction
    /// does not read, nothing else would notice.
    fn wait_unless_broken(&mut self, work: impl Future<Output = Result<(), End>> + Send + 'a) {
        let (from, source) = (self.from, self.progress.source());
        self.wait = Some(Box::pin(async move {
            select! {
                biased;
                done = work => done,
                error = broken(from) => Err(End::Broken(source, error)),
            }
        }));
    }

    fn source_broke(&self, error: io::Error) -> End {
        End::Broken(self.progress.source(), error)
    }

    fn destination_broke(&self, error: io::Error) -> End {
        End::Broken(self.progress.destination(), error)
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
