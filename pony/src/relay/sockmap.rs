//! The sockmap lane: a flow whose bytes the kernel moves, from joining to its end or its leaving.
//!
//! While the kernel moves everything, the daemon sleeps: its sockets are not watched for arriving
//! bytes, of which the kernel tells even when it has handed them over already. What wakes it is an
//! end, an error, room for what it has to write, or a call of the kernel program.

use std::{
    future::pending,
    net::TcpStream,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{Interest, unix::AsyncFd},
    select,
    task::yield_now,
    time::sleep,
};

use super::{
    activity::{Doing, Progress, until_expiry},
    course::Change,
    end::{End, Side},
    switchboard::{Ride, Switchboard},
    way::{Wait, Way},
    whim::Whim,
};
use crate::{
    config::{self, Lane},
    kernel::lanes::{Direction as LaneDirection, JoinError, Joined, Left, Side as LaneSide, Terms},
    observe::{Direction, FlowRecord},
    policy::{Credit, Permit},
    sys,
};

/// What a flow needs in the lane.
pub(super) struct Stay<'a> {
    pub(super) board: &'a Switchboard,
    pub(super) record: &'a Arc<FlowRecord>,
    /// What the client may still use.
    pub(super) permit: &'a Permit,
    /// What the client sends, and what the target sends.
    pub(super) progress: [&'a Progress; 2],
    pub(super) rules: &'a config::Tcp,
    /// For tests.
    pub(super) whim: Option<Whim>,
    /// How many bytes from the client, and from the target, may be on their way to the other.
    pub(super) budgets: [u64; 2],
    /// How far the bytes that were last seen on their way had got.
    pub(super) reached: [Option<u64>; 2],
}

/// Why a flow is not in the lane any more.
pub(super) enum Outcome {
    End(End),
    /// It goes on in another lane.
    Left(Change),
    /// There was no room for it, or it was too much in motion to be taken.
    NotYet,
    /// The kernel does not take it.
    NotJoined,
}

/// One socket as it is watched in the lane.
///
/// For room to write alone. An end of stream still wakes: that wake-up names no kind of event, and
/// there is room. So does an error, which is always watched for.
type Watched<'a> = AsyncFd<BorrowedFd<'a>>;

impl Stay<'_> {
    /// Has the kernel move the bytes between these two until they end, or the flow had better be in
    /// another lane.
    pub(super) async fn run(&mut self, client: &TcpStream, target: &TcpStream) -> Outcome {
        let credits = [(); 2].map(|()| self.credit());
        let is_near = |credit: &Credit| credit.lent() == 0;
        if !self.is_forced() && credits.iter().flatten().any(is_near) {
            return Outcome::Left(Change::NearLimit);
        }
        let call_at = if self.is_forced() { 0 } else { LOOK_AFTER };
        let terms = [0, 1].map(|at| Terms {
            credit: credits[at].as_ref().map_or(Terms::UNLIMITED, Credit::lent),
            call_at,
            budget: self.budgets[at],
        });
        let sockets = [client.as_fd(), target.as_fd()];
        let ride = match self.board.join(sockets, terms, self.record, credits) {
            Ok(ride) => ride,
            Err(JoinError::Full | JoinError::Restless) => return Outcome::NotYet,
            Err(_refused) => return Outcome::NotJoined,
        };
        for direction in [Direction::Sent, Direction::Received] {
            self.record
                .set_lane(direction, Lane::Sockmap, "conversation");
        }
        let [client, target] = sockets.map(|socket| sys::watch(socket, Interest::WRITABLE));
        match (client, target) {
            (Ok(client), Ok(target)) => self.ride(ride, &client, &target).await,
            (Err(error), _) => Outcome::End(End::Broken(Side::Client, error)),
            (_, Err(error)) => Outcome::End(End::Broken(Side::Target, error)),
        }
    }

    async fn ride(
        &mut self,
        mut ride: Ride<'_>,
        client: &Watched<'_>,
        target: &Watched<'_>,
    ) -> Outcome {
        let Ride { guest, joined } = &mut ride;
        let [up, down] = self.progress;
        let [of_up, of_down] = self.budgets;
        let mut up = Way::new(Direction::Sent, up, self.record, self.permit, of_up);
        let mut down = Way::new(Direction::Received, down, self.record, self.permit, of_down);
        let mut pace = Pace::default();
        let mut leaving = joined.must_leave().then_some(Change::Refused);
        loop {
            let waits = match Self::advance(joined, &mut up, &mut down, leaving.is_none()) {
                Ok(waits) => waits,
                Err(end) => return Outcome::End(last_words(end, joined, [up, down]).await),
            };
            if up.is_over() && down.is_over() {
                return Outcome::End(End::Finished);
            }
            let is_within = guest.renew(joined, leaving.is_none());
            if !self.is_forced() && leaving.is_none() {
                let near_limit = (!is_within).then_some(Change::NearLimit);
                leaving = near_limit.or_else(|| pace.look(joined).or_else(|| self.whim()));
            }
            if let Some(change) = leaving
                && joined.leave() == Left::Out
                && up.is_clear()
                && down.is_clear()
            {
                return Outcome::Left(change);
            }
            let time = match self.check_time(joined) {
                Ok(time) => time,
                Err(end) => return Outcome::End(end),
            };
            if waits.contains(&Wait::Turn) {
                yield_now().await;
                continue;
            }
            // Of what arrives at a socket that is out already, nobody tells.
            let is_draining = waits.contains(&Wait::Drain) || leaving.is_some();
            pace.note(joined);
            select! {
                ready = client.writable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => return Outcome::End(End::Broken(Side::Client, error)),
                },
                ready = target.writable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => return Outcome::End(End::Broken(Side::Target, error)),
                },
                () = guest.called() => {}
                () = granted(waits) => {}
                () = joined.walked() => {}
                () = pace.wait(is_draining) => {}
                () = sleep(time.unwrap_or_default()), if time.is_some() => {}
                () = sleep(WHIM_TIME), if self.whim.is_some() => {}
            }
        }
    }

    /// What a direction may move before it is counted. `None` if it need not be.
    fn credit(&self) -> Option<Credit> {
        let mut credit = self.permit.credit()?;
        credit.renew(sys::now());
        Some(credit)
    }

    fn whim(&mut self) -> Option<Change> {
        let whim = self.whim.as_mut()?;
        whim.one_in(2).then_some(Change::Whim)
    }

    /// Whether it stays whatever it does.
    fn is_forced(&self) -> bool {
        self.rules.lane == Some(Lane::Sockmap)
    }

    /// Notes what the kernel has done, as if it were the daemon. Answers how long nothing needs to
    /// be looked at.
    fn check_time(&mut self, joined: &Joined<'_>) -> Result<Option<Duration>, End> {
        let [up, down] = self.progress;
        if self.rules.read_timeout.is_none()
            && self.rules.write_timeout.is_none()
            && self.rules.idle_timeout.is_none()
        {
            return Ok(None);
        }
        let directions = [(up, LaneSide::Client), (down, LaneSide::Target)];
        for ((progress, side), seen) in directions.into_iter().zip(&mut self.reached) {
            let direction = joined.from(side);
            let is_ours = direction.progress().passed != direction.handed();
            match progress.doing() {
                Doing::Ended | Doing::Pacing => {}
                _ if self.rules.write_timeout.is_none()
                    || direction.is_drained().unwrap_or(true) =>
                {
                    // If something was left to us, we know what we wait for.
                    if !is_ours {
                        progress.note_seen(Doing::Reading, direction.progress().last);
                    }
                }
                doing => {
                    // A piece on its way is nothing unusual. That nothing gets on is: since when,
                    // looking at it does not change.
                    let reached = direction.reached().ok();
                    if doing != Doing::Writing || *seen != reached {
                        *seen = reached;
                        progress.note(Doing::Writing, sys::now());
                    }
                }
            }
        }
        until_expiry(up, down, self.rules)
    }

    fn advance<'a>(
        joined: &Joined<'_>,
        up: &mut Way<'a>,
        down: &mut Way<'a>,
        may_promote: bool,
    ) -> Result<[Wait; 2], End> {
        let sides = [LaneSide::Client, LaneSide::Target];
        if sides.iter().any(|side| joined.from(*side).is_broken()) {
            return Err(End::Lost);
        }
        let waits = [
            up.advance(joined.from(LaneSide::Client), may_promote)?,
            down.advance(joined.from(LaneSide::Target), may_promote)?,
        ];
        // While nothing is read from a side, nothing else tells that it reset the connection.
        for way in [up, down] {
            if !way.is_idle() {
                unbroken(joined, way.source)?;
            }
        }
        Ok(waits)
    }
}

/// When to look whether the flow should leave, and whether the kernel has made progress.
#[derive(Default)]
struct Pace {
    /// Bytes that were handed over at the last look, and when that was.
    last: Option<([u64; 2], Instant)>,
    seen: [u64; 2],
    /// How often nothing had been drained yet.
    waited: u32,
    /// How many bytes the daemon had written by then.
    handed: [u64; 2],
}

impl Pace {
    /// Why the flow should leave, if it should.
    fn look(&mut self, joined: &Joined<'_>) -> Option<Change> {
        let now = Instant::now();
        let directions = [LaneSide::Client, LaneSide::Target].map(|side| joined.from(side));
        let progress = directions.map(LaneDirection::progress);
        if progress.iter().any(|progress| progress.over_budget > 0) {
            return Some(Change::SlowReader);
        }
        let moved = progress.map(|progress| progress.redirected);
        let (before, at) = *self.last.get_or_insert((self.seen, now));
        let is_due = |at: usize| moved[at] - before[at] >= LOOK_AFTER;
        if !is_due(0) && !is_due(1) {
            return None;
        }
        if now - at < BULK_TIME {
            return Some(Change::Bulk);
        }
        self.last = Some((moved, now));
        for (direction, moved) in directions.iter().zip(moved) {
            direction.set_call_at(moved + LOOK_AFTER);
        }
        // A mark that is passed before it is set calls nobody. Whether it was is certain once the
        // program is through with what it is at, which asking the socket waits for.
        for (direction, moved) in directions.iter().zip(moved) {
            drop(direction.stage());
            if direction.progress().redirected >= moved + LOOK_AFTER {
                return Some(Change::Bulk);
            }
        }
        None
    }

    /// Where the daemon has written something, more is soon to come.
    fn note(&mut self, joined: &Joined<'_>) {
        let handed = [LaneSide::Client, LaneSide::Target].map(|side| joined.from(side).handed());
        if handed != self.handed {
            (self.handed, self.waited) = (handed, 0);
        }
    }

    /// Waits until it is worth while to look at the kernel's queues again.
    async fn wait(&mut self, is_draining: bool) {
        if !is_draining {
            self.waited = 0;
            return pending().await;
        }
        self.waited += 1;
        let wait = match self.waited {
            // The kernel is at it at this moment.
            ..=16 => return yield_now().await,
            17..=32 => Duration::from_millis(1),
            33..=64 => Duration::from_millis(5),
            _ => Duration::from_millis(20),
        };
        sleep(wait).await;
    }
}

/// Waits until it is time to ask again for what a client may move, if that is what it waits for.
async fn granted(waits: [Wait; 2]) {
    let times = waits.into_iter().filter_map(|wait| match wait {
        Wait::Grant(time) => Some(time),
        _ => None,
    });
    match times.min() {
        Some(time) => sleep(time).await,
        None => pending().await,
    }
}

/// What is still to be delivered when a flow ends: if one side has broken, what it had sent before;
/// if the client has met its limit, all that was granted until then.
async fn last_words(end: End, joined: &Joined<'_>, mut ways: [Way<'_>; 2]) -> End {
    let lanes = [LaneSide::Client, LaneSide::Target].map(|side| joined.from(side));
    let looks = match &end {
        End::Broken(..) => LAST_LOOKS,
        End::OverBandwidth => LOOKS_WHEN_OVER,
        _ => return end,
    };
    for _ in 0..looks {
        let is_delivered = match &end {
            End::Broken(Side::Client, _) => lanes[0].is_drained().unwrap_or(true),
            End::Broken(Side::Target, _) => lanes[1].is_drained().unwrap_or(true),
            // Both, whatever becomes of the first.
            _ => (ways.iter_mut().zip(lanes))
                .map(|(way, lane)| way.deliver(lane).unwrap_or(true))
                .fold(true, |all, is_delivered| all & is_delivered),
        };
        if is_delivered {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    end
}

fn unbroken(joined: &Joined<'_>, side: Side) -> Result<(), End> {
    let socket: BorrowedFd<'_> = match side {
        Side::Client => joined.from(LaneSide::Client).source(),
        Side::Target => joined.from(LaneSide::Target).source(),
    };
    match SockRef::from(&socket).take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(End::Broken(side, error)),
    }
}

/// How many bytes of one direction make a look worth while.
const LOOK_AFTER: u64 = 4 << 20;

/// A direction that moves that much within this time is bulk.
const BULK_TIME: Duration = Duration::from_millis(250);

const WHIM_TIME: Duration = Duration::from_millis(2);

/// How often to look whether the last bytes are on their way, every 5 ms.
const LAST_LOOKS: u32 = 200;
/// The same when it is the client's limit that ends the flow, and its readers may go on reading.
const LOOKS_WHEN_OVER: u32 = 1_000;
