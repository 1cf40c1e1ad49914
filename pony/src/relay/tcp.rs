//! One TCP flow, from two connected sockets to its end.

use std::{future::poll_fn, io, net::Shutdown, sync::Arc, task::Poll, time::Duration};

use socket2::SockRef;
use tokio::{join, net::TcpStream, select, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Doing, Progress, expired},
    allowance::Allowance,
    buffer::Buffer,
    course::{Course, Talk},
    end::{End, Side},
    memory::Memory,
    pump::{Ending, Pump, Stop, broken},
    sockets::Sockets,
    sockmap::{Outcome, Stay},
    switchboard::Switchboard,
    whim::{Whim, Whims},
};
use crate::{
    config::{self, Lane},
    observe::{Direction, FlowRecord},
    policy::Permit,
    sys,
};

/// What a flow needs besides its two sockets.
pub struct Flow<'a> {
    /// Where its bytes are counted.
    pub record: &'a Arc<FlowRecord>,
    /// What its client may still use.
    pub permit: &'a Permit,
    /// The listener's lane and timeouts.
    pub rules: &'a config::Tcp,
    /// The kernel's lane, if there is one.
    pub board: Option<&'a Switchboard>,
    /// For tests of the changes of lanes.
    pub whims: Option<&'a Whims>,
    /// What all flows may pin together.
    pub memory: &'a Memory,
    /// Ends the flow at once.
    pub cut: &'a CancellationToken,
}

/// Relays both directions until both have ended, something breaks, or time is up, and says how it
/// ended. Closing the sockets, which is for the caller, is then the end that suits.
pub async fn relay_tcp(flow: &Flow<'_>, sockets: &mut Sockets) -> End {
    let end = flow.run(sockets).await;
    match &end {
        // A peer must not take a ban for an ordinary end of what it was sent.
        End::Broken(..) | End::Banned | End::Lost => sockets.reset(),
        End::OverBandwidth => {
            sockets.end_on_close();
            select! {
                () = Box::pin(linger(sockets)) => {}
                () = flow.cut.cancelled() => {}
                () = flow.permit.banned() => {}
            }
        }
        End::Finished | End::Idle(_) | End::ReadTimeout(..) | End::WriteTimeout(..) | End::Cut => {}
    }
    end
}

/// What of a flow outlives its stages.
struct Trip<'m> {
    /// What the client sends, and what the target sends.
    progress: [Progress; 2],
    allowances: [Allowance<'m>; 2],
    /// Where the next stage begins.
    course: Course,
    talk: Talk,
    may_join: bool,
    whim: Option<Whim>,
}

impl Flow<'_> {
    async fn run(&self, sockets: &mut Sockets) -> End {
        select! {
            biased;
            // First, so that nothing moves any more.
            () = self.permit.banned() => End::Banned,
            end = self.by_stages(sockets) => end,
            () = self.cut.cancelled() => End::Cut,
            never = self.record.log_updates() => match never {},
        }
    }

    /// The flow's stays in the daemon's hands and in the kernel's, by turns.
    async fn by_stages(&self, sockets: &mut Sockets) -> End {
        let now = sys::now();
        let mut trip = Trip {
            progress: [Side::Client, Side::Target].map(|side| Progress::new(side, now)),
            allowances: [self.memory; 2].map(Allowance::new),
            course: Course::new(self.rules.lane),
            talk: Talk::new(self.rules.lane),
            may_join: self.may_join(),
            whim: self.whims.map(Whims::next),
        };
        loop {
            match self.in_daemon(sockets, &mut trip).await {
                Ok(Stop::Join) => {}
                Ok(Stop::Ended) => return End::Finished,
                Err(end) => return end,
            }
            // On the heap: most flows never get there.
            let stay = Box::pin(self.in_kernel(sockets, &mut trip)).await;
            trip.allowances.iter_mut().for_each(Allowance::give_back);
            match stay {
                Outcome::End(end) => return end,
                Outcome::Left(change) => {
                    trip.course = Course::after(change);
                    for direction in [Direction::Sent, Direction::Received] {
                        let lane = trip.course.lane();
                        self.record.set_lane(direction, lane, change.as_str());
                    }
                    trip.talk.begin_anew();
                }
                Outcome::NotYet => trip.talk.begin_anew(),
                Outcome::NotJoined => {
                    // Whatever it is, it would be so again.
                    trip.may_join = false;
                }
            }
        }
    }

    fn may_join(&self) -> bool {
        let suits = matches!(self.rules.lane, None | Some(Lane::Sockmap));
        suits && self.board.is_some()
    }

    async fn in_daemon(&self, sockets: &mut Sockets, trip: &mut Trip<'_>) -> Result<Stop, End> {
        let (client, target) = sockets.watched()?;
        let whim = trip.whim.as_mut().map(Whim::fork);
        let course = || trip.course.clone().with_whim(whim);
        let talk = trip.may_join.then_some(&trip.talk);
        let [up, down] = &trip.progress;
        let [of_up, of_down] = &mut trip.allowances;
        let mut pumps = [
            Pump::new(self, [client, target], [up, down], of_up, course(), talk),
            Pump::new(self, [target, client], [down, up], of_down, course(), talk),
        ];
        select! {
            biased;
            stopped = run(&mut pumps) => stopped,
            end = expired(up, down, self.rules) => Err(end),
        }
    }

    async fn in_kernel(&self, sockets: &mut Sockets, trip: &mut Trip<'_>) -> Outcome {
        let Some(board) = self.board else {
            return Outcome::End(End::Lost);
        };
        let (client, target) = match sockets.bare() {
            Ok(both) => both,
            Err(end) => return Outcome::End(end),
        };
        let is_forced = self.rules.lane.is_some();
        let [of_up, of_down] = &mut trip.allowances;
        let mut stay = Stay {
            board,
            record: self.record,
            permit: self.permit,
            progress: trip.progress.each_ref(),
            rules: self.rules,
            whim: trip.whim.as_mut().map(Whim::fork),
            budgets: [
                of_up.for_lane(is_forced, client, target),
                of_down.for_lane(is_forced, target, client),
            ],
            reached: [None; 2],
        };
        stay.run(client, target).await
    }
}

/// Runs both directions until one stops, and then what has to follow.
async fn run(pumps: &mut [Pump<'_, '_>; 2]) -> Result<Stop, End> {
    let first = poll_fn(|cx| {
        let polls = pumps.iter_mut().enumerate();
        let mut stopped = polls.filter_map(|(at, pump)| match pump.poll(cx) {
            Poll::Ready(stopped) => Some((at, stopped)),
            Poll::Pending => None,
        });
        stopped.next().map_or(Poll::Pending, Poll::Ready)
    });
    let (at, stopped) = first.await;
    let other = &mut pumps[1 - at];
    match stopped {
        Ok(Stop::Join) => Ok(Stop::Join),
        // On the heap, as neither is for long.
        Ok(Stop::Ended) => Box::pin(rest(other)).await,
        Err(end) => Err(Box::pin(last_words(end, other)).await),
    }
}

/// What the other direction still has to deliver, once one has reached its end of file.
///
/// The side that has sent its last byte may still reset the connection.
async fn rest(other: &mut Pump<'_, '_>) -> Result<Stop, End> {
    let (ended, side) = (other.to(), other.progress().destination());
    select! {
        biased;
        stopped = poll_fn(|cx| other.poll(cx)) => stopped,
        error = broken(ended) => Err(End::Broken(side, error)),
    }
}

/// What the other direction still has to deliver when one has failed with `end`.
///
/// If that is because the other's source broke while it was written to, this is what that source
/// had sent before: the answer of a server that refuses an upload arrives just before its reset.
/// If it is because the client met its limit, it is what was granted before that.
async fn last_words(end: End, other: &mut Pump<'_, '_>) -> End {
    let limit = match &end {
        End::Broken(side, _) if *side == other.progress().source() => {
            other.end(Ending::Broken);
            // Nothing new can come, so only a reader that does not read makes this wait.
            LAST_WORDS
        }
        End::OverBandwidth if other.progress().doing() == Doing::Writing => {
            // Its peer may read only when it has seen the end of what it is sent. A failure means
            // that the connection is gone, which the other direction sees.
            drop(SockRef::from(other.from()).shutdown(Shutdown::Write));
            other.end(Ending::Over);
            LINGER
        }
        _ => return end,
    };
    drop(timeout(limit, poll_fn(|cx| other.poll(cx))).await);
    end
}

/// Ends both connections so that what was delivered arrives.
///
/// Closing a socket with unread bytes sends a reset, which may overtake what the peer has not read
/// yet. So: end of file to both, then read and throw away until they close or the time is up.
async fn linger(sockets: &mut Sockets) {
    if let Ok((client, target)) = sockets.watched() {
        join!(see_off(client), see_off(target));
    }
}

async fn see_off(stream: &TcpStream) {
    if SockRef::from(stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let discard = async {
        let mut buffer = Buffer::take();
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                _ => {}
            }
        }
    };
    // Elapsed or not, the connection is closed now.
    drop(timeout(LINGER, discard).await);
}

/// How long a peer that was ended for its limit has for taking the last bytes.
const LINGER: Duration = Duration::from_secs(5);

/// How long a peer has for taking what the other one sent before it broke.
const LAST_WORDS: Duration = Duration::from_secs(1);
