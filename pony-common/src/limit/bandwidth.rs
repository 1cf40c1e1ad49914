//! How many bytes one client may move, and what happens when it wants more.
//!
//! One [`Bandwidth`] counts the payload of both directions and of all the connections or sessions
//! of a client. In any interval of the window's length it admits
//!
//! - [`Action::Drop`]: at most the limit;
//! - [`Action::Throttle`]: at most the limit, `throttle_minimum` and one quantum or datagram,
//!   where a quantum is what [`QUANTUM`] of time is worth at the throttled rate, at least a byte;
//! - [`Action::LogOnly`]: everything, saying what was over.
//!
//! Zero bytes are always admitted.

use super::window::{MAX_ADD, Window, until_next_slot};
use crate::{cell::Cell64, time::Nanos};

/// What happens to a client that is over a limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum Action {
    /// It is refused.
    #[default]
    Drop = 0,
    /// Its bytes are paced. Limits that count connections or attempts still refuse.
    Throttle = 1,
    /// Nothing, but it is counted and logged.
    LogOnly = 2,
}

/// At most `limit` bytes in any interval of length `window`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BandwidthLimit {
    /// How many bytes.
    pub limit: u64,
    /// In how much time.
    pub window: Nanos,
    /// What happens beyond that.
    pub action: Action,
    /// With [`Action::Throttle`]: bytes per `window` that a client gets beyond the limit.
    pub throttle_minimum: u64,
}

/// How much of a stream may be forwarded now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "bytes that were not granted must not be forwarded"]
pub enum Charge {
    /// This many bytes, at most what was wanted. Ask again for the rest.
    Grant(u64),
    /// All that was wanted, though it is over the limit ([`Action::LogOnly`]).
    GrantOver(u64),
    /// None now. Ask again after this long.
    Wait(Nanos),
    /// None: the client is over its limit ([`Action::Drop`]).
    Over,
}

/// Whether a datagram may be forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a dropped datagram must not be forwarded"]
pub enum DatagramCharge {
    /// Yes.
    Pass,
    /// Yes, though it is over the limit ([`Action::LogOnly`]).
    PassOver,
    /// No. It was not counted either.
    Drop,
}

/// The recent bytes of one client.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Bandwidth<T> {
    window: Window<T>,
    /// When the bytes that were granted beyond the limit are paid for with time, in [`Nanos`].
    paid_until: T,
}

const _: () = assert!(size_of::<Bandwidth<u64>>() == 288);

impl<T: Cell64> Bandwidth<T> {
    /// Grants and counts up to `want` bytes of a stream, at most 4 GiB at once.
    #[inline]
    pub fn charge(&self, limit: &BandwidthLimit, now: Nanos, want: u64) -> Charge {
        if want == 0 {
            return Charge::Grant(0);
        }
        let room = self.room(limit, now);
        match limit.action {
            Action::LogOnly => {
                self.record(limit, now, want);
                if want <= room {
                    Charge::Grant(want)
                } else {
                    Charge::GrantOver(want)
                }
            }
            Action::Drop | Action::Throttle if room > 0 => {
                let granted = want.min(room).min(MAX_ADD);
                self.record(limit, now, granted);
                Charge::Grant(granted)
            }
            Action::Drop => Charge::Over,
            Action::Throttle => self.pace(limit, now, want),
        }
    }

    /// Decides about a datagram of `len` bytes, all or nothing, and counts it if it passes.
    #[inline]
    pub fn charge_datagram(&self, limit: &BandwidthLimit, now: Nanos, len: u64) -> DatagramCharge {
        let fits = limit.allows(self.window.sum(now, limit.window), len);
        let verdict = match limit.action {
            _ if fits || len == 0 => DatagramCharge::Pass,
            Action::LogOnly => DatagramCharge::PassOver,
            Action::Throttle if self.pay(limit, now, now, len) => DatagramCharge::Pass,
            Action::Drop | Action::Throttle => return DatagramCharge::Drop,
        };
        self.record(limit, now, len);
        verdict
    }

    /// Counts `n` bytes that nobody was asked about.
    #[inline]
    pub fn record(&self, limit: &BandwidthLimit, now: Nanos, n: u64) {
        self.window.record(now, limit.window, n);
    }

    /// How many bytes more would be within the limit.
    #[inline]
    pub fn room(&self, limit: &BandwidthLimit, now: Nanos) -> u64 {
        limit
            .limit
            .saturating_sub(self.window.sum(now, limit.window))
    }

    /// Whether at least one more byte would be within the limit.
    #[inline]
    pub fn has_room(&self, limit: &BandwidthLimit, now: Nanos) -> bool {
        limit.allows(self.window.sum(now, limit.window), 1)
    }

    #[inline]
    fn pace(&self, limit: &BandwidthLimit, now: Nanos, want: u64) -> Charge {
        let granted = want.min(limit.grant());
        // A waiter wakes a little late, which must not slow the client down for ever.
        if self.pay(limit, now, now.saturating_sub(LATENESS), granted) {
            self.record(limit, now, granted);
            return Charge::Grant(granted);
        }
        // Not longer than the window may take to have room again.
        let forgiven = until_next_slot(now, limit.window);
        if limit.throttle_minimum == 0 {
            return Charge::Wait(forgiven);
        }
        let owed = Nanos(self.paid_until.load()).saturating_sub(now);
        Charge::Wait(forgiven.min(owed).max(Nanos(1)))
    }

    /// Pays for `bytes` with time from `since` on, if what was granted before is paid for.
    #[inline]
    fn pay(&self, limit: &BandwidthLimit, now: Nanos, since: Nanos, bytes: u64) -> bool {
        let paid_until = Nanos(self.paid_until.load());
        if limit.throttle_minimum == 0 || now < paid_until {
            return false;
        }
        let due = paid_until.max(since);
        let due = due.saturating_add(limit.time_for(bytes));
        self.paid_until.swap_if(paid_until.0, due.0).is_ok()
    }
}

impl BandwidthLimit {
    /// Whether `len` bytes more are within the limit, after so many within the window.
    #[inline]
    pub const fn allows(&self, before: u64, len: u64) -> bool {
        len <= self.limit.saturating_sub(before)
    }

    /// How many bytes a paced stream gets at once.
    #[inline]
    const fn grant(&self) -> u64 {
        let grants_per_window = self.window.0.div_ceil(GRANT.0);
        let parts = if grants_per_window == 0 {
            1
        } else {
            grants_per_window
        };
        let bytes = self.throttle_minimum / parts;
        if bytes == 0 { 1 } else { bytes }
    }

    /// How long `bytes` take at the throttled rate, rounded up. For up to 4 GiB at once.
    #[inline]
    const fn time_for(&self, bytes: u64) -> Nanos {
        // `bytes × window / throttle_minimum` without 128 bits: a rate of more than 4 GiB per
        // window loses its lowest bits (to the slower side), so that the product below fits.
        let shift = u32::BITS.saturating_sub(self.throttle_minimum.leading_zeros());
        let window = (self.window.0 >> shift).saturating_add((shift > 0) as u64);
        let rate = match self.throttle_minimum >> shift {
            0 => 1,
            rate => rate,
        };
        let bytes = if bytes > u32::MAX as u64 {
            u32::MAX as u64
        } else {
            bytes
        };
        // Both factors are below 2³².
        let rest = bytes.wrapping_mul(window % rate).div_ceil(rate);
        Nanos(product(bytes, window / rate).saturating_add(rest))
    }
}

/// `a × b`, or `u64::MAX` if that does not surely fit.
///
/// Not `saturating_mul`, which BPF can't compile: it becomes a call of `__multi3`.
#[inline]
const fn product(a: u64, b: u64) -> u64 {
    if a.leading_zeros() + b.leading_zeros() < u64::BITS {
        return u64::MAX;
    }
    a.wrapping_mul(b)
}

/// How much time one quantum of a paced stream is worth: a grant, and what a late waiter catches up.
pub const QUANTUM: Nanos = Nanos(GRANT.0 + LATENESS.0);
const GRANT: Nanos = Nanos::from_millis(90);
const LATENESS: Nanos = Nanos::from_millis(10);

#[cfg(test)]
mod tests;
