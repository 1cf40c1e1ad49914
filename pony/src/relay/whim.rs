//! Changes of lane without a reason, for the tests of the changes themselves.
//!
//! Not for users: the variable of the environment that turns it on is no part of the configuration.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Where the whims of flows come from: all the same for the same seed.
#[derive(Debug)]
pub struct Whims {
    next: AtomicU64,
}

/// What one flow, or one direction of it, takes into its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whim(u64);

impl Whims {
    /// If `PONY_TEST_LANES` is `shuffle:SEED`.
    pub fn from_environment() -> Option<Self> {
        let value = env::var(VARIABLE).ok()?;
        let seed: u64 = value.strip_prefix("shuffle:")?.parse().ok()?;
        Some(Self {
            next: AtomicU64::new(seed),
        })
    }

    pub(super) fn next(&self) -> Whim {
        Whim(mixed(self.next.fetch_add(STEP, Relaxed)))
    }
}

impl Whim {
    /// Another one.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A number below this one.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }
}

/// The output function of `SplitMix64`.
fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

const VARIABLE: &str = "PONY_TEST_LANES";
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_brings_the_same_and_flows_differ() {
        let draws = |seed| {
            let whims = Whims {
                next: AtomicU64::new(seed),
            };
            let [mut one, mut other] = [whims.next(), whims.next()];
            let draws = |whim: &mut Whim| [0; 8].map(|_| whim.below(1000));
            [draws(&mut one), draws(&mut other)]
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let [one, other] = draws(7);
        assert_ne!(one, other);
    }
}
