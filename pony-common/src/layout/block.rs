//! `BLOCKS`: clients that the daemon wants refused before a socket is involved, for a while.

use crate::{addr::Addr16, time::Nanos};

/// Key of `BLOCKS`: one client, on one listener or on all.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct BlockKey {
    /// The listener's number, or [`ALL_LISTENERS`].
    pub listener: u32,
    /// An IPv4 address in its mapped form, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
}

const _: () = assert!(size_of::<BlockKey>() == 4 + 16);

/// In place of a listener's number: all of them.
pub const ALL_LISTENERS: u32 = u32::MAX;

/// Value of `BLOCKS`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Block {
    /// When it ends by itself, should the daemon not take it back before.
    pub until: Nanos,
    /// How many attempts the guard has refused for it: distinct SYNs, or datagrams. Only the
    /// guard counts here.
    pub refused: u64,
    /// The value of the [`Reason`](crate::reason::Reason).
    pub reason: u32,
    /// The value of the [`Scope`].
    pub scope: u32,
}

const _: () = assert!(size_of::<Block>() == 8 + 8 + 4 + 4);

/// Which packets of a blocked client are refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u32)]
pub enum Scope {
    /// Those that would open a TCP connection; what is open goes on.
    #[default]
    New = 0,
    /// Every packet.
    All = 1,
}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for BlockKey {}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Block {}
