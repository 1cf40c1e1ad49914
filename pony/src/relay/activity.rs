//! When something last happened in a flow, and when its timeouts therefore expire.

use std::{
    future::pending,
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use pony_common::time::Nanos;
use tokio::time::sleep;

use super::end::{End, Side};
use crate::{config::Tcp, sys};

/// What one direction of a flow is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Doing {
    /// Waiting for bytes from its source.
    Reading = 0,
    /// Waiting for its destination to take bytes.
    Writing = 1,
    /// Waiting because its client is throttled.
    Pacing = 2,
    /// Its source reached end of file, and the destination was told.
    Ended = 3,
}

/// One direction: what it is doing, and since when without progress.
pub(super) struct Progress {
    source: Side,
    doing: AtomicU8,
    since: AtomicU64,
}

impl Progress {
    pub(super) fn new(source: Side, now: Nanos) -> Self {
        let doing = AtomicU8::new(Doing::Reading as u8);
        Self {
            source,
            doing,
            since: AtomicU64::new(now.0),
        }
    }

    /// Notes that bytes moved, or that another kind of waiting begins.
    pub(super) fn note(&self, doing: Doing, now: Nanos) {
        self.doing.store(doing as u8, Relaxed);
        self.since.store(now.0, Relaxed);
    }

    /// Notes what was seen later than it happened. Time does not go back by that.
    pub(super) fn note_seen(&self, doing: Doing, at: Nanos) {
        if at > self.since() || doing != self.doing() {
            self.note(doing, at.max(self.since()));
        }
    }

    pub(super) fn doing(&self) -> Doing {
        match self.doing.load(Relaxed) {
            0 => Doing::Reading,
            1 => Doing::Writing,
            2 => Doing::Pacing,
            _ => Doing::Ended,
        }
    }

    fn since(&self) -> Nanos {
        Nanos(self.since.load(Relaxed))
    }

    pub(super) fn source(&self) -> Side {
        self.source
    }

    pub(super) fn destination(&self) -> Side {
        match self.source {
            Side::Client => Side::Target,
            Side::Target => Side::Client,
        }
    }

    fn expiry(&self, timeouts: &Tcp) -> Option<(Nanos, End)> {
        let (limit, end): (Duration, fn(Side, Duration) -> End) = match self.doing() {
            Doing::Reading => (timeouts.read_timeout?, End::ReadTimeout),
            Doing::Writing => (timeouts.write_timeout?, End::WriteTimeout),
            Doing::Pacing | Doing::Ended => return None,
        };
        let side = match self.doing() {
            Doing::Writing => self.destination(),
            _ => self.source,
        };
        Some((after(self.since(), limit), end(side, limit)))
    }
}

/// When the flow made of these two directions must end if nothing happens until then, and how.
///
/// A paced direction is not idle: it has bytes to move and we are the ones who hold them back.
fn next_expiry(up: &Progress, down: &Progress, timeouts: &Tcp) -> Option<(Nanos, End)> {
    let paced = [up, down]
        .iter()
        .any(|direction| direction.doing() == Doing::Pacing);
    let idle = timeouts.idle_timeout.filter(|_| !paced).map(|limit| {
        let last = up.since().max(down.since());
        (after(last, limit), End::Idle(limit))
    });
    [up.expiry(timeouts), down.expiry(timeouts), idle]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
}

/// Waits until one of the timeouts has expired. Traffic only moves a time stamp; the timer is set
/// anew when it fires too early.
pub(super) async fn expired(up: &Progress, down: &Progress, timeouts: &Tcp) -> End {
    loop {
        match until_expiry(up, down, timeouts) {
            // On the heap: many flows have no timeouts.
            Ok(Some(wait)) => Box::pin(sleep(wait)).await,
            Ok(None) => pending().await,
            Err(end) => return end,
        }
    }
}

/// How long to wait until it is worth while to ask again; `None`: for ever. The error is how the
/// flow must end now.
pub(super) fn until_expiry(
    up: &Progress,
    down: &Progress,
    timeouts: &Tcp,
) -> Result<Option<Duration>, End> {
    let set = [
        timeouts.read_timeout,
        timeouts.write_timeout,
        timeouts.idle_timeout,
    ];
    let Some(shortest) = set.into_iter().flatten().min() else {
        return Ok(None);
    };
    let now = sys::now();
    match next_expiry(up, down, timeouts) {
        Some((at, end)) if at <= now => Err(end),
        // A direction that begins to wait for something else gets that timeout's whole length, so
        // nothing can expire sooner than the shortest from now.
        Some((at, _)) => Ok(Some(at.saturating_sub(now).to_duration().min(shortest))),
        None => Ok(Some(shortest)),
    }
}

fn after(time: Nanos, wait: Duration) -> Nanos {
    time.saturating_add(Nanos::from_duration(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn timeouts(read: u64, write: u64, idle: u64) -> Tcp {
        let set = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Tcp {
            lane: None,
            read_timeout: set(read),
            write_timeout: set(write),
            idle_timeout: set(idle),
            connect_timeout: Duration::from_secs(10),
            keepalive: None,
        }
    }

    fn expiry(up: &Progress, down: &Progress, timeouts: &Tcp) -> Option<(u64, String)> {
        next_expiry(up, down, timeouts).map(|(at, end)| (at.0 / SECOND, end.error().unwrap()))
    }

    fn directions() -> (Progress, Progress) {
        (
            Progress::new(Side::Client, Nanos(0)),
            Progress::new(Side::Target, Nanos(0)),
        )
    }

    #[test]
    fn without_timeouts_nothing_expires() {
        let (up, down) = directions();
        assert!(expiry(&up, &down, &timeouts(0, 0, 0)).is_none());
    }

    #[test]
    fn the_idle_timeout_is_armed_before_the_first_byte_and_rearmed_by_either_direction() {
        let (up, down) = directions();
        assert_eq!(expiry(&up, &down, &timeouts(0, 0, 5)).unwrap().0, 5);
        down.note(Doing::Reading, Nanos(3 * SECOND));
        assert_eq!(expiry(&up, &down, &timeouts(0, 0, 5)).unwrap().0, 8);
        up.note(Doing::Ended, Nanos(4 * SECOND));
        assert_eq!(expiry(&up, &down, &timeouts(0, 0, 5)).unwrap().0, 9);
    }

    #[test]
    fn the_read_timeout_counts_per_direction_and_names_the_silent_side() {
        let (up, down) = directions();
        up.note(Doing::Reading, Nanos(9 * SECOND));
        let (at, error) = expiry(&up, &down, &timeouts(10, 0, 0)).unwrap();
        assert_eq!(at, 10);
        assert!(error.contains("nothing from the target"), "{error}");
    }

    #[test]
    fn the_write_timeout_names_the_side_that_takes_nothing() {
        let (up, down) = directions();
        up.note(Doing::Writing, Nanos(SECOND));
        let (at, error) = expiry(&up, &down, &timeouts(0, 2, 0)).unwrap();
        assert_eq!(at, 3);
        assert!(error.contains("the target took nothing"), "{error}");
    }

    #[test]
    fn a_direction_that_ended_does_not_time_out() {
        let (up, down) = directions();
        up.note(Doing::Ended, Nanos(0));
        down.note(Doing::Writing, Nanos(0));
        assert!(expiry(&up, &down, &timeouts(1, 0, 0)).is_none());
    }

    #[test]
    fn a_throttled_flow_is_not_idle() {
        let (up, down) = directions();
        up.note(Doing::Pacing, Nanos(0));
        assert!(expiry(&up, &down, &timeouts(0, 1, 1)).is_none());
    }
}
