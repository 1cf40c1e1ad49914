//! Accepting clients: sockets, TCP accept loops, UDP receive loops and the table of sessions.
//!
//! Owns what happens until a client's first byte can be relayed. Policy is asked, never decided
//! here; connecting and moving bytes is for `target` and `relay`.
//!
//! What always holds:
//!
//! - No error from `accept` or `recvmsg` ends a loop. Only `stop` does.
//! - A refused client costs no target connection.
//! - Every flow and session is a tracked task, so stopping can wait for the last one.

mod front_end;
mod neighbours;
mod service;
mod socket;
mod tcp;
mod udp;

pub use front_end::FrontEnds;
pub use neighbours::neighbours;
pub use service::{Gates, Service};
pub use socket::{BindError, Place, bind_tcp, bind_tcp_group, bind_udp};
pub use tcp::serve_tcp;
pub use udp::{ListenSocket, Reach, serve_udp};
