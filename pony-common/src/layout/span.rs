//! `SPANS` and `HOLES`: what a listener on many addresses and ports takes, and what it leaves.

use super::listener::{ListenerKey, Transport};
use crate::addr::{Addr16, leading_ones};

/// One element of `SPANS`: the addresses of a prefix and a range of ports, and which socket gets
/// what is sent there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Span {
    /// The prefix and its mask, as the halves of an [`Addr16`].
    net: [u64; 2],
    mask: [u64; 2],
    first_port: u16,
    last_port: u16,
    /// Its place in `LISTENING`.
    pub socket: u32,
    protocol: u8,
    /// Not 0: no address of IPv6 is meant, else none of IPv4.
    is_v4: u8,
    reserved: [u8; 6],
}

const _: () = assert!(size_of::<Span>() == 16 + 16 + 2 + 2 + 4 + 1 + 1 + 6);

impl Span {
    /// All ports from `first` to `last`, of all addresses that begin with the same `bits` bits as
    /// `net`. `bits` are of an IPv4 address if `net` is one.
    pub const fn new(
        transport: Transport,
        (net, bits): (Addr16, u8),
        (first, last): (u16, u16),
        socket: u32,
    ) -> Self {
        let bits = if net.is_v4() {
            MAPPED_BITS.saturating_add(bits)
        } else {
            bits
        };
        let mask = [leading_ones(bits), leading_ones(bits.saturating_sub(64))];
        let (upper, lower) = net.halves();
        Self {
            net: [upper & mask[0], lower & mask[1]],
            mask,
            first_port: first,
            last_port: last,
            socket,
            protocol: transport as u8,
            is_v4: net.is_v4() as u8,
            reserved: [0; 6],
        }
    }

    /// Whether what is sent there is within it. No IPv4 address is within a prefix of IPv6.
    #[inline(always)]
    pub const fn covers(&self, key: &ListenerKey) -> bool {
        let (upper, lower) = key.addr.halves();
        let port = key.port.to_host();
        port >= self.first_port
            && port <= self.last_port
            && key.is_of(self.protocol)
            && upper & self.mask[0] == self.net[0]
            && lower & self.mask[1] == self.net[1]
            && (self.is_v4 != 0) == key.addr.is_v4()
    }
}

/// How many bits stand before an IPv4 address in its mapped form.
pub(super) const MAPPED_BITS: u8 = 96;

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Span {}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::addr::Be16;

    fn key(transport: Transport, addr: &str, port: u16) -> ListenerKey {
        let ip: IpAddr = addr.parse().unwrap();
        ListenerKey::new(transport, ip.into(), Be16::from_host(port))
    }

    fn span(net: &str, bits: u8, ports: (u16, u16)) -> Span {
        let ip: IpAddr = net.parse().unwrap();
        Span::new(Transport::Tcp, (ip.into(), bits), ports, 0)
    }

    #[test]
    fn covers_its_ports_of_its_prefix_and_nothing_else() {
        let rows = [
            ("0.0.0.0", 0, "203.0.113.9", true),
            ("0.0.0.0", 0, "::1", false),
            ("::", 0, "::1", true),
            ("::", 0, "192.0.2.1", false),
            ("192.0.2.0", 24, "192.0.2.255", true),
            ("192.0.2.0", 24, "192.0.3.0", false),
            ("192.0.2.7", 32, "192.0.2.7", true),
            ("192.0.2.7", 32, "192.0.2.6", false),
            ("2001:db8::", 64, "2001:db8::ffff", true),
            ("2001:db8::", 64, "2001:db8:0:1::", false),
            ("2001:db8::", 65, "2001:db8::8000:0:0:0", false),
            ("2001:db8::1", 128, "2001:db8::1", true),
            ("2001:db8::1", 128, "2001:db8::2", false),
        ];
        for (net, bits, addr, expected) in rows {
            let span = span(net, bits, (1000, 2000));
            let covers = |port| span.covers(&key(Transport::Tcp, addr, port));
            let of_port = [999, 1000, 1500, 2000, 2001].map(covers);
            let within = [false, expected, expected, expected, false];
            assert_eq!(of_port, within, "{net}/{bits} {addr}");
            assert!(!span.covers(&key(Transport::Udp, addr, 1500)));
        }
    }

    #[test]
    fn the_last_port_has_no_successor() {
        let span = span("::", 0, (1, u16::MAX));
        assert!(span.covers(&key(Transport::Tcp, "::1", u16::MAX)));
        assert!(!span.covers(&key(Transport::Tcp, "::1", 0)));
    }

    #[test]
    fn bits_behind_the_prefix_do_not_matter() {
        let (masked, given) = (span("192.0.2.0", 24, (1, 2)), span("192.0.2.9", 24, (1, 2)));
        assert_eq!(masked, given);
    }
}
