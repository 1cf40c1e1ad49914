//! Packets from sources that do not exist, as fast as one thread sends them.

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

/// What the packets are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Each one an attempt of its own: no two have the same ports and number.
    Syn,
    /// Each with [`PAYLOAD`] bytes.
    Datagram,
}

/// How many sources there are: as many with IPv4 as with IPv6, each of these with a /64 of its own.
pub(super) const SOURCES: u64 = 100_000;
/// Bytes in a datagram.
pub(super) const PAYLOAD: usize = 32;
/// Where the sources seem to be.
pub(super) const NETWORK_V4: &str = "198.18.0.0/15";
pub(super) const NETWORK_V6: &str = "2001:db8:f::/48";

/// Sends batches of `kind` to this port of the proxy, as long as `go_on` says so; it is told
/// how many packets have gone. Runs in the namespace of whoever calls it. Returns how many went,
/// or why no more can go.
pub(super) fn send(
    kind: Kind,
    to: [SocketAddr; 2],
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<u64> {
    let sockets = to.map(raw_socket);
    let mut packets = vec![Vec::new(); BATCH];
    let mut sent = 0;
    for number in (0..).step_by(BATCH) {
        for (to, socket) in to.iter().zip(&sockets) {
            for (packet, number) in packets.iter_mut().zip(number..) {
                write(packet, kind, *to, number);
            }
            send_batch(socket, &packets)?;
            sent += BATCH as u64;
        }
        if !go_on(sent) {
            break;
        }
    }
    Ok(sent)
}

/// A socket that takes whole packets, with whatever source is in them.
fn raw_socket(to: SocketAddr) -> Socket {
    let raw = Some(Protocol::from(RAW));
    let socket = Socket::new(Domain::for_address(to), Type::RAW, raw).unwrap();
    let no_port = SocketAddr::new(to.ip(), 0);
    socket.connect(&no_port.into()).unwrap();
    socket
}

fn send_batch(socket: &Socket, packets: &[Vec<u8>]) -> io::Result<()> {
    let slices: Vec<_> = packets
        .iter()
        .map(|packet| [IoSlice::new(packet)])
        .collect();
    let mut controls: Vec<_> = packets
        .iter()
        .map(|_| SendAncillaryBuffer::default())
        .collect();
    let mut messages: Vec<_> = slices
        .iter()
        .zip(&mut controls)
        .map(|(slice, control)| MMsgHdr::new(slice, control))
        .collect();
    let mut rest = &mut messages[..];
    while !rest.is_empty() {
        let sent = sendmmsg(socket, rest, SendFlags::empty())?;
        rest = &mut rest[sent..];
    }
    Ok(())
}

/// Writes packet `number` of a family, from its first header on.
fn write(packet: &mut Vec<u8>, kind: Kind, to: SocketAddr, number: u32) {
    packet.clear();
    let len = match kind {
        Kind::Syn => 20,
        Kind::Datagram => 8 + PAYLOAD,
    };
    let len_bytes = u16::try_from(len).unwrap().to_be_bytes();
    let source = u16::try_from(number % PER_FAMILY).unwrap().to_be_bytes();
    let addresses = match to {
        SocketAddr::V4(to) => {
            // The kernel fills in the length and the checksum.
            packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, kind.protocol(), 0, 0]);
            packet.extend(Ipv4Addr::new(198, 18, source[0], source[1]).octets());
            packet.extend(to.ip().octets());
            12
        }
        SocketAddr::V6(to) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(len_bytes);
            packet.extend([kind.protocol(), 64]);
            let prefix = u16::from_be_bytes(source);
            packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0xf, prefix, 0, 0, 0, 1).octets());
            packet.extend(to.ip().octets());
            8
        }
    };
    let body = packet.len();
    let round = u16::try_from(number / PER_FAMILY).unwrap();
    packet.extend((1024 + round).to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    let checksum_at = match kind {
        Kind::Syn => {
            packet.extend(number.to_be_bytes());
            packet.extend([0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
            body + 16
        }
        Kind::Datagram => {
            packet.extend(len_bytes);
            packet.extend([0; 2 + PAYLOAD]);
            body + 6
        }
    };
    let pseudo_header = len as u64 + u64::from(kind.protocol());
    let checksum = checksum(pseudo_header, &packet[addresses..]);
    packet[checksum_at..checksum_at + 2].copy_from_slice(&checksum);
}

impl Kind {
    /// The listener that is meant.
    pub(super) fn listener(self) -> &'static str {
        match self {
            Self::Syn => "tcp",
            Self::Datagram => "udp",
        }
    }

    fn protocol(self) -> u8 {
        match self {
            Self::Syn => 6,
            Self::Datagram => 17,
        }
    }
}

/// The Internet checksum of addresses, header and payload, an even number of bytes.
fn checksum(begin: u64, bytes: &[u8]) -> [u8; 2] {
    let (pairs, _) = bytes.as_chunks::<2>();
    let words = pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)));
    let sum = begin + words.sum::<u64>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from(sum).unwrap();
    (!sum).to_be_bytes()
}

/// `IPPROTO_RAW`: the header is in what is sent.
const RAW: i32 = 255;
const PER_FAMILY: u32 = 50_000;
const BATCH: usize = 64;
const SYN: u8 = 2;
