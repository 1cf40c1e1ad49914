//! PacketPony: a TCP and UDP proxy for Linux.
//!
//! A client connects to a *listener*; policy decides whether it may; a *flow* (TCP) or *session*
//! (UDP) joins it to the *target*; everything is counted and logged. Kernel programs at the network
//! interface (the *guard*) judge the same packets by the same rules, earlier.
//!
//! Data flows one way: [`listen`] → [`policy`] → [`target`] → [`relay`] → [`observe`]. No module
//! calls backwards. [`config`] is read by all of them, [`kernel`] alone names `aya`, [`sys`] alone
//! has `unsafe`, [`admin`] does what an operator asks a running daemon for, [`daemon`] puts the parts together and takes them apart again, and [`cli`] is what
//! a person sees.
//!
//! What always holds:
//!
//! - The kernel may only make it faster. The daemon alone enforces every rule.
//! - Nothing that a packet, a peer or a file contains panics, blocks the data path, grows without
//!   bound, or logs without a rate limit.
//! - Every verdict is counted where it is made, and its reason has one name everywhere.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
mod http;
mod instance;
pub mod kernel;
pub mod listen;
pub mod observe;
pub mod policy;
pub mod proxy_header;
pub mod relay;
pub mod sys;
pub mod target;
