//! Frames of chosen clients, made from the fixtures.

use std::net::IpAddr;

use pony_ebpf::fixtures::rows;

/// One frame, to be changed before it is sent.
#[derive(Clone)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

/// Where a frame without tags has what follows the Ethernet header.
const IP: usize = 14;
const V6_BODY: usize = IP + 40;

impl Frame {
    /// The fixture of this name.
    pub(crate) fn row(name: &str) -> Self {
        let row = rows().into_iter().find(|row| row.name == name);
        Self(row.expect("a fixture").frame)
    }

    /// A SYN over IPv4 from this client's port.
    pub(crate) fn syn(client: u8, port: u16) -> Self {
        Self::row("TCP without payload")
            .flags(0x02)
            .client(client)
            .port(port)
    }

    /// A SYN over IPv6 from this client's port.
    pub(crate) fn syn_v6(client: u8, port: u16) -> Self {
        Self::row("TCP over IPv6")
            .flags(0x02)
            .client(client)
            .port(port)
    }

    /// Five bytes of an open connection over IPv4.
    pub(crate) fn data(client: u8) -> Self {
        Self::row("TCP over IPv4").client(client)
    }

    /// A datagram of seven bytes over IPv4.
    pub(crate) fn udp(client: u8) -> Self {
        Self::row("UDP over IPv4").client(client)
    }

    /// A datagram of seven bytes over IPv6.
    pub(crate) fn udp_v6(client: u8) -> Self {
        Self::row("UDP over IPv6").client(client)
    }

    /// With another last byte of the IPv4 address, or of the first half of the IPv6 address.
    pub(crate) fn client(self, client: u8) -> Self {
        let at = if self.is_v4() {
            IP + 12 + 3
        } else {
            IP + 8 + 7
        };
        self.edit(at, &[client])
    }

    /// With another IPv4 address that it is from.
    pub(crate) fn source(self, addr: [u8; 4]) -> Self {
        self.edit(IP + 12, &addr)
    }

    pub(crate) fn port(self, port: u16) -> Self {
        let at = self.body();
        self.edit(at, &port.to_be_bytes())
    }

    pub(crate) fn sequence(self, sequence: u32) -> Self {
        let at = self.body() + 4;
        self.edit(at, &sequence.to_be_bytes())
    }

    pub(crate) fn flags(self, flags: u8) -> Self {
        let at = self.body() + 13;
        self.edit(at, &[flags])
    }

    /// From one address to another of the same family.
    pub(crate) fn between(self, from: IpAddr, to: IpAddr) -> Self {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let from = self.source(from.octets());
                from.edit(IP + 16, &to.octets())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let from = self.edit(IP + 8, &from.octets());
                from.edit(IP + 24, &to.octets())
            }
            _ => panic!("{from} and {to}"),
        }
    }

    /// With VLAN tags.
    pub(crate) fn tagged(mut self, tags: &[[u8; 4]]) -> Self {
        for tag in tags.iter().rev() {
            self.0.splice(12..12, *tag);
        }
        self
    }

    /// What goes back: with sender and addressee exchanged.
    pub(crate) fn back(mut self) -> Self {
        let (addresses, len) = if self.is_v4() {
            (IP + 12, 4)
        } else {
            (IP + 8, 16)
        };
        self.swap(addresses, len);
        let ports = self.body();
        self.swap(ports, 2);
        self
    }

    pub(crate) fn edit(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn swap(&mut self, at: usize, len: usize) {
        self.0[at..at + 2 * len].rotate_left(len);
    }

    pub(crate) fn is_v4(&self) -> bool {
        self.0[12..14] == [0x08, 0x00]
    }

    /// Where the header of TCP or UDP begins.
    pub(crate) fn body(&self) -> usize {
        let Self(frame) = self;
        if self.is_v4() {
            return IP + usize::from(frame[IP] & 0xf) * 4;
        }
        let (mut at, mut next) = (V6_BODY, frame[IP + 6]);
        while matches!(next, 0 | 43 | 60) {
            next = frame[at];
            at += (usize::from(frame[at + 1]) + 1) * 8;
        }
        at
    }
}
