//! Moving the bytes of flows and the datagrams of sessions.
//!
//! Owns back-pressure, timeouts, half-close and the exact observance of bandwidth limits. Knows
//! nothing of listening, access lists or configuration files.
//!
//! What always holds:
//!
//! - A flow holds at most one buffer per direction, and none while it is idle.
//! - A byte is counted when the kernel has taken it, and not before.
//! - EOF of one side reaches the other as EOF, after every byte; a reset reaches it as a reset.

mod activity;
mod buffer;
mod copy;
mod end;
mod tcp;
mod udp;

pub use copy::broken;
pub use end::{End, Side};
pub use tcp::{Flow, relay_tcp, reset};
pub use udp::{LastActivity, ReplyPath, SessionRelay};
