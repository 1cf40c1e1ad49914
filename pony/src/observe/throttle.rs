//! At most one line per second from one place in the code.
//!
//! It counts what it holds back, so that the next line can say for how many it stands. It does
//! not log by itself.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The rate limit of one log line. Whatever traffic can trigger has one per listener.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the last line was let through.
    last: Option<Instant>,
    suppressed: u64,
}

impl Default for State {
    fn default() -> Self {
        Self::NEW
    }
}

impl State {
    const NEW: Self = Self {
        last: None,
        suppressed: 0,
    };
}

impl Throttle {
    /// One that lets the next line through. Can be a `static`.
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State::NEW),
        }
    }

    /// Whether a line may be written `now`: then with how many were held back since the last one.
    pub fn allow(&self, now: Instant) -> Option<u64> {
        self.allow_one_for(1, now)
    }

    /// Like [`Self::allow`] for a line that stands for `count` of its kind, which is not zero.
    pub fn allow_one_for(&self, count: u64, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if !open {
            state.suppressed = state.suppressed.saturating_add(count);
            return None;
        }
        state.last = Some(now);
        let before = std::mem::take(&mut state.suppressed);
        Some(before.saturating_add(count.saturating_sub(1)))
    }
}

/// The shortest time between two lines.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_one_line_through_per_second_and_says_how_many_it_held_back() {
        let throttle = Throttle::new();
        let start = Instant::now();
        let after = |ms| throttle.allow(start + Duration::from_millis(ms));
        assert_eq!(after(0), Some(0));
        assert_eq!(after(1), None);
        assert_eq!(after(999), None);
        assert_eq!(after(1000), Some(2));
        assert_eq!(after(1001), None);
        assert_eq!(after(9000), Some(1));
    }

    #[test]
    fn a_line_can_stand_for_many() {
        let throttle = Throttle::new();
        let start = Instant::now();
        assert_eq!(throttle.allow_one_for(5, start), Some(4));
        assert_eq!(throttle.allow_one_for(7, start), None);
        assert_eq!(throttle.allow(start), None);
        assert_eq!(throttle.allow_one_for(2, start + INTERVAL), Some(9));
    }

    #[test]
    fn is_not_confused_by_a_clock_reading_from_another_thread_that_is_a_little_older() {
        let throttle = Throttle::new();
        let start = Instant::now();
        assert_eq!(throttle.allow(start + INTERVAL), Some(0));
        assert_eq!(throttle.allow(start), None);
    }
}
