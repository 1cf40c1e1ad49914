//! One TCP flow, from two connected sockets to its end.

use std::{
    convert::Infallible,
    io,
    net::Shutdown,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use socket2::SockRef;
use tokio::{join, net::TcpStream, pin, select, time::timeout};
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

/// Relays both directions until both have ended, something breaks, or time is up; closes both
/// sockets accordingly and says how it ended.
pub async fn relay_tcp(flow: &Flow<'_>, client: TcpStream, target: TcpStream) -> End {
    let mut sockets = Sockets::new(client, target);
    let end = flow.run(&mut sockets).await;
    match &end {
        // A peer must not take a ban for an ordinary end of what it was sent.
        End::Broken(..) | End::Banned | End::Lost => sockets.reset(),
        End::OverBandwidth => select! {
            () = Box::pin(linger(sockets)) => {}
            () = flow.cut.cancelled() => {}
            () = flow.permit.banned() => {}
        },
        End::Finished | End::Idle(_) | End::ReadTimeout(..) | End::WriteTimeout(..) | End::Cut => {
            sockets.end_on_close();
        }
    }
    end
}

impl Flow<'_> {
    async fn run(&self, sockets: &mut Sockets) -> End {
        let now = sys::now();
        let up = Progress::new(Side::Client, now);
        let down = Progress::new(Side::Target, now);
        select! {
            biased;
            // First, so that nothing moves any more.
            () = self.permit.banned() => End::Banned,
            end = self.by_stages(sockets, &up, &down) => end,
            () = self.cut.cancelled() => End::Cut,
            never = self.log_updates() => match never {},
        }
    }

    /// The flow's stays in the daemon's hands and in the kernel's, by turns.
    async fn by_stages(&self, sockets: &mut Sockets, up: &Progress, down: &Progress) -> End {
        let mut course = Course::new(self.rules.lane);
        let mut may_join = self.may_join();
        let mut talk = Talk::new(self.rules.lane);
        let mut whim = self.whims.map(Whims::next);
        let mut allowances = [self.memory; 2].map(Allowance::new);
        loop {
            course = course.with_whim(whim.as_mut().map(Whim::fork));
            let talking = may_join.then_some(&talk);
            let stage = self.in_daemon(sockets, [up, down], &mut allowances, course, talking);
            match stage.await {
                Ok(Stop::Join) => {}
                Ok(Stop::Ended) => return End::Finished,
                Err(end) => return end,
            }
            // On the heap: most flows never get there.
            let whim = whim.as_mut().map(Whim::fork);
            let stay = Box::pin(self.in_kernel(sockets, [up, down], &mut allowances, whim)).await;
            sockets.end_on_close();
            for allowance in &mut allowances {
                allowance.give_back();
            }
            match stay {
                Outcome::End(end) => return end,
                Outcome::Left(change) => {
                    course = Course::after(change);
                    talk.begin_anew();
                }
                Outcome::NotJoined => {
                    // Whatever it is, it would be so again.
                    may_join = false;
                }
            }
        }
    }

    fn may_join(&self) -> bool {
        let suits = matches!(self.rules.lane, None | Some(Lane::Sockmap));
        suits && self.board.is_some() && !self.permit.is_metered()
    }

    async fn in_daemon(
        &self,
        sockets: &mut Sockets,
        [up, down]: [&Progress; 2],
        [of_up, of_down]: &mut [Allowance<'_>; 2],
        course: Course,
        talk: Option<&Talk>,
    ) -> Result<Stop, End> {
        let (client, target) = sockets.watched()?;
        let ending = Ending::default();
        let mut up_pump = self.pump(Direction::Sent, [up, down], of_up, course, talk, &ending);
        let mut down_pump = self.pump(
            Direction::Received,
            [down, up],
            of_down,
            course,
            talk,
            &ending,
        );
        let both = async {
            let to_target = up_pump.run(client, target);
            let to_client = down_pump.run(target, client);
            pin!(to_target, to_client);
            // A side that has sent its last byte may still reset the connection.
            select! {
                stopped = &mut to_target => match stopped {
                    Ok(Stop::Join) => Ok(Stop::Join),
                    Ok(Stop::Ended) => rest(to_client, client, Side::Client).await,
                    Err(end) => Err(last_words(end, &ending, down, to_client).await),
                },
                stopped = &mut to_client => match stopped {
                    Ok(Stop::Join) => Ok(Stop::Join),
                    Ok(Stop::Ended) => rest(to_target, target, Side::Target).await,
                    Err(end) => Err(last_words(end, &ending, up, to_target).await),
                },
            }
        };
        select! {
            biased;
            stopped = both => stopped,
            end = expired(up, down, self.rules) => Err(end),
        }
    }

    async fn in_kernel(
        &self,
        sockets: &mut Sockets,
        progress: [&Progress; 2],
        [of_up, of_down]: &mut [Allowance<'_>; 2],
        whim: Option<Whim>,
    ) -> Outcome {
        let Some(board) = self.board else {
            return Outcome::End(End::Lost);
        };
        let (client, target) = match sockets.bare() {
            Ok(both) => both,
            Err(end) => return Outcome::End(end),
        };
        let is_forced = self.rules.lane.is_some();
        let mut stay = Stay {
            board,
            record: self.record,
            progress,
            rules: self.rules,
            whim,
            budgets: [
                of_up.for_lane(is_forced, client, target),
                of_down.for_lane(is_forced, target, client),
            ],
        };
        stay.run(client, target).await
    }

    fn pump<'a, 'm>(
        &'a self,
        direction: Direction,
        [progress, other]: [&'a Progress; 2],
        allowance: &'a mut Allowance<'m>,
        course: Course,
        talk: Option<&'a Talk>,
        ending: &'a Ending,
    ) -> Pump<'a, 'm> {
        let (source, destination) = match direction {
            Direction::Sent => (Side::Client, Side::Target),
            Direction::Received => (Side::Target, Side::Client),
        };
        self.record.set_lane(direction, course.lane(), "left");
        Pump {
            source,
            destination,
            direction,
            progress,
            other,
            record: self.record,
            permit: self.permit,
            allowance,
            ending,
            course,
            talk,
        }
    }

    async fn log_updates(&self) -> Infallible {
        self.record.log_updates().await
    }
}

/// The other direction's rest, once `ended` has reached its end of file.
async fn rest(
    direction: impl Future<Output = Result<Stop, End>>,
    ended: &TcpStream,
    side: Side,
) -> Result<Stop, End> {
    select! {
        biased;
        result = direction => result,
        error = broken(ended) => Err(End::Broken(side, error)),
    }
}

/// What the other `direction` still has to deliver when one has failed with `end`.
///
/// If that is because the other's source broke while it was written to, this is what that source
/// had sent before: the answer of a server that refuses an upload arrives just before its reset.
/// If it is because the client met its limit, it is what was granted before that.
async fn last_words<T>(
    end: End,
    ending: &Ending,
    other: &Progress,
    direction: impl Future<Output = Result<T, End>>,
) -> End {
    match &end {
        End::Broken(side, _) if *side == other.source() => {
            ending.is_broken.store(true, Relaxed);
            // Nothing new can come, so only a reader that does not read makes this wait.
            drop(timeout(LAST_WORDS, direction).await);
        }
        End::OverBandwidth if other.doing() == Doing::Writing => {
            ending.is_over.store(true, Relaxed);
            drop(timeout(LINGER, direction).await);
        }
        _ => {}
    }
    end
}

/// Ends both connections so that what was delivered arrives.
///
/// Closing a socket with unread bytes sends a reset, which may overtake what the peer has not read
/// yet. So: end of file to both, then read and throw away until they close or the time is up.
async fn linger(mut sockets: Sockets) {
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
