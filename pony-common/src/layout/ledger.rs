//! `LEDGER` and `STATS`: what clients have sent, per client and per listener.

use crate::addr::Addr16;

/// Key of `LEDGER`: one client on one listener.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct LedgerKey {
    /// The listener's number, see [`ListenerEntry`](super::listener::ListenerEntry).
    pub listener: u32,
    /// An IPv4 address in its mapped form, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
}

const _: () = assert!(size_of::<LedgerKey>() == 4 + 16);

/// Value of `LEDGER`, and of one CPU's slot in `STATS`: how much was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Traffic {
    /// Packets as the interface handed them up: several that it merged count as one.
    pub packets: u64,
    /// Payload bytes of TCP or UDP, without any header.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Traffic>() == 8 + 8);

impl core::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            packets: sum.packets.wrapping_add(part.packets),
            bytes: sum.bytes.wrapping_add(part.bytes),
        })
    }
}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for LedgerKey {}

// SAFETY: two `u64`s, no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Traffic {}
