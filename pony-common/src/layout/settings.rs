//! `SETTINGS`: what the daemon tells the guard rarely; and, once, the keys of the tables' hashes.

#[cfg(feature = "user")]
use crate::hash::{HashKey, LinearWords};

/// The layout of all maps and of the policy image. Whoever finds another number must not read on.
pub const SCHEMA: u32 = 3;

/// The one value of `SETTINGS`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Settings {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Which kinds of blocks there may be: [`BLOCKS_ONE`] and [`BLOCKS_ALL`]. With neither, no
    /// packet needs a look into `BLOCKS`.
    pub blocks: u32,
    /// The generation of the policy in force, for whoever looks in from outside.
    pub generation: u64,
}

const _: () = assert!(size_of::<Settings>() == 4 + 4 + 8);

/// In [`Settings::blocks`]: some block names a listener.
pub const BLOCKS_ONE: u32 = 1;
/// In [`Settings::blocks`]: some block is for [all listeners](super::block::ALL_LISTENERS).
pub const BLOCKS_ALL: u32 = 2;

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Settings {}

// SAFETY: two words, no padding, and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for HashKey {}

// SAFETY: words, no padding, and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for LinearWords {}
