//! The protocol headers, as they lie in the packet.
//!
//! Fields that nobody reads are kept as named bytes, so that each struct is the whole fixed part
//! of its header. What a header claims is returned as it is; `parse` judges it.

use pony_common::addr::{Addr16, Be16};

use crate::cursor::Header;

pub mod reset;

/// Ethernet, without VLAN tag.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ethernet {
    dst: [u8; 6],
    src: [u8; 6],
    /// What follows.
    pub ethertype: Be16,
}

impl Ethernet {
    /// The bytes of the header.
    pub const LEN: u8 = 14;
}

/// A VLAN tag (IEEE 802.1Q, 802.1ad): what stands between an Ethernet type and what it announces.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Vlan {
    tag: [u8; 2],
    /// What follows.
    pub ethertype: Be16,
}

impl Vlan {
    /// The bytes of one tag.
    pub const LEN: u8 = 4;
}

/// IPv4, without its options (RFC 791).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv4 {
    version_and_words: u8,
    tos: u8,
    /// Bytes of this header and all that follows it.
    pub total_len: Be16,
    id: [u8; 2],
    fragment: Be16,
    ttl: u8,
    /// What follows.
    pub protocol: u8,
    checksum: [u8; 2],
    src: [u8; 4],
    dst: [u8; 4],
}

impl Ipv4 {
    /// The bytes of the fixed part.
    pub const LEN: usize = size_of::<Self>();

    /// Bytes of options after the fixed part; `None` when the version is not 4, or when the
    /// header claims to be shorter than its fixed part.
    #[inline(always)]
    pub fn options_len(&self) -> Option<usize> {
        match self.version_and_words {
            first @ 0x45..=0x4f => Some(usize::from(first & 0x0f) * 4 - Self::LEN),
            _ => None,
        }
    }

    /// Whether this is a fragment that does not begin the packet.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.to_host() & 0x1fff != 0
    }

    /// Whether other fragments follow this one.
    #[inline(always)]
    pub fn has_more_fragments(&self) -> bool {
        self.fragment.to_host() & 0x2000 != 0
    }

    /// The sender.
    #[inline(always)]
    pub fn src(&self) -> Addr16 {
        Addr16::from_v4(self.src)
    }

    /// The addressee.
    #[inline(always)]
    pub fn dst(&self) -> Addr16 {
        Addr16::from_v4(self.dst)
    }
}

/// IPv6, without extension headers (RFC 8200).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv6 {
    version_and_class: u8,
    class_and_flow: [u8; 3],
    /// Bytes of all that follows this header.
    pub payload_len: Be16,
    /// What follows.
    pub next_header: u8,
    hop_limit: u8,
    /// The sender.
    pub src: Addr16,
    /// The addressee.
    pub dst: Addr16,
}

impl Ipv6 {
    /// Whether the version is 6.
    #[inline(always)]
    pub fn is_version_6(&self) -> bool {
        self.version_and_class >> 4 == 6
    }
}

/// The first eight bytes of any IPv6 extension header that the guard follows; all are at least
/// that long (RFC 8200, RFC 4302).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Extension {
    /// What follows.
    pub next_header: u8,
    /// How long this header is; the unit depends on its kind.
    pub len: u8,
    /// In a fragment header, the offset and whether more follow.
    fragment: Be16,
    rest: [u8; 4],
}

impl Extension {
    /// The bytes of the fixed part.
    pub const LEN: usize = size_of::<Self>();

    /// Whether this, a fragment header, stands in a fragment that does not begin the packet.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.to_host() & 0xfff8 != 0
    }

    /// Whether this, a fragment header, says that other fragments follow.
    #[inline(always)]
    pub fn has_more_fragments(&self) -> bool {
        self.fragment.to_host() & 1 != 0
    }
}

/// TCP, without its options (RFC 9293).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tcp {
    /// The sender's port.
    pub src: Be16,
    /// The addressee's port.
    pub dst: Be16,
    sequence: [u8; 4],
    acknowledged: [u8; 4],
    words: u8,
    flags: Flags,
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
}

impl Tcp {
    /// What the guard must know of the segment.
    #[inline(always)]
    pub fn segment(&self) -> Segment {
        Segment {
            sequence: u32::from_be_bytes(self.sequence),
            flags: self.flags,
        }
    }

    /// Bytes of the header with its options; `None` when it claims to be shorter than its fixed
    /// part.
    #[inline(always)]
    pub fn header_len(&self) -> Option<u32> {
        match self.words >> 4 {
            words @ 5.. => Some(u32::from(words) * 4),
            _ => None,
        }
    }
}

/// What the guard must know of a TCP segment besides its ports and its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The number of the first byte, or of the SYN.
    pub sequence: u32,
    /// FIN, SYN and their kin.
    pub flags: Flags,
}

impl Segment {
    /// No segment.
    pub(crate) const NONE: Self = Self {
        sequence: 0,
        flags: Flags(0),
    };
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has nothing more to send.
    pub const FIN: u8 = 0x01;
    /// The sender opens a connection.
    pub const SYN: u8 = 0x02;
    /// The sender gives the connection up.
    pub const RST: u8 = 0x04;
    /// The segment confirms what was received.
    pub const ACK: u8 = 0x10;
    /// FIN, SYN, RST, PSH, ACK and URG: all but those of congestion notification (RFC 3168).
    const CONTROL: u8 = 0x3f;

    /// Whether a client asks for a connection with it.
    #[inline(always)]
    pub const fn is_attempt(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Whether no stack sends such a segment: none of the flags, all of them, or a connection
    /// opened and ended at once.
    #[inline(always)]
    pub const fn are_bogus(self) -> bool {
        let set = self.0 & Self::CONTROL;
        set == 0 || (set & Self::SYN != 0 && set & (Self::FIN | Self::RST) != 0)
    }
}

/// UDP (RFC 768).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Udp {
    /// The sender's port.
    pub src: Be16,
    /// The addressee's port.
    pub dst: Be16,
    /// Bytes of this header and the payload.
    pub len: Be16,
    checksum: [u8; 2],
}

impl Udp {
    /// The bytes of the header.
    pub const LEN: u32 = 8;
}

// SAFETY: bytes, byte arrays, and `Be16`, which is two bytes.
unsafe impl Header for Ethernet {}
// SAFETY: bytes, byte arrays, and `Be16`, which is two bytes.
unsafe impl Header for Vlan {}
// SAFETY: bytes, byte arrays, and `Be16`, which is two bytes.
unsafe impl Header for Ipv4 {}
// SAFETY: bytes, byte arrays, `Be16` and `Addr16`, which are two and sixteen bytes.
unsafe impl Header for Ipv6 {}
// SAFETY: bytes, byte arrays, and `Be16`, which is two bytes.
unsafe impl Header for Extension {}
// SAFETY: bytes, byte arrays, `Flags`, which is a byte, and `Be16`, which is two bytes.
unsafe impl Header for Tcp {}
// SAFETY: bytes, byte arrays, and `Be16`, which is two bytes.
unsafe impl Header for Udp {}

const _: () = {
    assert!(size_of::<Ethernet>() == Ethernet::LEN as usize);
    assert!(size_of::<Vlan>() == Vlan::LEN as usize);
    assert!(size_of::<Ipv4>() == 20 && size_of::<Ipv6>() == 40 && size_of::<Extension>() == 8);
    assert!(size_of::<Tcp>() == 20 && size_of::<Udp>() == Udp::LEN as usize);
};
