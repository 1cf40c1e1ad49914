//! Where PROXY headers may send clients: prefixes, each with its ports.
//!
//! Owns their syntax. The prefix is what [`super::prefix`] says it is.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::duration::digits;
use super::prefix;
use super::problem::Complaint;
use super::span;

/// Some addresses, and ports there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Host bits are zero, IPv4-mapped prefixes are IPv4.
    pub net: IpNet,
    /// Never 0.
    pub ports: RangeInclusive<u16>,
}

impl Destination {
    /// Whether this canonical address is one of them.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.net.contains(&address.ip()) && self.ports.contains(&address.port())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, ports } = self;
        if *ports == ANY_PORT {
            return write!(f, "{net}");
        }
        match net {
            IpNet::V4(net) => write!(f, "{net}:")?,
            IpNet::V6(net) => write!(f, "[{net}]:")?,
        }
        match (ports.start(), ports.end()) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// What a text says, and whether it had bits behind its prefix.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) destination: Destination,
    pub(super) was_masked: bool,
}

/// Reads a prefix or an address, with a port, with a range of ports, or with neither.
pub(super) fn parse(text: &str) -> Result<Parsed, Complaint> {
    let (prefix, ports) = split(text.trim())?;
    let prefix = prefix::parse(prefix)?;
    Ok(Parsed {
        destination: Destination {
            net: prefix.net,
            ports: ports.map_or(Ok(ANY_PORT), parse_ports)?,
        },
        was_masked: prefix.was_masked,
    })
}

/// The prefix, without brackets, and the ports.
fn split(text: &str) -> Result<(&str, Option<&str>), Complaint> {
    let unclear = || Complaint::new("is not a destination", EXAMPLES);
    if let Some(rest) = text.strip_prefix('[') {
        let (prefix, rest) = rest.split_once(']').ok_or_else(unclear)?;
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((prefix, Some(ports))),
            None if rest.is_empty() => Ok((prefix, None)),
            None => Err(unclear()),
        };
    }
    match text.split_once(':') {
        Some(("", ports)) if !ports.contains(':') => Err(Complaint::new(
            "has no address",
            format!("write \"0.0.0.0/0:{ports}\" or \"[::/0]:{ports}\" for all of a family"),
        )),
        // More colons are those of an IPv6 address.
        Some((prefix, ports)) if !ports.contains(':') => Ok((prefix, Some(ports))),
        _ => Ok((text, None)),
    }
}

/// `80` or `8000-9000`
fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    if let Some(ports) = span::range(text) {
        return ports;
    }
    let (number, rest) = digits(text.trim());
    let port = number.parse().ok().filter(|port| ANY_PORT.contains(port));
    match port {
        Some(port) if rest.is_empty() => Ok(port..=port),
        _ => Err(Complaint::new("has a port that is not one", PORTS)),
    }
}

const ANY_PORT: RangeInclusive<u16> = 1..=u16::MAX;
const EXAMPLES: &str = "write a prefix with ports, such as \"10.0.0.0/8:8000-9000\", \
                        \"[2001:db8::/32]:443\" or \"192.0.2.7\"";
const PORTS: &str = "write a port from 1 to 65535, or a range such as 8000-9000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_prefix_with_or_without_ports() {
        let rows = [
            ("10.0.0.0/8:8000-9000", "10.0.0.0/8:8000-9000"),
            ("127.0.0.1:25578", "127.0.0.1/32:25578"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[2001:db8::1]", "2001:db8::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
            (" 10.0.0.0/8:1 - 65535 ", "10.0.0.0/8"),
        ];
        for (text, shown) in rows {
            assert_eq!(
                parse(text).unwrap().destination.to_string(),
                shown,
                "{text}"
            );
        }
    }

    #[test]
    fn a_destination_has_the_addresses_and_ports_that_it_names_and_no_others() {
        let rows = [
            ("10.0.0.0/8:8000-9000", "10.1.2.3:8000", true),
            ("10.0.0.0/8:8000-9000", "10.1.2.3:9000", true),
            ("10.0.0.0/8:8000-9000", "10.1.2.3:9001", false),
            ("10.0.0.0/8:8000-9000", "11.1.2.3:8000", false),
            ("10.0.0.0/8", "10.1.2.3:1", true),
            ("0.0.0.0/0", "10.1.2.3:0", false),
            ("0.0.0.0/0", "[2001:db8::1]:80", false),
            ("[2001:db8::/32]:443", "[2001:db8::1]:443", true),
        ];
        for (text, address, expected) in rows {
            let destination = parse(text).unwrap().destination;
            let contains = destination.contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{text} {address}");
        }
    }
}
