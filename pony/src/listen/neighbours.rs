//! Who else of this machine listens, as `/proc` has it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::config::{Listener, Protocol};

/// The sockets on one of the listener's many addresses and ports: their new clients would come to
/// the listener. To be asked before our own are bound. Empty where there is no `/proc`, and one may be
/// missing: the kernel does not stop for who reads.
pub fn neighbours(listener: &Listener) -> Vec<SocketAddr> {
    let Some(span) = &listener.span else {
        return Vec::new();
    };
    let nets: Vec<_> = span.nets(listener.v6_only).collect();
    let is_within = |address: &SocketAddr| {
        let ip = address.ip();
        span.ports.contains(&address.port())
            && (ip.is_unspecified() || nets.iter().any(|net| net.contains(&ip)))
    };
    let (files, state) = match listener.protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENS),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], IS_NOT_CONNECTED),
    };
    let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    let sockets = texts.iter().flat_map(|text| text.lines().skip(1));
    let mut found: Vec<_> = sockets
        .filter_map(|line| local(line, state))
        .filter(is_within)
        .collect();
    // Sockets may share one.
    found.sort();
    found.dedup();
    found
}

/// The local address of a socket in this state.
fn local(line: &str, state: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, _remote, its_state) = (words.next()?, words.next()?, words.next()?);
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from_octets(word(ip)?)),
        32 => {
            let mut octets = [0; 16];
            for (part, at) in octets.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                part.copy_from_slice(&word(ip.get(at..at + 8)?)?);
            }
            IpAddr::from(Ipv6Addr::from_octets(octets)).to_canonical()
        }
        _ => return None,
    };
    (its_state == state).then_some(SocketAddr::new(ip, port))
}

/// Four bytes of an address, which the kernel prints as one number of this machine.
fn word(text: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
}

// The kernel's `enum tcp_state`, which UDP sockets borrow.
const LISTENS: &str = "0A";
const IS_NOT_CONNECTED: &str = "07";

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel prints it.
    fn line(octets: &[u8], port: u16, state: &str) -> String {
        let words = octets.chunks_exact(4);
        let words = words.map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
        let words: Vec<_> = words.map(|word| format!("{word:08X}")).collect();
        let address = words.concat();
        format!("   0: {address}:{port:04X} {address}:0000 {state} 00000000:00000000 00:00000000")
    }

    #[test]
    fn addresses_of_both_families_are_read_from_sockets_of_the_right_state() {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 2, 3, 4, 5);
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for (octets, shown) in [
            (&[192, 0, 2, 1][..], "192.0.2.1:8080"),
            (&v6.octets(), "[2001:db8:0:1:2:3:4:5]:8080"),
            (&mapped.octets(), "127.0.0.1:8080"),
        ] {
            let line = line(octets, 8080, LISTENS);
            assert_eq!(local(&line, LISTENS), Some(shown.parse().unwrap()));
            assert_eq!(local(&line, IS_NOT_CONNECTED), None);
        }
    }

    #[test]
    fn a_line_that_is_none_is_nothing() {
        for line in [
            "",
            "0:",
            "0: 0100007F:1F90",
            "0: 7F:1F90 0:0 0A",
            "0: x y 0A",
        ] {
            assert_eq!(local(line, LISTENS), None, "{line:?}");
        }
    }
}
