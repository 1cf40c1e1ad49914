//! Moving the bytes of flows and the datagrams of sessions.
//!
//! Owns back-pressure, timeouts, half-close and the exact observance of bandwidth limits. Knows
//! nothing of listening, access lists or configuration files.
//!
//! What always holds:
//!
//! - A flow holds at most one buffer per direction, and none while it is idle.
//! - What flows pin whose readers do not keep up, in the daemon and in the kernel, is bounded.
//! - A byte is counted when the kernel has taken it, and not before.
//! - EOF of one side reaches the other as EOF, after every byte; a reset reaches it as a reset.

mod activity;
mod allowance;
mod buffer;
mod carrier;
mod company;
mod course;
mod end;
mod memory;
mod pipe;
mod pump;
mod sockets;
mod sockmap;
mod switchboard;
mod tcp;
mod udp;
mod way;
mod whim;

pub use company::rests;
pub use end::{End, Side};
pub use memory::Memory;
pub use pump::broken;
pub use sockets::Sockets;
pub use switchboard::Switchboard;
pub use tcp::{Flow, relay_tcp};
pub use udp::{LastActivity, ReplyPath, SessionRelay, Told};
pub use whim::Whims;
