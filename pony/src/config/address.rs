//! Addresses of the form `host:port`.
//!
//! Owns their syntax and what makes two of them the same place. It resolves nothing: a name stays a
//! name. IPv4-mapped addresses become IPv4, so one address has one form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::duration::digits;
use super::model::Protocol;
use super::problem::Complaint;
use super::services::Services;

/// A host and a port, as listeners, targets and receivers are written.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HostPort {
    pub host: Host,
    pub port: u16,
}

/// The host part of an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// Left out: every address of the machine.
    Any,
    /// Never an IPv4-mapped IPv6 address.
    Ip(IpAddr),
    /// To be resolved when it is used.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

const EXAMPLES: &str =
    "write host:port, such as \"192.0.2.1:80\", \"[2001:db8::1]:80\" or \"example.com:80\"";

impl HostPort {
    /// Reads one address; names of ports are those that `services` knows for `protocol`.
    pub(super) fn parse(
        text: &str,
        protocol: Protocol,
        services: &Services,
    ) -> Result<Self, Complaint> {
        let (host, port) = split(text)?;
        let host = parse_host(host, text)?;
        let port = parse_port(port, protocol, services)?;
        Ok(Self { host, port })
    }

    /// Where a socket for this address lives; equal for two spellings of one address.
    pub(super) fn place(&self) -> (Host, u16) {
        let host = match &self.host {
            Host::Any => Host::Ip(Ipv6Addr::UNSPECIFIED.into()),
            Host::Name(name) => Host::Name(name.trim_end_matches('.').to_ascii_lowercase()),
            Host::Ip(ip) => Host::Ip(*ip),
        };
        (host, self.port)
    }
}

/// `host` and `port` of `text`; the brackets of an IPv6 address stay with it.
pub(super) fn split(text: &str) -> Result<(&str, &str), Complaint> {
    let plain = text.trim();
    if plain.is_empty() {
        return Err(Complaint::new("is empty", EXAMPLES));
    }
    if let Some((scheme, rest)) = plain.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        let port = if host.contains(':') { "" } else { ":PORT" };
        return Err(Complaint::new(
            "is a URL, not an address",
            format!("write only its host and port: \"{host}{port}\", without \"{scheme}://\""),
        ));
    }
    if plain.parse::<Ipv6Addr>().is_ok() {
        return Err(Complaint::new(
            "is an IPv6 address without brackets and port",
            format!("write \"[{plain}]:PORT\""),
        ));
    }
    match plain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Ok((host, port)),
        _ if plain.bytes().all(|byte| byte.is_ascii_digit()) => Err(Complaint::new(
            "has no host",
            format!("write \":{plain}\" for this port"),
        )),
        _ => Err(Complaint::new(
            "has no port",
            format!("write \"{plain}:PORT\""),
        )),
    }
}

/// Reads a host; `text` is what it stands in.
pub(super) fn parse_host(host: &str, text: &str) -> Result<Host, Complaint> {
    if host.is_empty() {
        return Ok(Host::Any);
    }
    if let Some(rest) = host.strip_prefix('[') {
        let Some(inner) = rest.strip_suffix(']') else {
            return Err(Complaint::new("has brackets that do not match", EXAMPLES));
        };
        return parse_v6(inner);
    }
    if host == "*" {
        return Err(Complaint::new(
            "is not an address",
            format!("write \"{}\" for every address", &text.trim()[1..]),
        ));
    }
    if host.contains(':') {
        return Err(Complaint::new(
            "has more colons than host:port",
            format!("put an IPv6 address in brackets, such as \"[{host}]:PORT\""),
        ));
    }
    if host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return parse_v4(host).map(|ip| Host::Ip(ip.into()));
    }
    check_name(host)?;
    Ok(Host::Name(host.to_owned()))
}

fn parse_v6(inner: &str) -> Result<Host, Complaint> {
    if inner.contains('%') {
        return Err(Complaint::new(
            "has an IPv6 zone, which is not supported",
            "write an address without \"%\", or \"[::]:PORT\" and an allowlist",
        ));
    }
    if let Ok(ip) = inner.parse::<Ipv6Addr>() {
        return Ok(Host::Ip(IpAddr::V6(ip).to_canonical()));
    }
    let remedy = if inner.parse::<Ipv4Addr>().is_ok() {
        format!("write \"{inner}:PORT\", without brackets")
    } else {
        "write an IPv6 address between the brackets, such as \"[2001:db8::1]:80\"".to_owned()
    };
    Err(Complaint::new(
        "has something else than an IPv6 address in brackets",
        remedy,
    ))
}

/// Reads an IPv4 address; says how to mend one with leading zeros.
pub(super) fn parse_v4(text: &str) -> Result<Ipv4Addr, Complaint> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    let trimmed: Vec<String> = text.split('.').map(without_leading_zeros).collect();
    let trimmed = trimmed.join(".");
    if trimmed.parse::<Ipv4Addr>().is_ok() {
        return Err(Complaint::new(
            "has leading zeros, which some programs read as octal",
            format!("write {trimmed}"),
        ));
    }
    Err(Complaint::new(
        "is not an IPv4 address",
        "write four numbers from 0 to 255, such as 192.0.2.1",
    ))
}

fn without_leading_zeros(part: &str) -> String {
    match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    }
}

/// Letters, digits, `-` and `_` in labels of 1 to 63, 253 characters together.
fn check_name(name: &str) -> Result<(), Complaint> {
    if !name.is_ascii() {
        return Err(Complaint::new(
            "has a host name with letters beyond ASCII",
            "write the name in its ASCII form (xn--...)",
        ));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Complaint::new(
            "has something that is neither an address nor a host name",
            EXAMPLES,
        ));
    }
    Ok(())
}

/// Reads a port, or the name of one.
pub(super) fn parse_port(
    port: &str,
    protocol: Protocol,
    services: &Services,
) -> Result<u16, Complaint> {
    const RANGE: &str = "write a port from 1 to 65535";
    if port.is_empty() {
        return Err(Complaint::new("has no port after the colon", RANGE));
    }
    let (number, rest) = digits(port);
    if rest.is_empty() {
        let value = number.trim_start_matches('0');
        return if value.is_empty() {
            Some(0)
        } else {
            value.parse().ok()
        }
        .ok_or_else(|| Complaint::new("has a port out of range", RANGE));
    }
    services.port(port, protocol).ok_or_else(|| {
        Complaint::new(
            format!("has a port that is neither a number nor a known {protocol} service"),
            format!("{RANGE}, or a name from /etc/services"),
        )
    })
}

#[cfg(test)]
mod tests;
