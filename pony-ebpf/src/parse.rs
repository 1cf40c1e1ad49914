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
    header::{Ethernet, Extension, Ipv4, Ipv6, Segment, Tcp, Udp, Vlan},
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
///
/// Both addresses are aligned so that each is two words for whoever looks at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C, align(8))]
pub struct Packet {
    /// Who sent it. For a packet that goes out, the listener that it is from, if any.
    pub from: ListenerKey,
    /// Bytes of payload, without any header or padding.
    pub payload_len: u32,
    /// What it is addressed to. For a packet that comes in, the listener that it is for, if any.
    pub to: ListenerKey,
    /// Of a UDP packet, nothing but zeros.
    pub(crate) segment: Segment,
    /// Bytes before the IP header.
    pub link_len: u8,
}

impl Packet {
    /// No packet at all, to be replaced by one.
    pub const NONE: Self = Self {
        from: ListenerKey::new(Transport::Udp, Addr16([0; 16]), Be16::from_host(0)),
        to: ListenerKey::new(Transport::Udp, Addr16([0; 16]), Be16::from_host(0)),
        payload_len: 0,
        segment: Segment::NONE,
        link_len: 0,
    };

    #[inline(always)]
    fn set_ports(&mut self, transport: Transport, from: Be16, to: Be16) {
        self.from = ListenerKey::new(transport, self.from.addr, from);
        self.to = ListenerKey::new(transport, self.to.addr, to);
    }

    /// The segment, if it is TCP.
    #[inline(always)]
    pub fn tcp(&self) -> Option<Segment> {
        // Not an `Option` in the struct: the compiler would copy the segment also where there is
        // none, and the verifier takes that for reading what nobody wrote.
        matches!(self.to.transport(), Some(Transport::Tcp)).then_some(self.segment)
    }
}

/// Reads a frame of `frame_len` bytes, of which `frame` shows at least the headers.
///
/// A frame in several buffers shows only the first of them, hence the separate length.
#[inline(always)]
pub fn parse(frame: &mut Cursor<'_>, frame_len: u32) -> Result<Parsed, Malformed> {
    let mut packet = Packet::NONE;
    match read(frame, frame_len, &mut packet)? {
        None => Ok(Parsed::Packet(packet)),
        Some(why) => Ok(Parsed::NotOurs(why)),
    }
}

/// The same, for a place where the packet is wanted: the kernel's stack has no room for two.
/// Answers why it is not ours, if so; what is in `packet` then means nothing.
#[inline(always)]
pub fn read(
    frame: &mut Cursor<'_>,
    frame_len: u32,
    packet: &mut Packet,
) -> Result<Option<NotOurs>, Malformed> {
    let link = read_link(frame, frame_len)?;
    packet.link_len = link.len;
    let body = match link.ethertype {
        ETHERTYPE_IPV4 => read_ipv4(frame, link.room, packet)?,
        ETHERTYPE_IPV6 => read_ipv6(frame, link.room, packet)?,
        _ => return Ok(Some(NotOurs::NotIp)),
    };
    if matches!(body.part, Part::Later) {
        return Ok(Some(NotOurs::LaterFragment));
    }
    match body.protocol {
        PROTOCOL_TCP => read_tcp(frame, &body, packet)?,
        PROTOCOL_UDP => read_udp(frame, &body, packet)?,
        _ => return Ok(Some(NotOurs::NotTransport)),
    }
    Ok(None)
}

/// What an IP packet carries.
struct Body {
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

/// The Ethernet header with its tags.
struct Link {
    /// What follows.
    ethertype: Be16,
    /// Bytes of the header and the tags.
    len: u8,
    /// Bytes that follow.
    room: u32,
}

/// Reads the Ethernet header and its tags.
#[inline(always)]
fn read_link(frame: &mut Cursor<'_>, frame_len: u32) -> Result<Link, Malformed> {
    let ethernet: &Ethernet = frame.read()?;
    let mut link = Link {
        ethertype: ethernet.ethertype,
        len: Ethernet::LEN,
        room: minus(frame_len, size_of::<Ethernet>())?,
    };
    for _ in 0..MAX_TAGS {
        if !is_tag(link.ethertype) {
            break;
        }
        let tag: &Vlan = frame.read()?;
        link = Link {
            ethertype: tag.ethertype,
            len: link.len.wrapping_add(Vlan::LEN),
            room: minus(link.room, size_of::<Vlan>())?,
        };
    }
    if is_tag(link.ethertype) {
        return Err(Malformed::TooManyHeaders);
    }
    Ok(link)
}

/// Reads the IPv4 header with its options; `room` is how many bytes the frame has for the packet.
#[inline(always)]
fn read_ipv4(frame: &mut Cursor<'_>, room: u32, packet: &mut Packet) -> Result<Body, Malformed> {
    let ip: &Ipv4 = frame.read()?;
    let options = ip.options_len().ok_or(Malformed::Header)?;
    frame.skip(options)?;
    packet.from.addr = ip.src();
    packet.to.addr = ip.dst();

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
        protocol: ip.protocol,
        len: minus(len, Ipv4::LEN + options)?,
        part,
    })
}

/// Reads the IPv6 header and its extensions; `room` is how many bytes the frame has for the packet.
#[inline(always)]
fn read_ipv6(frame: &mut Cursor<'_>, room: u32, packet: &mut Packet) -> Result<Body, Malformed> {
    let ip: &Ipv6 = frame.read()?;
    // A mapped address belongs in sockets and map keys. From the wire it could only be somebody
    // who wants to be taken for an IPv4 client; the stack drops it too (Linux 5.4, 6af1799aaf3f).
    if !ip.is_version_6() || ip.src.is_v4() || ip.dst.is_v4() {
        return Err(Malformed::Header);
    }
    packet.from.addr = ip.src;
    packet.to.addr = ip.dst;
    let room = minus(room, size_of::<Ipv6>())?;
    let len = match ip.payload_len.to_host() {
        0 => oversize(room).unwrap_or(0),
        len => u32::from(len),
    };
    if len > room {
        return Err(Malformed::Length);
    }
    read_extensions(
        frame,
        Body {
            protocol: ip.next_header,
            len,
            part: Part::Whole,
        },
    )
}

/// Follows the chain of extension headers to what the packet carries.
#[inline(always)]
fn read_extensions(frame: &mut Cursor<'_>, mut body: Body) -> Result<Body, Malformed> {
    for _ in 0..MAX_EXTENSIONS {
        let unit = EXTENSION_UNITS[usize::from(body.protocol)];
        if unit == NOT_EXTENSION {
            return Ok(body);
        }
        let extension: &Extension = frame.read()?;
        let rest = usize::from(extension.len) * usize::from(unit & MAX_UNIT);
        frame.skip(rest)?;
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
fn read_tcp(frame: &mut Cursor<'_>, body: &Body, packet: &mut Packet) -> Result<(), Malformed> {
    let tcp: &Tcp = frame.read()?;
    let header_len = tcp.header_len().ok_or(Malformed::Header)?;
    packet.payload_len = body.len.checked_sub(header_len).ok_or(Malformed::Length)?;
    packet.segment = tcp.segment();
    packet.set_ports(Transport::Tcp, tcp.src, tcp.dst);
    Ok(())
}

#[inline(always)]
fn read_udp(frame: &mut Cursor<'_>, body: &Body, packet: &mut Packet) -> Result<(), Malformed> {
    let udp: &Udp = frame.read()?;
    let room = body.len.checked_sub(Udp::LEN).ok_or(Malformed::Length)?;
    let payload_len = match u32::from(udp.len.to_host()) {
        // Over IPv6 the stack takes all that is there (RFC 2675).
        0 if !packet.to.addr.is_v4() => room,
        len => len.checked_sub(Udp::LEN).ok_or(Malformed::Header)?,
    };
    // The length is that of the whole datagram, of which a first fragment has only a part.
    if payload_len > room && matches!(body.part, Part::Whole) {
        return Err(Malformed::Length);
    }
    packet.payload_len = payload_len.min(room);
    packet.segment = Segment::NONE;
    packet.set_ports(Transport::Udp, udp.src, udp.dst);
    Ok(())
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
