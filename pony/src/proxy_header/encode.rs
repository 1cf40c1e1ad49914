//! From a header to bytes.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};

use super::{Ends, Fields, Transport, Version};

/// The header of this form, for a stream or in front of a datagram. Version 1 has no fields.
///
/// Where the ends are of two families, the IPv4 address is written as an IPv6-mapped one.
pub fn encode(version: Version, transport: Transport, ends: Ends, fields: &Fields) -> Vec<u8> {
    let Ends {
        mut source,
        mut destination,
    } = ends;
    if source.is_ipv4() != destination.is_ipv4() {
        (source, destination) = (mapped(source), mapped(destination));
    }
    let addresses = match transport {
        Transport::Stream => ProxiedAddress::stream(source, destination),
        Transport::Datagram => ProxiedAddress::datagram(source, destination),
    };
    let mut bytes = Vec::with_capacity(USUAL_LEN);
    let encoded = match version {
        Version::V1 => ProxyHeader::with_address(addresses).encode_v1(&mut bytes),
        Version::V2 => ProxyHeader::with_tlvs(Some(addresses), fields.tlvs()).encode_v2(&mut bytes),
    };
    // Both ends are of one family, and the longest fields together have room.
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    bytes
}

fn mapped(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => ip.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// The longest without fields.
const USUAL_LEN: usize = 107;
