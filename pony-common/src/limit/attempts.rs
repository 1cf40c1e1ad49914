//! How often one client may try.
//!
//! Every attempt counts, also a refused one: a client that keeps trying stays refused, and gets in
//! again after it has been quiet.

use super::window::Window;
use crate::{cell::Cell64, time::Nanos};

/// At most `max` attempts in any interval of length `window`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttemptLimit {
    /// How many attempts.
    pub max: u32,
    /// In how much time.
    pub window: Nanos,
}

impl AttemptLimit {
    /// Whether one more attempt is within the limit, after so many within the window.
    #[inline]
    pub const fn allows(&self, before: u64) -> bool {
        before < self.max as u64
    }
}

/// The recent attempts of one client.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Attempts<T> {
    window: Window<T>,
}

const _: () = assert!(size_of::<Attempts<u64>>() == 280);

impl<T: Cell64> Attempts<T> {
    /// Counts one attempt, and answers whether it is within the limit.
    ///
    /// Of several at the same time no two take the same place, but for the moment in which a slot
    /// begins: those that are in flight then may see too much or too little of each other.
    #[inline]
    pub fn admit(&self, limit: &AttemptLimit, now: Nanos) -> bool {
        limit.allows(self.window.add(now, limit.window, 1))
    }

    /// Whether one more attempt would be within the limit.
    #[inline]
    pub fn has_room(&self, limit: &AttemptLimit, now: Nanos) -> bool {
        limit.allows(self.window.sum(now, limit.window))
    }

    /// Counts `n` attempts that somebody else has decided about.
    #[inline]
    pub fn record(&self, limit: &AttemptLimit, now: Nanos, n: u64) {
        self.window.record(now, limit.window, n);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    type Attempts = super::Attempts<AtomicU64>;

    const LIMIT: AttemptLimit = AttemptLimit {
        max: 3,
        window: Nanos::from_secs(2),
    };

    #[test]
    fn a_client_that_keeps_trying_stays_refused() {
        let attempts = Attempts::default();
        let admitted = (1..=20).map(|n| attempts.admit(&LIMIT, Nanos::from_millis(n * 500)));
        let admitted: Vec<bool> = admitted.collect();
        assert_eq!(admitted[..3], [true; 3]);
        assert_eq!(admitted[3..], [false; 17]);
    }

    #[test]
    fn a_refused_client_gets_in_after_a_quiet_window() {
        let attempts = Attempts::default();
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
        assert!(!Attempts::default().admit(&limit, Nanos::from_secs(1)));
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
            let (attempts, mut made, mut now) = (Attempts::default(), Vec::new(), 1_000_000_u64);
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
