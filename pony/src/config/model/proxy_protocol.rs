//! PROXY headers: who may send them, and what targets are told.

use std::time::Duration;

use ipnet::IpNet;

use crate::proxy_header::Version;

/// For whom connections and datagrams are, said by proxies in front of us and by us to the target.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxyProtocol {
    /// `None`: whoever connects is the client.
    pub accept: Option<AcceptHeaders>,
    /// `None`: the target is told nothing.
    pub send: Option<SendHeaders>,
}

/// Who may say for whom it connects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceptHeaders {
    /// Who may send a header. Empty: nobody.
    pub trusted: Vec<IpNet>,
    /// Nothing comes in without a header.
    pub is_required: bool,
    /// How long a header may take.
    pub timeout: Duration,
    /// Which datagrams have one.
    pub udp: UdpHeader,
}

/// What the target is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendHeaders {
    /// Never 1 for UDP.
    pub version: Version,
    pub fields: SentFields,
    /// Which datagrams have one.
    pub udp: UdpHeader,
}

/// What else a header of version 2 says to the target, where it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the protocol, there or not"
)]
pub struct SentFields {
    /// The front end's, or one that we make.
    pub unique_id: bool,
    pub authority: bool,
    pub alpn: bool,
    pub tls: bool,
}

/// Which datagrams of a session have a header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UdpHeader {
    #[default]
    Each,
    First,
}
