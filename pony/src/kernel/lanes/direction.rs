//! One direction of a flow in the lane: what was done with its bytes, and what is wanted of it.

use std::{
    io,
    ops::Range,
    os::fd::BorrowedFd,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

use pony_common::{layout::lane::REDIRECTING, time::Nanos};

use super::{
    Side, Terms,
    error::JoinError,
    passage::{Buffers, hold, release, start, stop},
    table::Table,
};
use crate::sys::tcp::{Stage, TcpInfo, send_buffer, unacked, unread};

/// One direction of a flow in the lane. All counts begin with 0 where the flow joined.
///
/// The daemon may read what is left to it from the source with `recv`, not with `splice`, which
/// does not see it, and has to say so with [`note_taken`](Self::note_taken). It may write to the
/// sink only that, only after [`is_drained`](Self::is_drained), and has to say so with
/// [`note_handed`](Self::note_handed).
pub struct Direction<'a> {
    pub(super) table: &'a Table,
    pub(super) number: u32,
    pub(super) source: BorrowedFd<'a>,
    sink: BorrowedFd<'a>,
    pub(super) cookie: u64,
    start: Start,
    /// Bytes that the daemon has read from the source.
    taken: AtomicU64,
    /// Whether nothing is handed over any more, see [`close`](Self::close).
    is_closed: AtomicBool,
    /// Whether the source may be taken out of the lane.
    is_leaving: AtomicBool,
    /// Whether the program does not run for the source, so that the daemon reads all there is.
    is_outside: AtomicBool,
    /// What the source was before it was [stopped](Self::press), if it is, and when that was.
    stopped: Option<(Buffers, Instant)>,
    /// How much had been left to the daemon before the last walk, if it had read all of that.
    empty_at: Option<u64>,
    /// How many walks should have taken the source out and did not.
    in_vain: u32,
}

/// Where the counts of the direction were when the flow joined.
#[derive(Clone, Copy, Debug)]
struct Start {
    passed: u64,
    redirected: u64,
    handed: u64,
    out_of_credit: u64,
    over_budget: u64,
    /// Bytes that were received and read by then.
    received: u64,
}

/// How far a direction has got since it joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Whether bytes that arrive are handed over, and not left to the daemon.
    pub is_redirecting: bool,
    /// Bytes that were left to the daemon.
    pub passed: u64,
    /// Bytes that were handed over.
    pub redirected: u64,
    /// When the last ones came, to some milliseconds. Older than the flow if none did.
    pub last: Nanos,
    /// How often it ceased to hand over because the credit was used up.
    pub out_of_credit: u64,
    /// How often it ceased to hand over because the peer of the sink did not keep up.
    pub over_budget: u64,
}

impl<'a> Direction<'a> {
    /// Gives the direction a number that no flow has. Nothing is handed over yet.
    pub(super) fn new(
        table: &'a Table,
        number: u32,
        [source, sink]: [BorrowedFd<'a>; 2],
        cookie: u64,
        terms: Terms,
    ) -> Result<Self, JoinError> {
        let (moved, orders) = (table.moved(number), table.orders(number));
        let start = Start {
            passed: moved.passed.load(Acquire),
            redirected: moved.redirected.load(Acquire),
            handed: orders.handed.load(Acquire),
            out_of_credit: moved.out_of_credit.load(Acquire),
            over_budget: moved.over_budget.load(Acquire),
            received: read_so_far(source)?,
        };
        table.forget_place(number);
        table.let_stay(number);
        // Two locks on one door: whatever the flow before has left, nothing is handed over.
        orders.credit.store(start.redirected, Release);
        orders
            .promote_at
            .store(start.passed.wrapping_sub(1), Release);
        // Reached already, so it never will be.
        orders.call_at.store(start.redirected, Release);
        orders.budget.store(budget(terms.budget, sink)?, Release);
        let (acked, written) = written_so_far(sink)?;
        // What the program remembers of the flow before becomes true of this one.
        let acked_base = moved.acked.load(Acquire).wrapping_sub(acked);
        let ours = start.redirected.wrapping_add(start.handed);
        orders.acked_base.store(acked_base, Release);
        (orders.base).store(written.wrapping_add(acked_base).wrapping_sub(ours), Release);
        Ok(Self {
            table,
            number,
            source,
            sink,
            cookie,
            start,
            taken: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            is_outside: AtomicBool::new(false),
            stopped: None,
            empty_at: None,
            in_vain: 0,
        })
    }

    /// Where the bytes come from.
    pub const fn side(&self) -> Side {
        Side::of(self.number)
    }

    /// The socket that its bytes come from.
    pub const fn source(&self) -> BorrowedFd<'a> {
        self.source
    }

    /// The socket that they go to.
    pub const fn sink(&self) -> BorrowedFd<'a> {
        self.sink
    }

    /// What the kernel's own count of bytes handed over was where it joined.
    pub(super) const fn origin(&self) -> u64 {
        self.start.redirected
    }

    /// How far it has got. Where the source is out of the lane already, what the daemon has read of
    /// it was left to it.
    pub fn progress(&self) -> Progress {
        let moved = self.table.moved(self.number);
        let since = |now: u64, start: u64| now.wrapping_sub(start);
        let is_outside = self.is_outside();
        Progress {
            is_redirecting: !is_outside && moved.mode.load(Acquire) == REDIRECTING,
            passed: if is_outside {
                self.taken.load(Relaxed)
            } else {
                since(moved.passed.load(Acquire), self.start.passed)
            },
            redirected: since(moved.redirected.load(Acquire), self.start.redirected),
            last: Nanos(moved.last.load(Acquire)),
            out_of_credit: since(moved.out_of_credit.load(Acquire), self.start.out_of_credit),
            over_budget: since(moved.over_budget.load(Acquire), self.start.over_budget),
        }
    }

    /// Says that the daemon has read so many more bytes from the source.
    pub fn note_taken(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Relaxed);
        if self.is_leaving.load(Relaxed) {
            self.let_leave();
        }
    }

    /// How many bytes the daemon has written to the sink.
    pub fn handed(&self) -> u64 {
        let handed = self.table.orders(self.number).handed.load(Acquire);
        handed.wrapping_sub(self.start.handed)
    }

    /// Says that the daemon has written so many more bytes to the sink.
    pub fn note_handed(&self, bytes: u64) {
        let orders = self.table.orders(self.number);
        orders
            .handed
            .store(orders.handed.load(Acquire).wrapping_add(bytes), Release);
    }

    /// Has the next bytes handed over, if all that was left to the daemon is written. Else nothing
    /// changes, and it is to be tried again after the next that was.
    pub fn promote(&self) {
        let at = self.start.passed.wrapping_add(self.handed());
        self.table.orders(self.number).promote_at.store(at, Release);
    }

    /// Allows so many bytes to be handed over, counted from where it joined. None any more if it is
    /// leaving the lane.
    pub fn set_credit(&self, bytes: u64) {
        if !self.is_closed() {
            let redirected = self.start.redirected;
            let allowed = redirected.wrapping_add(bytes.min(Terms::UNLIMITED));
            let orders = self.table.orders(self.number);
            orders.credit.store(allowed, Release);
        }
    }

    /// Has nothing more handed over, but for what is being so now.
    pub fn withhold(&self) {
        let redirected = self.table.moved(self.number).redirected.load(Acquire);
        self.table
            .orders(self.number)
            .credit
            .store(redirected, Release);
    }

    /// Wants to be called once so many bytes were handed over, counted from where it joined. Does
    /// nothing if they were already.
    pub fn set_call_at(&self, bytes: u64) {
        let mark = self
            .start
            .redirected
            .wrapping_add(bytes.min(Terms::UNLIMITED));
        self.table.orders(self.number).call_at.store(mark, Release);
    }

    /// How many bytes may be on their way to the peer of the sink, as far as its buffer has room.
    pub fn set_budget(&self, bytes: u64) -> io::Result<()> {
        let budget = budget(bytes, self.sink)?;
        self.table.orders(self.number).budget.store(budget, Release);
        Ok(())
    }

    /// Whether all that was handed over is in the sink, so that what the daemon writes comes after
    /// it, and an end does too.
    pub fn is_drained(&self) -> io::Result<bool> {
        let due = self.due();
        Ok(self.reached()?.wrapping_sub(due) <= u64::MAX / 2)
    }

    /// How far the sink has been written to. Goes on as long as its peer takes something.
    pub fn reached(&self) -> io::Result<u64> {
        // In this order: acknowledged in between, a byte is missed and not counted twice.
        let acked = TcpInfo::of(self.sink)?.acked;
        Ok(self.on_scale(acked.wrapping_add(unacked(self.sink)?)))
    }

    /// How far the sink was or will be written to, compared with [`on_scale`](Self::on_scale).
    fn due(&self) -> u64 {
        let redirected = self.table.moved(self.number).redirected.load(Acquire);
        redirected.wrapping_add(self.table.orders(self.number).handed.load(Acquire))
    }

    /// A position in what the sink sends, as the counts of the direction have it.
    fn on_scale(&self, position: u64) -> u64 {
        let orders = self.table.orders(self.number);
        let scaled = position.wrapping_add(orders.acked_base.load(Acquire));
        scaled.wrapping_sub(orders.base.load(Acquire))
    }

    /// How many bytes that were handed over or written to the sink its peer has not acknowledged.
    pub fn on_its_way(&self) -> io::Result<u64> {
        let acked = TcpInfo::of(self.sink)?.acked;
        Ok(self.due().wrapping_sub(self.on_scale(acked)))
    }

    /// Whether the direction has ended, and so may the sink: every byte that the source has
    /// received is in it. That `recv` answers 0 is not enough: there may still be bytes on their
    /// way to it, which it gives when it is asked again.
    pub fn is_over(&self) -> io::Result<bool> {
        let info = TcpInfo::of(self.source)?;
        let is_shut = matches!(info.stage, Stage::ShutByPeer | Stage::Closed);
        let taken = self.taken.load(Relaxed);
        let is_written = self.progress().passed == taken && self.handed() == taken;
        Ok(is_shut && self.is_all(info) && is_written && self.is_drained()?)
    }

    /// Whether something was left to the daemon that it has not read.
    pub fn has_unread(&self) -> bool {
        self.progress().passed != self.taken.load(Relaxed)
    }

    /// Whether bytes are missing, so that the flow has to be reset. The daemon is called when they
    /// are found to be. Nothing is known that leads to this.
    pub fn is_broken(&self) -> bool {
        self.table.is_broken(self.number)
    }

    /// Whether every byte that the source has received was handed over or left to the daemon.
    pub fn is_accounted(&self) -> io::Result<bool> {
        Ok(self.is_all(TcpInfo::of(self.source)?))
    }

    /// Whether the source is closed and its peer has not sent a `FIN`: it was reset, whoever has been
    /// told so already.
    pub fn is_reset(&self) -> io::Result<bool> {
        let info = TcpInfo::of(self.source)?;
        let Progress {
            passed, redirected, ..
        } = self.progress();
        let received = info.received.wrapping_sub(self.start.received);
        Ok(info.stage == Stage::Closed && received == passed.wrapping_add(redirected))
    }

    /// Which ends of the source are open.
    pub fn stage(&self) -> io::Result<Stage> {
        Ok(TcpInfo::of(self.source)?.stage)
    }

    /// Whether that is all that was received since the flow joined.
    fn is_all(&self, info: TcpInfo) -> bool {
        let Progress {
            passed, redirected, ..
        } = self.progress();
        let received = info.received.wrapping_sub(self.start.received);
        let of_fin = received.wrapping_sub(passed.wrapping_add(redirected));
        match info.stage {
            Stage::ShutByPeer => of_fin == 1,
            // With or without one.
            Stage::Closed => of_fin <= 1,
            _ => of_fin == 0,
        }
    }

    /// Begins: from here on bytes are handed over, unless some were left to the daemon meanwhile.
    pub(super) fn begin(&self, terms: Terms) {
        self.set_call_at(terms.call_at);
        self.table
            .orders(self.number)
            .promote_at
            .store(self.start.passed, Release);
        self.set_credit(terms.credit);
    }

    /// Has nothing handed over any more, whatever is allowed, not even by a run of the program that
    /// is under way when this is called.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.withhold();
        // The program runs under the lock that this takes.
        drop(self.stage());
    }

    /// Whether it is being taken out of the lane, or was.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Relaxed)
    }

    /// Lets the source leave the lane as soon as the daemon has read all that was left to it. Nothing
    /// may wait to get into it, or be handed over to it any more.
    pub(super) fn open_door(&self) {
        self.is_leaving.store(true, Relaxed);
        self.let_leave();
    }

    fn let_leave(&self) {
        let read = self.start.passed.wrapping_add(self.taken.load(Relaxed));
        self.table.let_leave(self.number, read);
    }

    /// Whether the program does not run for the source any more.
    pub(super) fn is_outside(&self) -> bool {
        self.is_outside.load(Relaxed)
    }

    /// Says that it does not.
    pub(super) fn leave_out(&self) {
        self.is_outside.store(true, Relaxed);
    }

    /// Looks whether a walk took it out.
    pub(super) fn note_out(&mut self) {
        if self.is_outside() || !self.table.is_out(self.number) {
            return;
        }
        self.leave_out();
        self.relax();
    }

    /// Makes it more likely that the next walk meets the source with nothing unread, after so many
    /// that did not.
    ///
    /// That is no use where walks met it so and did not take it out: there are no walks, or not past
    /// this socket. Then its peer is not to suffer for it.
    pub(super) fn press(&mut self, walks: u32) {
        let passed = self.progress().passed;
        let empty_at = (passed == self.taken.load(Relaxed)).then_some(passed);
        self.in_vain += u32::from(empty_at.is_some() && empty_at == self.empty_at);
        self.empty_at = empty_at;
        let is_stopping = STOPS.iter().any(|stop| stop.contains(&walks));
        if self.in_vain < ENOUGH && HOLDS.contains(&walks) {
            drop(hold(self.source));
        } else if self.in_vain >= ENOUGH || !is_stopping {
            self.relax();
        } else if let Some((_, since)) = self.stopped {
            if since.elapsed() >= STOP_TIME {
                self.relax();
            }
        } else {
            release(self.source);
            self.stopped = stop(self.source)
                .ok()
                .map(|before| (before, Instant::now()));
        }
    }

    fn relax(&mut self) {
        release(self.source);
        if let Some((before, _)) = self.stopped.take() {
            start(self.source, before);
        }
    }
}

impl Side {
    /// The side that the bytes of a direction come from.
    pub(super) const fn of(direction: u32) -> Self {
        if direction.is_multiple_of(2) {
            Self::Client
        } else {
            Self::Target
        }
    }
}

/// A budget that the sink's buffer has room for, with what the kernel needs to keep track of it.
///
/// What has no room there waits at the sink, and what comes from the sink and is left to the daemon
/// waits behind it: a peer that reads nothing until it has sent everything would wait for ever.
fn budget(bytes: u64, sink: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(bytes.min(send_buffer(sink)? as u64 / 2))
}

/// How far the peer has acknowledged, and how far was written, while nobody writes.
fn written_so_far(socket: BorrowedFd<'_>) -> Result<(u64, u64), JoinError> {
    for _ in 0..TRIES {
        let acked = TcpInfo::of(socket)?.acked;
        let unacked = unacked(socket)?;
        if TcpInfo::of(socket)?.acked == acked {
            return Ok((acked, acked.wrapping_add(unacked)));
        }
    }
    Err(JoinError::Restless)
}

/// How many bytes were received and read, while nobody reads.
fn read_so_far(socket: BorrowedFd<'_>) -> Result<u64, JoinError> {
    let (info, unread) = stable(socket)?.ok_or(JoinError::Restless)?;
    if info.stage != Stage::Open {
        return Err(JoinError::NotOpen);
    }
    Ok(info.received.wrapping_sub(unread))
}

/// A socket and how much waits to be read from it, at one moment.
fn stable(socket: BorrowedFd<'_>) -> io::Result<Option<(TcpInfo, u64)>> {
    for _ in 0..TRIES {
        let info = TcpInfo::of(socket)?;
        let unread = unread(socket)?;
        let again = TcpInfo::of(socket)?;
        if (info.received, info.stage) == (again.received, again.stage) {
            return Ok(Some((info, unread)));
        }
    }
    Ok(None)
}

/// After how many walks arrivals are held. Not for long: they wait for the walk, even if their peer
/// waits for an answer.
const HOLDS: Range<u32> = 1..4;
/// After how many the peer is stopped. Ever more seldom, since it goes on only when it probes, a fifth
/// of a second later: that is of no use where the other side reads so slowly that the daemon does not
/// get through with what was left to it.
const STOPS: [Range<u32>; 3] = [4..16, 64..76, 1024..1036];
/// Less than it takes a peer to probe, which does so half as often from time to time.
const STOP_TIME: Duration = Duration::from_millis(100);
/// A walk can miss a socket. So many do not.
const ENOUGH: u32 = 3;
/// How often to look again at what changes all the time. Packets come in bursts, with pauses much
/// longer than a look takes.
const TRIES: u32 = 1_000;
