//! One TCP flow, from two connected sockets to its end.

use std::{
    convert::Infallible, future::pending, net::Shutdown, sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::AsyncReadExt as _,
    join,
    net::TcpStream,
    pin, select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    activity::{Doing, Progress, next_expiry},
    buffer::Buffer,
    copy::{Ending, Pump, broken},
    end::{End, Side},
};
use crate::{
    config,
    observe::{Direction, FlowRecord},
    policy::Permit,
    sys,
};

/// What a flow needs besides its two sockets.
pub struct Flow<'a> {
    /// Where its bytes are counted.
    pub record: &'a FlowRecord,
    /// What its client may still use.
    pub permit: &'a Permit,
    /// The listener's timeouts.
    pub timeouts: &'a config::Tcp,
    /// Ends the flow at once.
    pub cut: &'a CancellationToken,
}

/// Relays both directions until both have ended, something breaks, or time is up; closes both
/// sockets accordingly and says how it ended.
pub async fn relay_tcp(flow: &Flow<'_>, mut client: TcpStream, mut target: TcpStream) -> End {
    let end = flow.run(&mut client, &mut target).await;
    match &end {
        // A peer must not take a ban for an ordinary end of what it was sent.
        End::Broken(..) | End::Banned => {
            reset(&client);
            reset(&target);
        }
        End::OverBandwidth => select! {
            () = linger(client, target) => {}
            () = flow.cut.cancelled() => {}
            () = flow.permit.banned() => {}
        },
        End::Finished | End::Idle(_) | End::ReadTimeout(..) | End::WriteTimeout(..) | End::Cut => {}
    }
    end
}

impl Flow<'_> {
    async fn run(&self, client: &mut TcpStream, target: &mut TcpStream) -> End {
        let now = sys::now();
        let up_progress = Progress::new(Side::Client, now);
        let down_progress = Progress::new(Side::Target, now);
        let ending = Ending::default();
        let up = self.pump(Direction::Sent, &up_progress, &ending);
        let down = self.pump(Direction::Received, &down_progress, &ending);

        let (mut from_client, mut to_client) = client.split();
        let (mut from_target, mut to_target) = target.split();
        let both = async {
            // A side that has sent its last byte may still reset the connection.
            let up = async {
                up.run(&mut from_client, &mut to_target).await?;
                Ok::<_, End>(from_client)
            };
            let down = async {
                down.run(&mut from_target, &mut to_client).await?;
                Ok::<_, End>(from_target)
            };
            pin!(up, down);
            select! {
                ended = &mut up => match ended {
                    Ok(client) => rest(down, client.as_ref(), Side::Client).await,
                    Err(end) => last_words(end, &ending, &down_progress, down).await,
                },
                ended = &mut down => match ended {
                    Ok(target) => rest(up, target.as_ref(), Side::Target).await,
                    Err(end) => last_words(end, &ending, &up_progress, up).await,
                },
            }
        };
        select! {
            biased;
            // First, so that nothing moves any more.
            () = self.permit.banned() => End::Banned,
            end = both => end,
            () = self.cut.cancelled() => End::Cut,
            end = self.expired(&up_progress, &down_progress) => end,
            never = self.log_updates() => match never {},
        }
    }

    fn pump<'a>(
        &'a self,
        direction: Direction,
        progress: &'a Progress,
        ending: &'a Ending,
    ) -> Pump<'a> {
        let (source, destination) = match direction {
            Direction::Sent => (Side::Client, Side::Target),
            Direction::Received => (Side::Target, Side::Client),
        };
        Pump {
            source,
            destination,
            direction,
            progress,
            record: self.record,
            permit: self.permit,
            ending,
        }
    }

    /// Waits until one of the timeouts has expired. Traffic only moves a time stamp; the timer is
    /// set anew when it fires too early.
    async fn expired(&self, up: &Progress, down: &Progress) -> End {
        loop {
            let now = sys::now();
            let wake = match next_expiry(up, down, self.timeouts) {
                Some((at, end)) if at <= now => return end,
                Some((at, _)) => at.saturating_sub(now).to_duration(),
                None => Duration::MAX,
            };
            // A direction that begins to wait for something else gets that timeout's whole length,
            // so nothing can expire sooner than the shortest from now.
            match self.shortest_timeout() {
                Some(shortest) => sleep(wake.min(shortest)).await,
                None => pending().await,
            }
        }
    }

    fn shortest_timeout(&self) -> Option<Duration> {
        let timeouts = self.timeouts;
        let set = [
            timeouts.read_timeout,
            timeouts.write_timeout,
            timeouts.idle_timeout,
        ];
        set.into_iter().flatten().min()
    }

    async fn log_updates(&self) -> Infallible {
        self.record.log_updates().await
    }
}

/// The other direction's rest, once `ended` has reached its end of file.
async fn rest<T>(
    direction: impl Future<Output = Result<T, End>>,
    ended: &TcpStream,
    side: Side,
) -> End {
    select! {
        biased;
        result = direction => match result {
            Ok(_) => End::Finished,
            Err(end) => end,
        },
        error = broken(ended) => End::Broken(side, error),
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

/// Makes the coming close a reset, so that the peer learns that this was not an ordinary end.
pub fn reset(stream: &TcpStream) {
    // A failure means that the connection is gone, which is what the reset is for.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// Ends both connections so that what was delivered arrives.
///
/// Closing a socket with unread bytes sends a reset, which may overtake what the peer has not read
/// yet. So: end of file to both, then read and throw away until they close or the time is up.
async fn linger(client: TcpStream, target: TcpStream) {
    join!(see_off(client), see_off(target));
}

async fn see_off(mut stream: TcpStream) {
    if SockRef::from(&stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let discard = async {
        let mut buffer = Buffer::take();
        while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
    };
    // Elapsed or not, the connection is closed now.
    drop(timeout(LINGER, discard).await);
}

/// How long a peer that was ended for its limit has for taking the last bytes.
const LINGER: Duration = Duration::from_secs(5);

/// How long a peer has for taking what the other one sent before it broke.
const LAST_WORDS: Duration = Duration::from_secs(1);
