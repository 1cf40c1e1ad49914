//! Where flows and sessions go: from a configured target to a connected socket.
//!
//! Owns name resolution and connecting. Does not move bytes and knows no policy.

mod connect;
mod resolve;

pub use connect::{ConnectError, connect_tcp, connect_udp};
pub use resolve::{Addresses, ResolveError, Resolver};
