//! The answer to a refused connection attempt: a TCP reset, written over the packet it answers.
//!
//! It is what Linux answers to a closed port (RFC 9293, section 3.5.2): sequence 0, and all that
//! the packet carried acknowledged, so that the client takes it as the answer to this attempt.
//! The Ethernet addresses change places and the VLAN tags stay; IPv4 options and IPv6 extension
//! headers are not repeated. Checksums are computed from nothing, since what arrived may have
//! been left for a device to finish.

use pony_common::addr::{Addr16, Be16};

use super::{Ethernet, Flags, Ipv4, Ipv6, Segment, Tcp};
use crate::{
    cursor::{Header, Truncated, Writer},
    parse::Packet,
};

/// The length of the frame that answers this packet.
#[inline(always)]
pub fn frame_len(packet: &Packet) -> u32 {
    let headers = if packet.to.addr.is_v4() {
        V4::LEN
    } else {
        V6::LEN
    };
    u32::from(packet.link_len.wrapping_add(headers))
}

/// Turns the frame that begins with `packet`, and was cut to [`frame_len`], into the answer.
#[inline(always)]
pub fn write(frame: &mut Writer<'_>, packet: &Packet, asked: Segment) -> Result<(), Truncated> {
    let ethernet: &mut Ethernet = frame.header()?;
    (ethernet.dst, ethernet.src) = (ethernet.src, ethernet.dst);
    // What the verifier sees of it is any byte; this bounds it.
    frame.skip(usize::from(
        packet.link_len.wrapping_sub(Ethernet::LEN) & TAGS_LEN,
    ))?;

    let tcp = Tcp::reset(packet, asked);
    if packet.to.addr.is_v4() {
        *frame.header()? = V4::new(v4(packet.to.addr), v4(packet.from.addr), tcp);
    } else {
        *frame.header()? = V6::new(packet.to.addr, packet.from.addr, tcp);
    }
    Ok(())
}

/// No tags, one or two.
const TAGS_LEN: u8 = 4 | 8;

/// The whole answer over IPv4, after the Ethernet header.
#[derive(Clone, Copy)]
#[repr(C)]
struct V4 {
    ip: Ipv4,
    tcp: Tcp,
}

impl V4 {
    const LEN: u8 = 40;

    #[inline(always)]
    fn new(src: [u8; 4], dst: [u8; 4], mut tcp: Tcp) -> Self {
        let addresses = words(&src).wrapping_add(words(&dst));
        tcp.checksum = folded(addresses.wrapping_add(tcp.sum()));
        let mut ip = Ipv4 {
            version_and_words: 0x45,
            tos: 0,
            total_len: Be16::from_host(u16::from(Self::LEN)),
            id: [0; 2],
            fragment: Be16::from_host(u16::from_be_bytes([DONT_FRAGMENT, 0])),
            ttl: HOPS,
            protocol: TCP,
            checksum: [0; 2],
            src,
            dst,
        };
        // The words of the header that are not zero.
        let fixed = words(&[0x45, 0, 0, Self::LEN, DONT_FRAGMENT, 0, HOPS, TCP]);
        ip.checksum = folded(addresses.wrapping_add(fixed));
        Self { ip, tcp }
    }
}

/// The whole answer over IPv6, after the Ethernet header.
#[derive(Clone, Copy)]
#[repr(C)]
struct V6 {
    ip: Ipv6,
    tcp: Tcp,
}

impl V6 {
    const LEN: u8 = 60;

    #[inline(always)]
    fn new(src: Addr16, dst: Addr16, mut tcp: Tcp) -> Self {
        let addresses = words(&src.0).wrapping_add(words(&dst.0));
        tcp.checksum = folded(addresses.wrapping_add(tcp.sum()));
        let ip = Ipv6 {
            version_and_class: 0x60,
            class_and_flow: [0; 3],
            payload_len: Be16::from_host(u16::from(Tcp::LEN)),
            next_header: TCP,
            hop_limit: HOPS,
            src,
            dst,
        };
        Self { ip, tcp }
    }
}

impl Tcp {
    const LEN: u8 = 20;

    /// The header of the answer, but for its checksum.
    #[inline(always)]
    fn reset(packet: &Packet, asked: Segment) -> Self {
        let end = asked.sequence.wrapping_add(packet.payload_len);
        Self {
            src: packet.to.port,
            dst: packet.from.port,
            sequence: [0; 4],
            // The SYN has a number too.
            acknowledged: end.wrapping_add(1).to_be_bytes(),
            words: 5 << 4,
            flags: Flags(Flags::RST | Flags::ACK),
            window: [0; 2],
            checksum: [0; 2],
            urgent: [0; 2],
        }
    }

    /// The sum of this header's words and those of the pseudo-header, but for the addresses.
    #[inline(always)]
    fn sum(&self) -> u32 {
        let ports = u32::from(self.src.to_host()).wrapping_add(u32::from(self.dst.to_host()));
        let rest = words(&[self.words, self.flags.0, 0, TCP, 0, Self::LEN]);
        ports
            .wrapping_add(words(&self.acknowledged))
            .wrapping_add(rest)
    }
}

/// The sum of the 16-bit words; no more than a few dozen are ever added up.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0_u32;
    for word in bytes.as_chunks().0 {
        sum = sum.wrapping_add(u32::from(u16::from_be_bytes(*word)));
    }
    sum
}

/// The checksum of what adds up to `sum` (RFC 1071).
#[inline(always)]
fn folded(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let [.., upper, lower] = (!(sum & 0xffff).wrapping_add(sum >> 16)).to_be_bytes();
    [upper, lower]
}

#[inline(always)]
fn v4(addr: Addr16) -> [u8; 4] {
    let [.., a, b, c, d] = addr.0;
    [a, b, c, d]
}

const TCP: u8 = 6;
const HOPS: u8 = 64;
/// The upper half of where flags and offset of a fragment are.
const DONT_FRAGMENT: u8 = 0x40;

const _: () = {
    assert!(size_of::<V4>() == V4::LEN as usize && size_of::<V6>() == V6::LEN as usize);
    assert!(size_of::<Tcp>() == Tcp::LEN as usize);
};

// SAFETY: two headers, each without padding and of alignment 1.
unsafe impl Header for V4 {}
// SAFETY: two headers, each without padding and of alignment 1.
unsafe impl Header for V6 {}

#[cfg(test)]
mod tests;
