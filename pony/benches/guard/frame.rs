//! Frames to judge.

use std::net::Ipv4Addr;

/// What a frame carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Syn,
    /// A segment with payload of an open connection.
    Established,
    Udp,
}

/// A frame from one address to another; its ports are 40000 and `port`.
pub(crate) fn frame(kind: Kind, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Vec<u8> {
    let (protocol, body) = match kind {
        Kind::Syn => (6, tcp(port, 0x02, 0)),
        Kind::Established => (6, tcp(port, 0x18, 100)),
        Kind::Udp => (17, udp(port, 100)),
    };
    let total = u16::try_from(20 + body.len()).unwrap();
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [
        &TO_PROXY[..],
        &[0x02, 0, 0, 0, 0, 1],
        &[0x08, 0],
        &header,
        &body,
    ]
    .concat()
}

/// The hardware address of the proxy's interface on the client's side.
pub(crate) const TO_PROXY: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

fn tcp(port: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut segment = SOURCE_PORT.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend([0, 0, 0, 7, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(segment.len() + payload, 0);
    segment
}

fn udp(port: u16, payload: u16) -> Vec<u8> {
    let mut datagram = SOURCE_PORT.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + payload).to_be_bytes());
    // No checksum.
    datagram.extend([0; 2]);
    datagram.resize(usize::from(8 + payload), 0);
    datagram
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

const SOURCE_PORT: u16 = 40_000;
