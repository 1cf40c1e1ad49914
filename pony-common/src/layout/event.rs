//! `EVENTS`: what the guard reports to the daemon, a record at a time.

use crate::{addr::Addr16, time::Nanos};

/// A record of `EVENTS`: refusals, or violations with `log_only`, of one client on one listener
/// for one reason, all since the last record for the same three.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Event {
    /// When the last of them happened.
    pub at: Nanos,
    /// The listener's number.
    pub listener: u32,
    /// The value of the [`Slot`](super::stats::Slot).
    pub slot: u32,
    /// An IPv4 address in its mapped form, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
    /// How many packets it stands for.
    pub packets: u64,
    /// How many payload bytes.
    pub bytes: u64,
    /// How many refused connections or datagrams; a SYN that is sent again counts once.
    pub attempts: u64,
}

const _: () = assert!(size_of::<Event>() == 8 + 4 + 4 + 16 + 8 + 8 + 8);

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Event {}
