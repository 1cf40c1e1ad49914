//! `BUDGET`: how often the guard tells the daemon what it did: not for every packet, which is what
//! a flood wants.
//!
//! [`report`](super::report) says how often about the same client. Over all clients a CPU makes at
//! most [`PER_SECOND`] reports in a second.

use crate::time::Nanos;

/// How many reports one CPU makes in a second.
pub const PER_SECOND: u64 = 1_000;

/// How many reports one CPU made. Only that CPU writes here.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Budget {
    /// The second that it is about.
    second: u64,
    /// How many were made in it.
    made: u64,
    /// How many were not made since the start, because there were too many.
    pub withheld: u64,
}

const _: () = assert!(size_of::<Budget>() == 8 + 8 + 8);

impl Budget {
    /// Whether there may be one more.
    #[inline(always)]
    pub fn take(&mut self, now: Nanos) -> bool {
        let second = now.0 >> 30;
        if self.second != second {
            self.second = second;
            self.made = 0;
        }
        if self.made >= PER_SECOND {
            self.withheld = self.withheld.wrapping_add(1);
            return false;
        }
        self.made = self.made.wrapping_add(1);
        true
    }
}

// SAFETY: three `u64`s, no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Budget {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_budget_is_for_one_second() {
        let mut budget = Budget::default();
        let made =
            |budget: &mut Budget, millis| (0..5_000).filter(|_| budget.take(at(millis))).count();
        assert_eq!(made(&mut budget, 0), 1_000);
        assert_eq!(made(&mut budget, 1_100), 1_000);
        assert_eq!(budget.withheld, 8_000);
    }
}
