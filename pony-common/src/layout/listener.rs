//! `LISTENERS`: from what a packet is addressed to, to the listener that it is for.

use crate::addr::{Addr16, Be16};

/// The protocols that a listener can have, with their IP protocol numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// Key of `LISTENERS`: what a packet is addressed to.
///
/// A listener on every address of a family has the wildcard address of that family.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct ListenerKey {
    /// The address that is listened on.
    pub addr: Addr16,
    /// The port that is listened on.
    pub port: Be16,
    protocol: u8,
    /// Always zero: a map compares every byte of its key.
    reserved: u8,
}

const _: () = assert!(size_of::<ListenerKey>() == 16 + 2 + 1 + 1);
const _: () = assert!(align_of::<ListenerKey>() == 1);

impl ListenerKey {
    /// The key of a listener on this address and port.
    #[inline]
    pub const fn new(transport: Transport, addr: Addr16, port: Be16) -> Self {
        Self {
            addr,
            port,
            protocol: transport as u8,
            reserved: 0,
        }
    }

    /// The key of a listener on the same port of every address of this one's family.
    #[inline]
    #[must_use]
    pub const fn wildcard(self) -> Self {
        let addr = if self.addr.is_v4() { ANY_V4 } else { ANY_V6 };
        Self { addr, ..self }
    }
}

/// Value of `LISTENERS`: the listener and what the guard must know of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct ListenerEntry {
    /// The listener's number: its slot in `STATS` and its part of the keys of `LEDGER`.
    pub number: u32,
    /// How many bits of an IPv6 address make a client.
    pub ipv6_prefix: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<ListenerEntry>() == 4 + 1 + 3);

impl ListenerEntry {
    /// The entry of the listener with this number.
    pub const fn new(number: u32, ipv6_prefix: u8) -> Self {
        Self {
            number,
            ipv6_prefix,
            reserved: [0; 3],
        }
    }
}

/// `0.0.0.0`, every address of IPv4.
pub const ANY_V4: Addr16 = Addr16::from_v4([0; 4]);
/// `::`, every address of IPv6.
pub const ANY_V6: Addr16 = Addr16::from_v6([0; 16]);

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ListenerKey {}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ListenerEntry {}
