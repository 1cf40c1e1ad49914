//! Time as both sides of the kernel border count it.
//!
//! This module reads no clock: whoever asks for a decision says what time it is.

use core::time::Duration;

/// Nanoseconds: a moment on `CLOCK_MONOTONIC`, or a length of time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest length, about 584 years.
    pub const MAX: Self = Self(u64::MAX);

    /// A length in seconds, [`Nanos::MAX`] if it is longer than that.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// A length in milliseconds, [`Nanos::MAX`] if it is longer than that.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The same length, [`Nanos::MAX`] if it is longer than that.
    pub const fn from_duration(length: Duration) -> Self {
        // Not `as_nanos`: BPF has no 128-bit arithmetic.
        Self::from_secs(length.as_secs()).saturating_add(Self(length.subsec_nanos() as u64))
    }

    /// The same length.
    pub const fn to_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The moment `length` after this one, or the last there is.
    #[must_use]
    pub const fn saturating_add(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// The time since `earlier`, zero if that is not earlier.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Nanos {
    fn from(length: Duration) -> Self {
        Self::from_duration(length)
    }
}

impl From<Nanos> for Duration {
    fn from(length: Nanos) -> Self {
        length.to_duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_duration_to_the_nanosecond() {
        let length = Duration::new(3, 141_592_653);
        assert_eq!(Nanos::from(length), Nanos(3_141_592_653));
        assert_eq!(Duration::from(Nanos::from(length)), length);
    }

    #[test]
    fn saturates_instead_of_wrapping() {
        assert_eq!(Nanos::from(Duration::MAX), Nanos::MAX);
        assert_eq!(Nanos::MAX.saturating_add(Nanos(1)), Nanos::MAX);
        assert_eq!(Nanos(1).saturating_sub(Nanos(2)), Nanos::ZERO);
    }
}
