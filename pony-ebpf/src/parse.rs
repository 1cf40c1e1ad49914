//! From the first byte of an Ethernet frame to whom it is from, to whom it is addressed, and how
//! much payload it carries.
//!
//! Understood are up to two VLAN tags, IPv4 with options, IPv6 with a bounded chain of extension
//! headers, TCP and UDP. Lengths are checked against each other the way the kernel's own stack
//! does it, so that what is counted here is what a socket gets: no more than the frame holds, and
//! nothing for a packet that the stack would discard. Which listener it is for is not known here.

use pony_common::{
    addr::{Addr16, Be16},
    layout::{
        listener::{ListenerKey, Transport},
        reads::{Malformed, NotOurs},
    },
};

use crate::{
    cursor::{Cursor, Truncated},
    header::{Ethernet, Extension, Ipv4, Ipv6, Tcp, Udp, Vlan},
};

/// How many VLAN tags are followed.
pub const MAX_TAGS: usize = 2;

/// How many IPv6 extension headers are followed. RFC 8200 names six that may stand before TCP or
/// UDP, one of them twice; a chain has no other bound, and the verifier wants one.
pub const MAX_EXTENSIONS: usize = 8;

/// What a well-formed packet turned out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// TCP or UDP.
    Packet(Packet),
    /// Something else, and why.
    NotOurs(NotOurs),
}

/// A TCP or UDP packet, or the first fragment of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// The sender's address.
    pub src: Addr16,
    /// What it is addressed to.
    pub to: ListenerKey,
    /// Bytes of payload, without any header or padding.
    pub payload_len: u32,
}

/// Reads a frame of `frame_len` bytes, of which `packet` shows at least the headers.
///
/// A frame in several buffers shows only the first of them, hence the separate length.
#[inline(always)]
pub fn parse(packet: &mut Cursor<'_>, frame_len: u32) -> Result<Parsed, Malformed> {
    let (ethertype, len) = read_link(packet, frame_len)?;
    let body = match ethertype {
        ETHERTYPE_IPV4 => read_ipv4(packet, len)?,
        ETHERTYPE_IPV6 => read_ipv6(packet, len)?,
        _ => return Ok(Parsed::NotOurs(NotOurs::NotIp)),
    };
    if matches!(body.part, Part::Later) {
        return Ok(Parsed::NotOurs(NotOurs::LaterFragment));
    }
    match body.protocol {
        PROTOCOL_TCP => read_tcp(packet, &body).map(Parsed::Packet),
        PROTOCOL_UDP => read_udp(packet, &body).map(Parsed::Packet),
        _ => Ok(Parsed::NotOurs(NotOurs::NotTransport)),
    }
}

/// What an IP packet carries.
struct Body {
    src: Addr16,
    dst: Addr16,
    protocol: u8,
    /// Bytes after the IP headers.
    len: u32,
    part: Part,
}

/// Which part of a packet a frame carries.
enum Part {
    Whole,
    FirstFragment,
    Later,
}

/// Returns the type of what follows the Ethernet header and its tags, and how many bytes follow.
#[inline(always)]
fn read_link(packet: &mut Cursor<'_>, frame_len: u32) -> Result<(Be16, u32), Malformed> {
    let ethernet: &Ethernet = packet.read()?;
    let mut ethertype = ethernet.ethertype;
    let mut len = minus(frame_len, size_of::<Ethernet>())?;
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        let tag: &Vlan = packet.read()?;
        ethertype = tag.ethertype;
        len = minus(len, size_of::<Vlan>())?;
    }
    if is_tag(ethertype) {
        return Err(Malformed::TooManyHeaders);
    }
    Ok((ethertype, len))
}

/// Reads the IPv4 header with its options; `room` is how many bytes the frame has for the packet.
#[inline(always)]
fn read_ipv4(packet: &mut Cursor<'_>, room: u32) -> Result<Body, Malformed> {
    let ip: &Ipv4 = packet.read()?;
    let options = ip.options_len().ok_or(Malformed::Header)?;
    packet.skip(options)?;

    let len = match ip.total_len.to_host() {
        0 => oversize(room)?,
        len => u32::from(len),
    };
    if len > room {
        return Err(Malformed::Length);
    }
    let part = if ip.is_later_fragment() {
        Part::Later
    } else if ip.has_more_fragments() {
        Part::FirstFragment
    } else {
        Part::Whole
    };
    Ok(Body {
        src: ip.src(),
        dst: ip.dst(),
        protocol: ip.protocol,
        len: minus(len, Ipv4::LEN + options)?,
        part,
    })
}

/// Reads the IPv6 header and its extensions; `room` is how many bytes the frame has for the packet.
#[inline(always)]
fn read_ipv6(packet: &mut Cursor<'_>, room: u32) -> Result<Body, Malformed> {
    let ip: &Ipv6 = packet.read()?;
    // A mapped address belongs in sockets and map keys. From the wire it could only be somebody
    // who wants to be taken for an IPv4 client; the stack drops it too (Linux 5.4, 6af1799aaf3f).
    if !ip.is_version_6() || ip.src.is_v4() || ip.dst.is_v4() {
        return Err(Malformed::Header);
    }
    let room = minus(room, size_of::<Ipv6>())?;
    let len = match ip.payload_len.to_host() {
        0 => oversize(room).unwrap_or(0),
        len => u32::from(len),
    };
    if len > room {
        return Err(Malformed::Length);
    }
    read_extensions(
        packet,
        Body {
            src: ip.src,
            dst: ip.dst,
            protocol: ip.next_header,
            len,
            part: Part::Whole,
        },
    )
}

/// Follows the chain of extension headers to what the packet carries.
#[inline(always)]
fn read_extensions(packet: &mut Cursor<'_>, mut body: Body) -> Result<Body, Malformed> {
    for _ in 0..MAX_EXTENSIONS {
        let unit = EXTENSION_UNITS[usize::from(body.protocol)];
        if unit == NOT_EXTENSION {
            return Ok(body);
        }
        let extension: &Extension = packet.read()?;
        let rest = usize::from(extension.len) * usize::from(unit & MAX_UNIT);
        packet.skip(rest)?;
        body.len = minus(body.len, Extension::LEN + rest)?;
        if body.protocol == EXTENSION_FRAGMENT {
            if extension.is_later_fragment() {
                body.part = Part::Later;
                return Ok(body);
            }
            if extension.has_more_fragments() {
                body.part = Part::FirstFragment;
            }
        }
        body.protocol = extension.next_header;
    }
    match EXTENSION_UNITS[usize::from(body.protocol)] {
        NOT_EXTENSION => Ok(body),
        _ => Err(Malformed::TooManyHeaders),
    }
}

#[inline(always)]
fn read_tcp(packet: &mut Cursor<'_>, body: &Body) -> Result<Packet, Malformed> {
    let tcp: &Tcp = packet.read()?;
    let header_len = tcp.header_len().ok_or(Malformed::Header)?;
    let payload_len = body.len.checked_sub(header_len).ok_or(Malformed::Length)?;
    Ok(Packet {
        src: body.src,
        to: ListenerKey::new(Transport::Tcp, body.dst, tcp.dst),
        payload_len,
    })
}

#[inline(always)]
fn read_udp(packet: &mut Cursor<'_>, body: &Body) -> Result<Packet, Malformed> {
    let udp: &Udp = packet.read()?;
    let room = body.len.checked_sub(Udp::LEN).ok_or(Malformed::Length)?;
    let payload_len = match u32::from(udp.len.to_host()) {
        // Over IPv6 the stack takes all that is there (RFC 2675).
        0 if !body.dst.is_v4() => room,
        len => len.checked_sub(Udp::LEN).ok_or(Malformed::Header)?,
    };
    // The length is that of the whole datagram, of which a first fragment has only a part.
    if payload_len > room && matches!(body.part, Part::Whole) {
        return Err(Malformed::Length);
    }
    Ok(Packet {
        src: body.src,
        to: ListenerKey::new(Transport::Udp, body.dst, udp.dst),
        payload_len: payload_len.min(room),
    })
}

/// The length of a packet whose length field is zero because it is too long for the field, as
/// Linux makes them inside a machine ("BIG TCP", `gso_max_size` above 65535).
#[inline(always)]
fn oversize(room: u32) -> Result<u32, Malformed> {
    if room > u32::from(u16::MAX) {
        Ok(room)
    } else {
        Err(Malformed::Length)
    }
}

#[inline(always)]
fn minus(len: u32, part: usize) -> Result<u32, Malformed> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the part is one header: 2,048 at most"
    )]
    len.checked_sub(part as u32).ok_or(Malformed::Length)
}

#[inline(always)]
fn is_tag(ethertype: Be16) -> bool {
    matches!(
        ethertype,
        ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN | ETHERTYPE_OLD_SERVICE_VLAN
    )
}

impl From<Truncated> for Malformed {
    #[inline(always)]
    fn from(Truncated: Truncated) -> Self {
        Self::Truncated
    }
}

const ETHERTYPE_IPV4: Be16 = Be16::from_host(0x0800);
const ETHERTYPE_IPV6: Be16 = Be16::from_host(0x86dd);
const ETHERTYPE_VLAN: Be16 = Be16::from_host(0x8100);
/// IEEE 802.1ad: the outer of two tags.
const ETHERTYPE_SERVICE_VLAN: Be16 = Be16::from_host(0x88a8);
/// What was used for the outer of two tags before 802.1ad.
const ETHERTYPE_OLD_SERVICE_VLAN: Be16 = Be16::from_host(0x9100);

const PROTOCOL_TCP: u8 = Transport::Tcp as u8;
const PROTOCOL_UDP: u8 = Transport::Udp as u8;

const EXTENSION_HOP_BY_HOP: u8 = 0;
const EXTENSION_ROUTING: u8 = 43;
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_AUTHENTICATION: u8 = 51;
const EXTENSION_DESTINATION: u8 = 60;

/// By protocol number: how many bytes one unit of an extension header's length is, which counts
/// what comes after the first eight bytes; or that it is none, or hides what follows.
///
/// A table and not a `match`, because the verifier would follow every arm through every header of
/// the chain: 180,000 steps instead of 14,000, of the million that it allows.
static EXTENSION_UNITS: [u8; 256] = {
    let mut units = [NOT_EXTENSION; 256];
    // RFC 8200, section 4.
    units[EXTENSION_HOP_BY_HOP as usize] = 8;
    units[EXTENSION_ROUTING as usize] = 8;
    units[EXTENSION_DESTINATION as usize] = 8;
    // Its length byte is reserved: it is eight bytes long.
    units[EXTENSION_FRAGMENT as usize] = 0;
    // RFC 4302, section 2.2.
    units[EXTENSION_AUTHENTICATION as usize] = 4;
    units
};

const NOT_EXTENSION: u8 = u8::MAX;

/// No unit has other bits. The verifier does not know what is in a table, and wants a bound.
const MAX_UNIT: u8 = 8 | 4;

#[cfg(test)]
mod tests;
