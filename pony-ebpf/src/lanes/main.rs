//! The kernel programs that move the bytes of TCP flows from socket to socket and let flows go,
//! and their maps.
//!
//! An object of its own: the daemon loads it with or without the guard. Built for the host, where
//! there is no kernel to run in, this is an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "an atomic addition has no stable name on this target"
    )
)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "the verifier follows a bounds check only within the function that made it"
    )
)]

#[cfg(target_arch = "bpf")]
#[path = "../cell.rs"]
mod cell;
#[cfg(target_arch = "bpf")]
mod leave;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod place;
#[cfg(target_arch = "bpf")]
#[path = "../program.rs"]
mod program;
#[cfg(target_arch = "bpf")]
mod slip;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod verdict;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
