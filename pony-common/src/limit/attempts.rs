//! How often one client may try.
//!
//! Every attempt counts, also a refused one: a client that keeps trying stays refused, and gets in
//! again after it has been quiet.

use super::window::Window;
use crate::time::Nanos;

/// At most `max` attempts in any interval of length `window`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttemptLimit {
    /// How many attempts.
    pub max: u32,
    /// In how much time.
    pub window: Nanos,
}

/// The recent attempts of one client.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Attempts {
    window: Window<u32>,
}

const _: () = assert!(size_of::<Attempts>() == 152);

impl Attempts {
    /// No attempts yet.
    pub const fn new() -> Self {
        Self {
            window: Window::new(),
        }
    }

    /// Counts one attempt, and answers whether it is within the limit.
    #[inline]
    pub fn admit(&mut self, limit: &AttemptLimit, now: Nanos) -> bool {
        let within = self.has_room(limit, now);
        self.window.add(now, limit.window, 1);
        within
    }

    /// Whether one more attempt would be within the limit.
    #[inline]
    pub fn has_room(&mut self, limit: &AttemptLimit, now: Nanos) -> bool {
        self.window.sum(now, limit.window) < u64::from(limit.max)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: AttemptLimit = AttemptLimit {
        max: 3,
        window: Nanos::from_secs(2),
    };

    #[test]
    fn a_client_that_keeps_trying_stays_refused() {
        let mut attempts = Attempts::new();
        let admitted = (1..=20).map(|n| attempts.admit(&LIMIT, Nanos::from_millis(n * 500)));
        let admitted: Vec<bool> = admitted.collect();
        assert_eq!(admitted[..3], [true; 3]);
        assert_eq!(admitted[3..], [false; 17]);
    }

    #[test]
    fn a_refused_client_gets_in_after_a_quiet_window() {
        let mut attempts = Attempts::new();
        for _ in 0..100 {
            attempts.admit(&LIMIT, Nanos::from_secs(10));
        }
        assert!(!attempts.admit(&LIMIT, Nanos::from_secs(12)));
        let quiet = Nanos::from_secs(12 + 2).saturating_add(Nanos::from_millis(63));
        assert!(attempts.admit(&LIMIT, quiet));
    }

    #[test]
    fn a_maximum_of_zero_admits_nobody() {
        let limit = AttemptLimit { max: 0, ..LIMIT };
        assert!(!Attempts::new().admit(&limit, Nanos::from_secs(1)));
    }

    proptest! {
        #[test]
        fn an_attempt_is_within_if_fewer_than_max_were_made_in_the_window(
            gaps in prop::collection::vec(0..900_u64, 1..200),
            max in 1..10_u32,
            window in 1..3_000_u64,
        ) {
            let limit = AttemptLimit { max, window: Nanos(window) };
            let late = (window.div_ceil(32)) * 33;
            let (mut attempts, mut made, mut now) = (Attempts::new(), Vec::new(), 1_000_000_u64);
            for gap in gaps {
                now += gap;
                let within = attempts.admit(&limit, Nanos(now));
                let younger = |age| made.iter().filter(|&&at| now - at < age).count();
                if within {
                    prop_assert!(younger(window + 1) < max as usize);
                } else {
                    prop_assert!(younger(late) >= max as usize, "forgiven too late");
                }
                made.push(now);
            }
        }
    }
}
