//! `LISTENERS` and `PORTS`: from what a packet is addressed to, to the listener that it is for.

use super::{high, low, pair};
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

    /// The protocol. `None` if it is none that a listener can have.
    #[inline]
    pub const fn transport(self) -> Option<Transport> {
        match self.protocol {
            6 => Some(Transport::Tcp),
            17 => Some(Transport::Udp),
            _ => None,
        }
    }

    /// Whether its protocol has this number.
    #[inline(always)]
    pub(super) const fn is_of(&self, protocol: u8) -> bool {
        self.protocol == protocol
    }

    /// Where in `PORTS` this port of this protocol is.
    #[inline(always)]
    pub const fn place(self) -> u32 {
        let is_udp = matches!(self.transport(), Some(Transport::Udp));
        (is_udp as u32) << 16 | self.port.to_host() as u32
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

/// How many elements `PORTS` has: one for each port of both protocols.
pub const PORTS: u32 = 1 << 17;

/// Value of `PORTS`: what `LISTENERS` says of one port, as far as a word can hold it.
///
/// All zeros: nobody listens there. The guard asks here first, so that what is for nobody costs it
/// one look, and so does what is for the only listener on its port in most cases.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct PortEntry(u64);

/// What is known of a port and an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// Nobody listens there.
    Nobody,
    /// The listener with this number does.
    Listener(u32),
    /// `LISTENERS` knows.
    Ask,
}

impl PortEntry {
    /// With one more entry of `LISTENERS`, in whatever order.
    #[must_use]
    pub const fn and(self, addr: Addr16, number: u32) -> Self {
        let this = Self::one(addr, number);
        // A listener on every address of both families has two entries.
        let is_same = (self.0 ^ this.0) & !(ANY << KIND_SHIFT) == 0;
        if self.0 == 0 {
            this
        } else if is_same && self.kind() & this.kind() == 0 {
            Self(self.0 | this.0)
        } else {
            Self(ASK << KIND_SHIFT)
        }
    }

    const fn one(addr: Addr16, number: u32) -> Self {
        let (upper, lower) = addr.halves();
        let (any_v4, any_v6) = (ANY_V4.halves(), ANY_V6.halves());
        let (kind, octets) = if upper == any_v4.0 && lower == any_v4.1 {
            (IS_ANY_V4, 0)
        } else if upper == any_v6.0 && lower == any_v6.1 {
            (IS_ANY_V6, 0)
        } else if addr.is_v4() {
            (IS_V4, low(lower))
        } else {
            (ASK, 0)
        };
        if number > NUMBERS {
            return Self(ASK << KIND_SHIFT);
        }
        Self(kind << KIND_SHIFT | pair(octets, number))
    }

    /// Who listens on this port of the address.
    #[inline(always)]
    pub const fn find(self, addr: Addr16) -> Found {
        let kind = self.kind();
        let lower = low(addr.halves().1);
        let is_it = if addr.is_v4() {
            kind & IS_ANY_V4 != 0 || (kind & IS_V4 != 0 && lower == low(self.0))
        } else {
            kind & IS_ANY_V6 != 0
        };
        if kind & ASK != 0 {
            Found::Ask
        } else if is_it {
            Found::Listener(high(self.0) & NUMBERS)
        } else {
            Found::Nobody
        }
    }

    #[inline(always)]
    const fn kind(self) -> u64 {
        self.0 >> KIND_SHIFT
    }
}

// The upper four bits of an entry: what is listened on. Below them the listener's number, and in
// the lower half the IPv4 address.
const KIND_SHIFT: u32 = 60;
const IS_V4: u64 = 1;
const IS_ANY_V4: u64 = 2;
const IS_ANY_V6: u64 = 4;
const ANY: u64 = IS_ANY_V4 | IS_ANY_V6;
const ASK: u64 = 8;
/// The largest number that fits.
const NUMBERS: u32 = (1 << 28) - 1;

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

// SAFETY: a `u64`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PortEntry {}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Addr16 = Addr16::from_v4([192, 0, 2, 1]);
    const OTHER: Addr16 = Addr16::from_v4([192, 0, 2, 2]);
    const V6: Addr16 = Addr16::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);

    fn found(entries: &[(Addr16, u32)]) -> [Found; 3] {
        let port = |entries: &mut dyn Iterator<Item = &(Addr16, u32)>| {
            entries.fold(PortEntry::default(), |port, (addr, number)| {
                port.and(*addr, *number)
            })
        };
        let entry = port(&mut entries.iter());
        assert_eq!(entry, port(&mut entries.iter().rev()));
        [ONE, OTHER, V6].map(|addr| entry.find(addr))
    }

    #[test]
    fn knows_the_only_listener_on_a_port() {
        use Found::{Listener, Nobody};
        assert_eq!(found(&[]), [Nobody; 3]);
        assert_eq!(found(&[(ONE, 7)]), [Listener(7), Nobody, Nobody]);
        let (v4, v6) = ((ANY_V4, 0), (ANY_V6, 0));
        assert_eq!(found(&[v4]), [Listener(0), Listener(0), Nobody]);
        assert_eq!(found(&[v6]), [Nobody, Nobody, Listener(0)]);
        assert_eq!(found(&[v4, v6]), [Listener(0); 3]);
        assert_eq!(found(&[(ANY_V4, NUMBERS)])[0], Listener(NUMBERS));
    }

    #[test]
    fn asks_for_what_a_word_cannot_hold() {
        for entries in [
            &[(V6, 0)][..],
            &[(ONE, 0), (OTHER, 0)],
            &[(ONE, 0), (OTHER, 1)],
            &[(ONE, 0), (ANY_V4, 1)],
            &[(ANY_V4, 0), (ANY_V6, 1)],
            &[(ANY_V4, 0), (ANY_V6, 0), (ONE, 1)],
            &[(ONE, NUMBERS + 1)],
        ] {
            assert_eq!(found(entries), [Found::Ask; 3], "{entries:?}");
        }
    }

    #[test]
    fn every_port_of_both_protocols_has_a_place() {
        let place =
            |transport, port| ListenerKey::new(transport, ANY_V6, Be16::from_host(port)).place();
        assert_eq!(place(Transport::Tcp, 0), 0);
        assert_eq!(place(Transport::Tcp, 443), 443);
        assert_eq!(place(Transport::Udp, 443), 0x1_0000 + 443);
        assert_eq!(place(Transport::Udp, u16::MAX), PORTS - 1);
    }
}
