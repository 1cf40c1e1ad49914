//! Frames to test with, each with what it must be read as.
//!
//! One table for both machines: the tests of `parse` read the frames on the host, and the daemon's
//! tests send them through the program in the kernel. Only tests have this module.

extern crate std;

// One row, one line.
#[rustfmt::skip]
mod rows;

use std::{vec, vec::Vec};

use pony_common::{
    addr::{Addr16, Be16},
    layout::{
        listener::{ListenerKey, Transport},
        reads::{Malformed, NotOurs},
    },
};

pub use self::rows::rows;
use crate::{
    header::{Flags, Segment},
    parse::{Packet, Parsed},
};

/// One frame and what it must be read as.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is special about the frame.
    pub name: &'static str,
    /// The frame, from its first byte.
    pub frame: Vec<u8>,
    /// What it is.
    pub expected: Result<Parsed, Malformed>,
}

/// The client of all fixtures with IPv4.
pub const CLIENT_V4: [u8; 4] = [192, 0, 2, 1];
/// What all fixtures with IPv4 are addressed to.
pub const LISTENER_V4: [u8; 4] = [198, 51, 100, 7];
/// The client of all fixtures with IPv6.
pub const CLIENT_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9];
/// What all fixtures with IPv6 are addressed to.
pub const LISTENER_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// The port that TCP fixtures are addressed to.
pub const TCP_PORT: u16 = 8080;
/// The port that UDP fixtures are addressed to.
pub const UDP_PORT: u16 = 53;

/// The port that all fixtures are from.
pub const CLIENT_PORT: u16 = 40_000;
/// What the TCP fixtures are part of a connection with.
pub const SEGMENT: Segment = Segment {
    sequence: 0x1234_5678,
    flags: Flags(0x18),
};

/// What all TCP fixtures with IPv4 are addressed to.
pub const TCP_V4: ListenerKey = key(Transport::Tcp, Addr16::from_v4(LISTENER_V4), TCP_PORT);
/// What all TCP fixtures with IPv6 are addressed to.
pub const TCP_V6: ListenerKey = key(Transport::Tcp, Addr16::from_v6(LISTENER_V6), TCP_PORT);
/// What all UDP fixtures with IPv4 are addressed to.
pub const UDP_V4: ListenerKey = key(Transport::Udp, Addr16::from_v4(LISTENER_V4), UDP_PORT);
/// What all UDP fixtures with IPv6 are addressed to.
pub const UDP_V6: ListenerKey = key(Transport::Udp, Addr16::from_v6(LISTENER_V6), UDP_PORT);

const fn key(transport: Transport, addr: Addr16, port: u16) -> ListenerKey {
    ListenerKey::new(transport, addr, Be16::from_host(port))
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// An Ethernet frame around a packet, with these VLAN types before the packet's own.
fn ethernet(tags: &[u16], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 42]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// An IPv4 packet with this many bytes of options, a multiple of four.
fn ipv4(options: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    let header_len = 20 + options;
    let total_len = be(usize::from(header_len) + body.len());
    let mut packet = vec![0x40 | (header_len / 4), 0];
    packet.extend(total_len);
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(CLIENT_V4);
    packet.extend(LISTENER_V4);
    packet.extend(vec![1; usize::from(options)]);
    packet.extend(body);
    packet
}

/// An IPv6 packet with these extension headers, each with its kind and its bytes; the first byte
/// of each is set to the kind of what follows.
fn ipv6(extensions: &[(u8, &[u8])], protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    for (at, (_, bytes)) in extensions.iter().enumerate() {
        chain.push(extensions.get(at + 1).map_or(protocol, |(kind, _)| *kind));
        chain.extend(&bytes[1..]);
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(be(chain.len() + body.len()));
    packet.extend([extensions.first().map_or(protocol, |(kind, _)| *kind), 64]);
    packet.extend(CLIENT_V6);
    packet.extend(LISTENER_V6);
    packet.extend(chain);
    packet.extend(body);
    packet
}

/// A TCP segment with this many bytes of options, a multiple of four.
fn tcp(options: u8, payload: usize) -> Vec<u8> {
    let mut segment = Vec::from(CLIENT_PORT.to_be_bytes());
    segment.extend(TCP_PORT.to_be_bytes());
    segment.extend(SEGMENT.sequence.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend([((20 + options) / 4) << 4, SEGMENT.flags.0]);
    segment.extend([0; 6]);
    segment.extend(vec![1; usize::from(options) + payload]);
    segment
}

fn udp(payload: usize) -> Vec<u8> {
    let mut datagram = Vec::from(CLIENT_PORT.to_be_bytes());
    datagram.extend(UDP_PORT.to_be_bytes());
    datagram.extend(be(8 + payload));
    datagram.extend([0; 2]);
    datagram.extend(vec![1; payload]);
    datagram
}

/// A length as it stands in a header; zero if it is too large for one.
fn be(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(0).to_be_bytes()
}

/// The packet with bytes changed, from this offset on.
fn edited(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// The packet as it is read from a frame without tags.
fn packet(to: ListenerKey, payload_len: u32) -> Result<Parsed, Malformed> {
    tagged_packet(0, to, payload_len)
}

/// The packet as it is read from a frame with this many tags.
#[expect(clippy::unnecessary_wraps, reason = "a row may also hold an error")]
fn tagged_packet(tags: u8, to: ListenerKey, payload_len: u32) -> Result<Parsed, Malformed> {
    let addr = if to.addr.is_v4() {
        Addr16::from_v4(CLIENT_V4)
    } else {
        Addr16::from_v6(CLIENT_V6)
    };
    let is_tcp = to == TCP_V4 || to == TCP_V6;
    let transport = if is_tcp {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    Ok(Parsed::Packet(Packet {
        from: key(transport, addr, CLIENT_PORT),
        to,
        payload_len,
        segment: if is_tcp { SEGMENT } else { Segment::NONE },
        link_len: 14 + 4 * tags,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "a row may also hold an error")]
const fn not_ours(why: NotOurs) -> Result<Parsed, Malformed> {
    Ok(Parsed::NotOurs(why))
}
