//! The packet logic of the kernel programs: pure, and tested on the host.
//!
//! It reads the bytes of a packet, through [`cursor`] and nothing else, and says what the packet
//! is. It knows no map and no helper of the kernel; the programs in `main.rs` join the two.
//! What always holds: nothing outside the packet is read, nothing panics, every loop is bounded.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows a bounds check only within the function that made it"
)]

pub mod cursor;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod header;
pub mod parse;
pub mod syn;
pub mod verdict;
pub mod world;
