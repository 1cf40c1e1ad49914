//! Keys and values of the kernel maps, as bytes.
//!
//! Each type says which map it belongs to. All are `repr(C)` without hidden padding, their sizes
//! are asserted, and `aya::Pod` stands beside the type. A changed size is a changed map layout.

pub mod block;
pub mod budget;
pub mod event;
pub mod lane;
pub mod ledger;
pub mod listener;
pub mod locals;
pub mod name;
pub mod policy;
pub mod reads;
pub mod report;
pub mod settings;
pub mod span;
pub mod stats;

/// Two halves as one word.
#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The lower half of a word.
#[inline(always)]
pub const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// The upper half of a word.
#[inline(always)]
pub const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}
