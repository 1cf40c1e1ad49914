//! `READS`: why the guard let a packet through without judging it. One `u64` per slot and CPU.
//!
//! [`NotOurs`] and [`Malformed`] share the slots between them.

/// Why a packet that could be read is not judged. The value is its slot in `READS`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum NotOurs {
    /// TCP or UDP, but no listener has its address and port.
    NoListener = 0,
    /// Neither IPv4 nor IPv6: ARP, for instance.
    NotIp = 1,
    /// IP, but neither TCP nor UDP.
    NotTransport = 2,
    /// A later fragment. Only the first one has the ports.
    LaterFragment = 3,
    /// On a port that a listener shares with others, and part of a connection, or for a connected
    /// socket. What does not open anything there may be anybody's.
    InConnection = 4,
}

impl NotOurs {
    /// Every value, in the order of the slots.
    pub const ALL: [Self; 5] = [
        Self::NoListener,
        Self::NotIp,
        Self::NotTransport,
        Self::LaterFragment,
        Self::InConnection,
    ];

    /// The name in metrics and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoListener => "no_listener",
            Self::NotIp => "not_ip",
            Self::NotTransport => "not_transport",
            Self::LaterFragment => "later_fragment",
            Self::InConnection => "in_connection",
        }
    }
}

/// Why a packet could not be read. The value is its slot in `READS`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Malformed {
    /// The frame ends inside a header.
    Truncated = 5,
    /// A header has the wrong version, or claims to be shorter than its fixed part.
    Header = 6,
    /// A length claims more than there is around it, or less than what is in it.
    Length = 7,
    /// More VLAN tags or IPv6 extension headers than the guard follows.
    TooManyHeaders = 8,
}

impl Malformed {
    /// Every value, in the order of the slots.
    pub const ALL: [Self; 4] = [
        Self::Truncated,
        Self::Header,
        Self::Length,
        Self::TooManyHeaders,
    ];

    /// The name in metrics and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Header => "header",
            Self::Length => "length",
            Self::TooManyHeaders => "too_many_headers",
        }
    }
}

/// How many slots `READS` has.
pub const SLOTS: u32 = 9;

const _: () = {
    let mut at = 0;
    while at < NotOurs::ALL.len() {
        assert!(NotOurs::ALL[at] as usize == at);
        at += 1;
    }
    let mut at = 0;
    while at < Malformed::ALL.len() {
        assert!(Malformed::ALL[at] as usize == NotOurs::ALL.len() + at);
        at += 1;
    }
    assert!(SLOTS as usize == NotOurs::ALL.len() + Malformed::ALL.len());
};
