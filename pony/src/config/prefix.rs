//! Addresses and prefixes as access lists hold them.
//!
//! One address family has one form: what is IPv4-mapped becomes IPv4, and host bits are cleared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::address::parse_v4;
use super::problem::Complaint;

/// A prefix, and whether the text had bits behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Prefix {
    pub(super) net: IpNet,
    pub(super) was_masked: bool,
}

const EXAMPLES: &str =
    "write an address or a prefix, such as \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\"";

/// How many bits stand before the IPv4 address in a mapped one.
const MAPPED_BITS: u8 = 96;

/// Reads an address or a prefix.
pub(super) fn parse(text: &str) -> Result<Prefix, Complaint> {
    let text = text.trim();
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(complain(text, address));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => longest,
        Some(len) => parse_len(len, address, longest)?,
    };
    let (address, len) = unmapped(address, len)?;
    let given = IpNet::new(address, len).expect("the length fits the family of the address");
    let net = given.trunc();
    Ok(Prefix {
        net,
        was_masked: net != given,
    })
}

fn parse_len(len: &str, address: IpAddr, longest: u8) -> Result<u8, Complaint> {
    if let Ok(mask) = len.parse::<Ipv4Addr>()
        && let Ok(len) = ipnet::ipv4_mask_to_prefix(mask)
    {
        return Err(Complaint::new(
            "has a netmask instead of a prefix length",
            format!("write \"{address}/{len}\""),
        ));
    }
    let is_number = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
    len.parse()
        .ok()
        .filter(|len| is_number && *len <= longest)
        .ok_or_else(|| {
            Complaint::new(
                "has a prefix length out of range",
                format!("write \"{address}/N\" with N from 0 to {longest}"),
            )
        })
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(address: IpAddr, len: u8) -> Result<(IpAddr, u8), Complaint> {
    let IpAddr::V6(v6) = address else {
        return Ok((address, len));
    };
    match (v6.to_ipv4_mapped(), len.checked_sub(MAPPED_BITS)) {
        (None, _) => Ok((address, len)),
        (Some(v4), Some(len)) => Ok((v4.into(), len)),
        (Some(_), None) => Err(Complaint::new(
            "is an IPv4-mapped prefix that is shorter than /96",
            "write \"0.0.0.0/0\" for all of IPv4, \"::/0\" for all of IPv6",
        )),
    }
}

fn complain(text: &str, address: &str) -> Complaint {
    let is_word = |word: &str| text.eq_ignore_ascii_case(word);
    if text.is_empty() {
        return Complaint::new("is empty", EXAMPLES);
    }
    if is_word("*") || is_word("any") || is_word("all") {
        return Complaint::new(
            "is not an address",
            "write \"0.0.0.0/0\" and \"::/0\" for everybody",
        );
    }
    if address.contains('%') {
        return Complaint::new(
            "has an IPv6 zone",
            "write the address without \"%\" and what follows it",
        );
    }
    if text.contains('-')
        && text
            .split('-')
            .all(|end| end.trim().parse::<IpAddr>().is_ok())
    {
        return Complaint::new(
            "is a range",
            "write the prefixes or addresses that make it up, one entry each",
        );
    }
    if let Some(inner) = without_brackets_or_port(text) {
        return Complaint::new("has brackets or a port", format!("write \"{inner}\""));
    }
    if address
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        && address.contains('.')
    {
        return parse_v4(address)
            .err()
            .unwrap_or_else(|| Complaint::new("is not an address", EXAMPLES));
    }
    let is_name = address
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name && address.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return Complaint::new(
            "is a name, not an address",
            "write its addresses; names are not resolved here",
        );
    }
    Complaint::new("is not an address or a prefix", EXAMPLES)
}

/// The address in `[2001:db8::1]`, `[2001:db8::1]:80` or `192.0.2.1:80`.
fn without_brackets_or_port(text: &str) -> Option<String> {
    let address: IpAddr = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?.parse::<Ipv6Addr>().ok()?.into(),
        None => text.split_once(':')?.0.parse::<Ipv4Addr>().ok()?.into(),
    };
    Some(address.to_string())
}

#[cfg(test)]
mod tests;
