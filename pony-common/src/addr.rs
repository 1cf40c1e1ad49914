//! Addresses and ports in the one form that both sides of the kernel border use.
//!
//! The only file of the workspace that swaps bytes of addresses and ports.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 16-bit number in network byte order.
///
/// Ports keep this form from packet to map, so a port in the wrong order is a type error.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// From a number of this machine.
    pub const fn from_host(value: u16) -> Self {
        Self(value.to_be_bytes())
    }

    /// As a number of this machine.
    pub const fn to_host(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// An IPv6 address, or an IPv4 address in its mapped form (`::ffff:a.b.c.d`).
///
/// One form for both families, so one table serves both, and a client that reaches a dual-stack
/// socket over IPv4 is the same client as on an IPv4 socket.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Addr16(pub [u8; 16]);

impl Addr16 {
    /// From the four bytes of an IPv4 header.
    #[inline]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_halves(0, 0xffff << 32 | u32::from_be_bytes(octets) as u64)
    }

    /// From two numbers, the first 64 bits and the last.
    ///
    /// Whatever is made this way is written as two words. Bytes that were written one by one would
    /// make the processor wait when they are read as words, which is how maps compare them.
    #[inline(always)]
    pub const fn from_halves(upper: u64, lower: u64) -> Self {
        let mut octets = [0; 16];
        let (first, last) = octets.split_at_mut(8);
        first.copy_from_slice(&upper.to_be_bytes());
        last.copy_from_slice(&lower.to_be_bytes());
        Self(octets)
    }

    /// From the sixteen bytes of an IPv6 address, in four parts.
    #[inline(always)]
    pub const fn from_words([a, b, c, d]: [[u8; 4]; 4]) -> Self {
        Self::from_halves(joined(a, b), joined(c, d))
    }

    /// From the sixteen bytes of an IPv6 header.
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Whether it is an IPv4 address.
    #[inline]
    pub const fn is_v4(self) -> bool {
        let (upper, lower) = self.halves();
        upper == 0 && lower >> 32 == 0xffff
    }

    /// The client that this address belongs to: itself if IPv4, else its first `v6_bits` bits.
    #[inline]
    #[must_use]
    pub const fn prefix(self, v6_bits: u8) -> Self {
        if self.is_v4() {
            return self;
        }
        // Two numbers and not sixteen bytes: the verifier follows every branch.
        let (upper, lower) = self.halves();
        Self::from_halves(
            upper & leading_ones(v6_bits),
            lower & leading_ones(v6_bits.saturating_sub(64)),
        )
    }

    /// As two numbers, the first 64 bits and the last. An IPv4 address is the last 32 bits.
    #[inline(always)]
    pub const fn halves(self) -> (u64, u64) {
        match (self.0.first_chunk(), self.0.last_chunk()) {
            (Some(upper), Some(lower)) => (u64::from_be_bytes(*upper), u64::from_be_bytes(*lower)),
            // It has sixteen bytes.
            _ => (0, 0),
        }
    }

    /// As a standard address, IPv4 if it is one.
    pub const fn to_ip(self) -> IpAddr {
        Ipv6Addr::from_octets(self.0).to_canonical()
    }
}

/// Eight bytes as one number.
#[inline(always)]
const fn joined(first: [u8; 4], last: [u8; 4]) -> u64 {
    (u32::from_be_bytes(first) as u64) << 32 | u32::from_be_bytes(last) as u64
}

/// A mask of `bits` ones from the top; all ones from 64 on.
#[inline(always)]
pub(crate) const fn leading_ones(bits: u8) -> u64 {
    match bits {
        0..64 => !(u64::MAX >> bits),
        64.. => u64::MAX,
    }
}

impl From<IpAddr> for Addr16 {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }
}

impl From<Ipv4Addr> for Addr16 {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4(ip.octets())
    }
}

impl From<Ipv6Addr> for Addr16 {
    fn from(ip: Ipv6Addr) -> Self {
        Self::from_v6(ip.octets())
    }
}

impl From<Addr16> for IpAddr {
    fn from(addr: Addr16) -> Self {
        addr.to_ip()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> Addr16 {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn four_words_make_an_address() {
        let words = [
            [0x20, 1, 0xd, 0xb8],
            [0, 1, 0, 2],
            [0, 3, 0, 4],
            [0, 5, 0, 6],
        ];
        assert_eq!(Addr16::from_words(words), addr("2001:db8:1:2:3:4:5:6"));
    }

    #[test]
    fn keeps_ports_in_network_order() {
        assert_eq!(Be16::from_host(0x1234).0, [0x12, 0x34]);
        assert_eq!(Be16::from_host(53).to_host(), 53);
    }

    #[test]
    fn an_ipv4_address_and_its_mapped_form_are_one() {
        assert_eq!(addr("192.0.2.1"), addr("::ffff:192.0.2.1"));
        assert!(addr("192.0.2.1").is_v4());
        assert_eq!(addr("::ffff:192.0.2.1").to_ip().to_string(), "192.0.2.1");
        assert!(!addr("::192.0.2.1").is_v4(), "compatible is not mapped");
        assert!(!addr("::fffe:c000:201").is_v4());
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_prefix() {
        assert_eq!(addr("192.0.2.1").prefix(8), addr("192.0.2.1"));
        assert_eq!(
            addr("2001:db8:1:2:3:4:5:6").prefix(64),
            addr("2001:db8:1:2::")
        );
        assert_eq!(
            addr("2001:db8:1:2:3:4:5:6").prefix(128),
            addr("2001:db8:1:2:3:4:5:6")
        );
        assert_eq!(addr("2001:db8:1:2:3:4:5:6").prefix(0), addr("::"));
        assert_eq!(addr("::ffff:192.0.2.1").prefix(64), addr("192.0.2.1"));
    }

    #[test]
    fn has_two_halves() {
        let halves = addr("2001:db8:1:2:3:4:5:6").halves();
        assert_eq!(halves, (0x2001_0db8_0001_0002, 0x0003_0004_0005_0006));
        assert_eq!(addr("192.0.2.1").halves(), (0, 0xffff_c000_0201));
    }

    use std::string::ToString as _;

    proptest! {
        #[test]
        fn a_prefix_keeps_exactly_its_bits(octets: [u8; 16], bits in 0..=128_u8) {
            let whole = Addr16(octets);
            prop_assume!(!whole.is_v4());
            let kept = whole.prefix(bits);
            for bit in 0..128 {
                let of = |a: Addr16| a.0[bit / 8] >> (7 - bit % 8) & 1;
                let expected = if bit < usize::from(bits) { of(whole) } else { 0 };
                prop_assert_eq!(of(kept), expected, "bit {}", bit);
            }
        }
    }
}
