//! `MOVED`, `ORDERS`, `NEXT`, `LEAVE_AT`, `SOCKETS` and `SLIPPED`: the flows whose bytes the kernel moves from socket to socket.
//!
//! A direction of a flow has a number, the same in all maps: even from client to target, and one
//! more for the way back. `SOCKETS` holds under that number the socket that its bytes come from.
//!
//! What holds: of one direction, [`Moved`] is written by the kernel program alone and under the
//! lock of that socket, [`Orders`] by the daemon alone. Both only ever add to the counts of bytes,
//! which wrap around and are compared by their differences; so nothing needs to be cleared when a
//! number is given to the next flow.

/// What the kernel program did with the bytes of one direction, and is doing. Element of `MOVED`.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Moved<T> {
    /// Whether it hands bytes to the other socket: [`PASSING`] or [`REDIRECTING`].
    pub mode: T,
    /// Bytes that it left to the daemon.
    pub passed: T,
    /// Bytes that it handed to the other socket.
    pub redirected: T,
    /// When it last saw some, in [`Nanos`](crate::time::Nanos).
    pub last: T,
    /// How often it called the daemon.
    pub calls: T,
    /// How often it ceased to redirect because the credit was used up.
    pub out_of_credit: T,
    /// How often it ceased to redirect because the other socket's peer did not keep up.
    pub over_budget: T,
    /// How far the other socket's peer had acknowledged when the program last looked, on the scale
    /// of [`Orders::base`].
    pub acked: T,
}

/// What the daemon wants of one direction. Element of `ORDERS`.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Orders<T> {
    /// Redirect as soon as [`Moved::passed`] is this: the daemon has consumed and written that much.
    pub promote_at: T,
    /// Redirect no further than to this, compared with [`Moved::redirected`].
    pub credit: T,
    /// Call the daemon when [`Moved::redirected`] reaches this, once for each value. It may have been
    /// passed already when it is set: the daemon looks again after its next `recv`.
    pub call_at: T,
    /// How many calls the daemon has heard, of [`Moved::calls`]. It hears one only when it has taken
    /// its record from the ring, where there is never more than one of a direction, then.
    pub heard: T,
    /// Bytes that the daemon itself has written to the other socket.
    pub handed: T,
    /// `redirected + handed + base` is how far the other socket will have been written to. The scale
    /// is one on which [`Moved::acked`] of the flow before is right for this flow too.
    pub base: T,
    /// What to add to the bytes that the other socket's peer has acknowledged, to have that scale.
    pub acked_base: T,
    /// How many bytes may be on their way to the other socket's peer.
    pub budget: T,
}

const _: () = assert!(size_of::<Moved<u64>>() == 64 && size_of::<Orders<u64>>() == 64);

/// [`Moved::mode`]: bytes are left to the daemon.
pub const PASSING: u64 = 0;
/// [`Moved::mode`]: bytes are handed to the other socket.
pub const REDIRECTING: u64 = 1;

/// The number of the other direction of the same flow.
#[inline(always)]
pub const fn opposite(direction: u32) -> u32 {
    direction ^ 1
}

/// What should not have happened to a piece of a stream. The value is its slot in `SLIPPED`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Slip {
    /// It came from a socket that the program does not know: left to the daemon.
    UnknownSocket = 0,
    /// The socket that it was to go to is gone: left to the daemon, though counted as redirected.
    /// Happens only to flows whose other end was reset.
    NoPeer = 1,
    /// The daemon could not be called; it is called again for the next piece.
    NoCall = 2,
    /// It does not begin where the one before ended, and cannot be made to: bytes are missing. It is
    /// thrown away with all that comes after it, and the daemon has to reset the flow.
    OutOfPlace = 3,
    /// It began with bytes that were there before, and which were cut off. Nothing is wrong: some
    /// senders repeat what they have sent together with what comes after it.
    Overlap = 4,
}

impl Slip {
    /// Every kind, in the order of the slots.
    pub const ALL: [Self; 5] = [
        Self::UnknownSocket,
        Self::NoPeer,
        Self::NoCall,
        Self::OutOfPlace,
        Self::Overlap,
    ];

    /// The name in metrics and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSocket => "unknown_socket",
            Self::NoPeer => "no_peer",
            Self::NoCall => "no_call",
            Self::OutOfPlace => "out_of_place",
            Self::Overlap => "overlap",
        }
    }
}

/// How many kinds of [`Slip`] there are.
pub const SLIPS: u32 = 5;

const _: () = {
    let mut at = 0;
    while at < SLIPS as usize {
        assert!(Slip::ALL[at] as usize == at);
        at += 1;
    }
    assert!(SLIPS as usize == Slip::ALL.len());
};

/// Where the next piece of a direction begins. Element of `NEXT`.
///
/// Zero if that is for the socket to say, as before the first one; else this and, in the lower
/// half, a TCP sequence number. The kernel programs write it, under the lock of the socket; the
/// daemon makes it zero when it gives the number to a flow.
pub const KNOWN: u64 = 1 << 32;
/// In place of [`KNOWN`]: bytes are missing, see [`Slip::OutOfPlace`].
pub const BROKEN: u64 = 1 << 33;
/// In place of [`KNOWN`]: the kernel took the socket out of `SOCKETS`, as the daemon wanted.
pub const OUT: u64 = 1 << 34;

/// What an element of `LEAVE_AT` is for a direction that is to stay, by how much was left to the
/// daemon, see [`Moved::passed`].
///
/// For one that is to leave, it is how much of that the daemon has read: when both are the same,
/// nothing waits for it that would go with the socket.
#[inline(always)]
pub const fn never(passed: u64) -> u64 {
    passed.wrapping_sub(1)
}
