//! `LISTENERS`, `NETS` and `PORTS`: from what a packet is addressed to, to the listener that it is
//! for.

use super::{high, low, pair, span::MAPPED_BITS};
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

impl Transport {
    /// The one with this IP protocol number.
    #[inline(always)]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
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
        Transport::from_number(self.protocol as u16)
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

/// Value of `LISTENERS` and of `NETS`: the listener that is found there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct ListenerRef(u32);

impl ListenerRef {
    /// Somebody is here whom the guard leaves alone.
    pub const UNGUARDED: Self = Self(u32::MAX);

    /// The listener with this number, which has the port to itself.
    pub const fn alone(number: u32) -> Self {
        Self(number & NUMBERS)
    }

    /// The listener with this number, which has many ports. Others use them too: in connections
    /// that they opened themselves, or have had before.
    pub const fn shared(number: u32) -> Self {
        Self(number & NUMBERS | SHARED)
    }

    /// The same on every address of a family.
    #[must_use]
    pub const fn on_any_address(self) -> Self {
        Self(self.0 | ANY_ADDRESS)
    }

    /// The listener's number: its slot in `STATS` and its part of the keys of `LEDGER`.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 & NUMBERS
    }

    /// Whether others use its ports too.
    #[inline(always)]
    pub const fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    /// Whether it is on every address of a family, which are those of this machine. What is sent to
    /// another's is only forwarded.
    #[inline(always)]
    pub const fn is_on_any_address(self) -> bool {
        self.0 & ANY_ADDRESS != 0
    }

    /// Itself, unless it is to be left alone.
    #[inline(always)]
    pub fn guarded(self) -> Option<Self> {
        (self != Self::UNGUARDED).then_some(self)
    }
}

/// Where the number of a listener is. There are never so many.
const NUMBERS: u32 = (1 << 26) - 1;
const SHARED: u32 = 1 << 26;
const ANY_ADDRESS: u32 = 1 << 27;

/// Key of `NETS`: an address, on ports that belong to the prefixes of the same listeners.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct NetKey {
    /// With the family, so that no address of IPv4 is within a prefix of IPv6.
    group: u32,
    addr: Addr16,
}

const _: () = assert!(size_of::<NetKey>() == 4 + 16);

impl NetKey {
    /// The length of a whole key, in bits.
    pub const BITS: u32 = 32 + 128;

    /// The address, on a port of this group. Groups have numbers below 2³¹.
    #[inline(always)]
    pub const fn new(group: u32, addr: Addr16) -> Self {
        Self {
            group: group << 1 | addr.is_v4() as u32,
            addr,
        }
    }

    /// The length of the key for a prefix of this length that begins with its address, in bits.
    /// The prefix is one of IPv4 if the address is.
    pub fn prefix_bits(&self, len: u8) -> u32 {
        let before = if self.addr.is_v4() { MAPPED_BITS } else { 0 };
        32 + u32::from(before) + u32::from(len)
    }
}

/// How many elements `PORTS` has: one for each port of both protocols.
pub const PORTS: u32 = 1 << 17;

/// Value of `PORTS`: what `LISTENERS` and `NETS` say of one port, as far as a word can hold it.
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
    /// The listener does.
    Listener(ListenerRef),
    /// `LISTENERS` knows, or else `NETS`, if the port is one of a group there. No group has the
    /// number 0.
    Ask(u32),
}

impl PortEntry {
    /// What is asked further: `LISTENERS`, and `NETS` for this group.
    pub const fn ask(group: u32) -> Self {
        Self(ASK << KIND_SHIFT | group as u64)
    }

    /// Whether a word does not hold it.
    pub const fn is_ask(self) -> bool {
        self.kind() & ASK != 0
    }

    /// With one more listener on one address, or on all of a family; in whatever order.
    #[must_use]
    pub const fn and(self, addr: Addr16, listener: ListenerRef) -> Self {
        let this = Self::one(addr, listener);
        // A listener on every address of both families has two entries.
        let is_same = (self.0 ^ this.0) & !(ANY << KIND_SHIFT) == 0;
        if self.0 == 0 {
            this
        } else if is_same && self.kind() & this.kind() == 0 {
            Self(self.0 | this.0)
        } else {
            Self::ask(0)
        }
    }

    const fn one(addr: Addr16, listener: ListenerRef) -> Self {
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
        if kind == ASK || listener.0 == ListenerRef::UNGUARDED.0 {
            return Self::ask(0);
        }
        Self(kind << KIND_SHIFT | pair(octets, listener.0))
    }

    /// Who listens on this port of the address.
    #[inline(always)]
    pub const fn find(self, addr: Addr16) -> Found {
        let kind = self.kind();
        let lower_half = low(self.0);
        let lower = low(addr.halves().1);
        let is_it = if addr.is_v4() {
            kind & IS_ANY_V4 != 0 || (kind & IS_V4 != 0 && lower == lower_half)
        } else {
            kind & IS_ANY_V6 != 0
        };
        if kind & ASK != 0 {
            Found::Ask(lower_half)
        } else if is_it {
            Found::Listener(ListenerRef(high(self.0) & (ANY_ADDRESS | SHARED | NUMBERS)))
        } else {
            Found::Nobody
        }
    }

    #[inline(always)]
    const fn kind(self) -> u64 {
        self.0 >> KIND_SHIFT
    }
}

// The upper four bits of an entry: what is listened on. Below them the listener, and in the lower
// half the IPv4 address or the group.
const KIND_SHIFT: u32 = 60;
const IS_V4: u64 = 1;
const IS_ANY_V4: u64 = 2;
const IS_ANY_V6: u64 = 4;
const ANY: u64 = IS_ANY_V4 | IS_ANY_V6;
const ASK: u64 = 8;
/// `0.0.0.0`, every address of IPv4.
pub const ANY_V4: Addr16 = Addr16::from_v4([0; 4]);
/// `::`, every address of IPv6.
pub const ANY_V6: Addr16 = Addr16::from_v6([0; 16]);

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ListenerKey {}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for NetKey {}

// SAFETY: a `u32`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ListenerRef {}

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
                port.and(*addr, ListenerRef::alone(*number))
            })
        };
        let entry = port(&mut entries.iter());
        assert_eq!(entry, port(&mut entries.iter().rev()));
        [ONE, OTHER, V6].map(|addr| entry.find(addr))
    }

    const fn listener(number: u32) -> Found {
        Found::Listener(ListenerRef::alone(number))
    }

    #[test]
    fn knows_the_only_listener_on_a_port() {
        use Found::Nobody;
        assert_eq!(found(&[]), [Nobody; 3]);
        assert_eq!(found(&[(ONE, 7)]), [listener(7), Nobody, Nobody]);
        let (v4, v6) = ((ANY_V4, 0), (ANY_V6, 0));
        assert_eq!(found(&[v4]), [listener(0), listener(0), Nobody]);
        assert_eq!(found(&[v6]), [Nobody, Nobody, listener(0)]);
        assert_eq!(found(&[v4, v6]), [listener(0); 3]);
        assert_eq!(found(&[(ANY_V4, NUMBERS)])[0], listener(NUMBERS));
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
        ] {
            assert_eq!(found(entries), [Found::Ask(0); 3], "{entries:?}");
        }
        let unguarded = PortEntry::default().and(ONE, ListenerRef::UNGUARDED);
        assert_eq!(unguarded.find(ONE), Found::Ask(0));
    }

    #[test]
    fn knows_who_shares_a_port_and_which_group_it_is_of() {
        let shared = ListenerRef::shared(NUMBERS);
        let port = PortEntry::default().and(ANY_V4, shared);
        assert_eq!(port.find(ONE), Found::Listener(shared));
        assert!(shared.is_shared() && shared.number() == NUMBERS);
        assert!(!ListenerRef::alone(NUMBERS).is_shared());
        assert_eq!(port.and(ANY_V6, shared).find(V6), Found::Listener(shared));
        let anywhere = ListenerRef::alone(1).on_any_address();
        assert!(anywhere.is_on_any_address() && !anywhere.is_shared());
        let port_of_all = PortEntry::default().and(ANY_V6, anywhere);
        assert_eq!(port_of_all.find(V6), Found::Listener(anywhere));
        let alone = ListenerRef::alone(NUMBERS);
        assert!(port.and(ANY_V6, alone).is_ask(), "two listeners");
        assert_eq!(PortEntry::ask(1 << 30).find(V6), Found::Ask(1 << 30));
    }

    #[test]
    fn a_prefix_of_a_family_has_none_of_the_other() {
        let key = NetKey::new(7, V6);
        assert_eq!(
            (key.prefix_bits(0), key.prefix_bits(128)),
            (32, NetKey::BITS)
        );
        let key = NetKey::new(7, ONE);
        assert_eq!(
            (key.prefix_bits(0), key.prefix_bits(32)),
            (128, NetKey::BITS)
        );
        assert_ne!(NetKey::new(7, ONE).group, NetKey::new(7, V6).group);
        assert_ne!(NetKey::new(7, V6).group, NetKey::new(6, ONE).group);
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
