//! PROXY headers: for whom a proxy has opened a connection or sent a datagram.
//!
//! Both ways: [`decode`] reads what a front end says to us, [`encode`] writes what we say to a target.
//! Bytes in, values out; no sockets here, and no rules about who may say it.
//!
//! The protocol is HAProxy's, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>: one line
//! of text in version 1, binary with optional fields (TLVs) in version 2.

mod decode;
mod encode;
mod tlv;

use std::net::SocketAddr;

pub use decode::{HeaderError, Progress, decode, has_begun};
pub use encode::encode;
pub use tlv::Fields;

/// What a header is in front of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// A TCP connection.
    Stream,
    /// A UDP datagram.
    Datagram,
}

/// The form of a header.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// A line of text. For TCP only.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// The name in configuration and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Who is at the two ends of the connection that was accepted by the proxy which sent the header.
///
/// IPv4 addresses are never in their IPv6-mapped form here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// A header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Its form.
    pub version: Version,
    /// `None`: the ends of the connection that carries it, as for a proxy's own health check, or
    /// where the proxy does not know.
    pub ends: Option<Ends>,
    /// What else it says.
    pub fields: Fields,
}

#[cfg(test)]
mod tests;
