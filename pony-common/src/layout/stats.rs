//! `STATS`: what the guard did with the packets of every listener, and why.

use crate::reason::Reason;

/// One CPU's part of one slot of `STATS`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Tally {
    /// Packets as the interface handed them up: several that it merged count as one.
    pub packets: u64,
    /// Payload bytes of TCP or UDP, without any header.
    pub bytes: u64,
    /// Connections or datagrams that were refused, or would have been: a SYN that is sent again
    /// counts once. Zero for what passed.
    pub attempts: u64,
}

const _: () = assert!(size_of::<Tally>() == 8 + 8 + 8);

impl core::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            packets: sum.packets.wrapping_add(part.packets),
            bytes: sum.bytes.wrapping_add(part.bytes),
            attempts: sum.attempts.wrapping_add(part.attempts),
        })
    }
}

/// What happened to a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Slot {
    /// It went on to the listener.
    Pass,
    /// It was refused.
    Drop(Reason),
    /// It went on, though a limit was violated: the action is `log_only`.
    Report(Reason),
    /// A listener sent it.
    Sent,
}

impl Slot {
    /// Every slot, each at the index that is its value.
    pub const ALL: [Self; SLOTS as usize] = {
        let mut all = [Self::Pass; SLOTS as usize];
        let mut at = 0;
        while at < REASONS as usize {
            all[DROP as usize + at] = Self::Drop(Reason::ALL[at]);
            all[REPORT as usize + at] = Self::Report(Reason::ALL[at]);
            at += 1;
        }
        all[SENT as usize] = Self::Sent;
        all
    };

    /// The number of this slot.
    #[inline]
    pub const fn value(self) -> u32 {
        match self {
            Self::Pass => 0,
            Self::Drop(reason) => DROP + reason as u32,
            Self::Report(reason) => REPORT + reason as u32,
            Self::Sent => SENT,
        }
    }

    /// The slot with this number.
    pub fn from_value(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }

    /// Where the counters of this slot and `listener` are in `STATS`.
    #[inline]
    pub const fn index(self, listener: u32) -> u32 {
        listener.wrapping_mul(SLOTS).wrapping_add(self.value())
    }

    /// The verdict in metric labels.
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop(_) => "drop",
            Self::Report(_) => "report",
            Self::Sent => "sent",
        }
    }

    /// The reason in metric labels.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Pass | Self::Sent => "none",
            Self::Drop(reason) | Self::Report(reason) => reason.as_str(),
        }
    }
}

/// How many slots each listener has in `STATS`.
pub const SLOTS: u32 = SENT + 1;

const REASONS: u32 = 7;
const _: () = assert!(REASONS as usize == Reason::ALL.len());
const DROP: u32 = 1;
const REPORT: u32 = DROP + REASONS;
const SENT: u32 = REPORT + REASONS;

// SAFETY: three `u64`s, no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Tally {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_listed_at_its_value() {
        for (value, slot) in (0..).zip(Slot::ALL) {
            assert_eq!(slot.value(), value);
            assert_eq!(Slot::from_value(value), Some(slot));
            assert_eq!(slot.index(3), 3 * SLOTS + value);
        }
        assert_eq!(Slot::from_value(SLOTS), None);
        assert_eq!(SLOTS, 16);
    }

    #[test]
    fn says_what_happened_and_why() {
        let labels = |slot: Slot| (slot.verdict(), slot.reason());
        assert_eq!(labels(Slot::Pass), ("pass", "none"));
        assert_eq!(labels(Slot::Drop(Reason::Acl)), ("drop", "acl"));
        let over = Slot::Report(Reason::BandwidthLimit);
        assert_eq!(labels(over), ("report", "bandwidth_limit"));
        assert_eq!(labels(Slot::Sent), ("sent", "none"));
    }
}
