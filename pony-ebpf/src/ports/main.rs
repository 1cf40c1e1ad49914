//! The kernel program that gives a listener many addresses and ports, and its maps.
//!
//! An object of its own: the daemon loads it only where a listener has a range of ports or a
//! prefix. Built for the host, where there is no kernel to run in, this is an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
#[path = "../program.rs"]
mod program;
#[cfg(target_arch = "bpf")]
mod steer;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
