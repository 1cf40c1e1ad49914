//! Where to listen, with ranges of ports and whole prefixes.
//!
//! `HOST:PORT` is an address like any other; `HOST:FIRST-LAST`, `PREFIX:PORT` and
//! `PREFIX:FIRST-LAST` are a [`Span`]. What can be said as an address is one.

use std::fmt;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::address::{Host, HostPort, parse_host, parse_port, split};
use super::duration::digits;
use super::model::Protocol;
use super::prefix;
use super::problem::Complaint;
use super::services::Services;

/// A range of ports, of every address of a prefix.
///
/// All of IPv6 stands for all of IPv4 too, unless the listener is for IPv6 only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Without bits behind its length.
    pub net: IpNet,
    /// Never empty, and never with 0.
    pub ports: RangeInclusive<u16>,
}

impl Span {
    /// Whether it is one address, or all of a family.
    pub fn has_one_host(&self) -> bool {
        self.net.prefix_len() == 0 || self.net.prefix_len() == self.net.max_prefix_len()
    }

    /// Its prefixes. All of IPv6 has all of IPv4 with it, unless it is for IPv6 only.
    pub fn nets(&self, v6_only: bool) -> impl Iterator<Item = IpNet> {
        let all_of_v6 = every(Ipv6Addr::UNSPECIFIED.into());
        let with_v4 = self.net == all_of_v6 && !v6_only;
        let v4 = with_v4.then(|| every(Ipv4Addr::UNSPECIFIED.into()));
        iter::once(self.net).chain(v4)
    }

    /// Whether a port of an address is in both; each with what [`Self::nets`] wants to know.
    pub(super) fn overlaps(&self, v6_only: bool, (other, other_v6_only): (&Self, bool)) -> bool {
        let meet = |a: IpNet| {
            let mut others = other.nets(other_v6_only);
            others.any(|b| a.contains(&b) || b.contains(&a))
        };
        let (a, b) = (&self.ports, &other.ports);
        a.start() <= b.end() && b.start() <= a.end() && self.nets(v6_only).any(meet)
    }

    /// As a configuration would have it that has the host written out.
    fn host(&self) -> String {
        match self.net {
            net if self.has_one_host() => Host::Ip(net.addr()).to_string(),
            IpNet::V4(net) => net.to_string(),
            IpNet::V6(net) => format!("[{net}]"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        write!(f, "{}:{first}", self.host())?;
        if first == last {
            return Ok(());
        }
        write!(f, "-{last}")
    }
}

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listen {
    /// Where the socket is bound, or one of many places where it could be.
    pub(super) at: HostPort,
    pub(super) span: Option<Span>,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.span {
            Some(span) => span.fmt(f),
            None => self.at.fmt(f),
        }
    }
}

impl Listen {
    /// Reads one address, as [`HostPort::parse`] does, or a span.
    pub(super) fn parse(
        text: &str,
        protocol: Protocol,
        services: &Services,
    ) -> Result<Self, Complaint> {
        let (host, port) = split(text)?;
        let ports = if let Some(ports) = range(port) {
            ports?
        } else {
            let port = parse_port(port, protocol, services)?;
            port..=port
        };
        let first = *ports.start();
        let net = if host.contains('/') {
            Some(parse_net(host)?)
        } else if first == *ports.end() {
            None
        } else {
            Some(all_of(&parse_host(host, text)?)?)
        };
        let Some(net) = net else {
            let host = parse_host(host, text)?;
            return Ok(Self {
                at: HostPort { host, port: first },
                span: None,
            });
        };
        if first == 0 {
            return Err(Complaint::new("has port 0 for a whole prefix", PORTS));
        }
        let host = if host.is_empty() {
            Host::Any
        } else {
            Host::Ip(net.addr())
        };
        let span = Span { net, ports };
        let is_address = span.has_one_host() && first == *span.ports.end();
        Ok(Self {
            at: HostPort { host, port: first },
            span: (!is_address).then_some(span),
        })
    }

    /// The same where every address is one of the family of `wildcard`.
    pub(super) fn all_of(self, wildcard: IpAddr) -> Self {
        Self {
            at: HostPort {
                host: Host::Ip(wildcard),
                ..self.at
            },
            span: self.span.map(|span| Span {
                net: every(wildcard),
                ..span
            }),
        }
    }
}

/// The ports of `FIRST-LAST`; `None` for anything else, such as a service's name.
pub(super) fn range(port: &str) -> Option<Result<RangeInclusive<u16>, Complaint>> {
    let (first, last) = port.split_once('-')?;
    let number = |text: &str| {
        let (number, rest) = digits(text.trim());
        (!number.is_empty() && rest.is_empty()).then(|| number.parse::<u16>().ok())
    };
    let (first, last) = (number(first)?, number(last)?);
    let within = first.zip(last).filter(|(first, _)| *first > 0);
    Some(match within {
        Some((first, last)) if first <= last => Ok(first..=last),
        Some((first, last)) => Err(Complaint::new(
            "has a range of ports that ends before it begins",
            format!("write the lower port first: {last}-{first}"),
        )),
        None => Err(Complaint::new("has a port out of range", PORTS)),
    })
}

/// The prefix in `192.0.2.0/24` or `[2001:db8::/64]`.
fn parse_net(host: &str) -> Result<IpNet, Complaint> {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if inner.is_none() && host.contains(':') {
        return Err(Complaint::new(
            "has more colons than prefix:port",
            format!("put an IPv6 prefix in brackets, such as \"[{host}]:PORT\""),
        ));
    }
    let prefix = prefix::parse(inner.unwrap_or(host))?;
    if prefix.was_masked {
        return Err(Complaint::new(
            "has bits behind the length of its prefix",
            format!("write the prefix {}, or one address", prefix.net),
        ));
    }
    Ok(prefix.net)
}

fn all_of(host: &Host) -> Result<IpNet, Complaint> {
    match host {
        Host::Any => Ok(every(Ipv6Addr::UNSPECIFIED.into())),
        Host::Ip(ip) if ip.is_unspecified() => Ok(every(*ip)),
        Host::Ip(ip) => Ok((*ip).into()),
        Host::Name(_) => Err(Complaint::new(
            "has a range of ports of a name",
            "write an address or a prefix before the range, such as \"192.0.2.1:1000-2000\"",
        )),
    }
}

/// Every address of the family of this one.
fn every(ip: IpAddr) -> IpNet {
    IpNet::new(ip, 0).expect("no length is too short").trunc()
}

const PORTS: &str = "write ports from 1 to 65535, such as 1000-2000";

#[cfg(test)]
mod tests;
