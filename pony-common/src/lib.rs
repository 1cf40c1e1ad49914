//! What `PacketPony`'s kernel programs and its daemon share.
//!
//! Everything here is `no_std`, allocates nothing and never panics, because it is compiled into
//! both. The arithmetic of the limits is tested on the host, against naive models.

#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a BPF function call takes five arguments and half of the stack; the verifier wants the rest inline"
)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod cell;
pub mod hash;
pub mod lane;
pub mod layout;
pub mod limit;
pub mod names;
pub mod reason;
pub mod time;
