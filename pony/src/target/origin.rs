//! Whom a flow or session is for.

use std::net::SocketAddr;

use crate::proxy_header::Ends;

/// The client, and what it wanted to reach. Both are canonical: IPv4 is never IPv4-mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Who.
    pub client: SocketAddr,
    /// What the client connected to, or sent its datagram to.
    pub destination: SocketAddr,
}

impl From<Ends> for Origin {
    fn from(ends: Ends) -> Self {
        Self {
            client: ends.source,
            destination: ends.destination,
        }
    }
}
