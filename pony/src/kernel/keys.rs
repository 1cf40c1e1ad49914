//! From bound listeners to the entries of `LISTENERS`.

use std::collections::HashMap;

use pony_common::{
    addr::{Addr16, Be16},
    layout::listener::{ANY_V4, ANY_V6, ListenerEntry, ListenerKey, Transport},
};

use super::GuardListener;
use crate::config::Protocol;

/// The entries for these listeners; a listener's number is its place in the slice.
///
/// A listener on all addresses of both families gets one entry per family, but leaves IPv4 to a
/// listener that is there for IPv4 alone.
pub(super) fn listener_entries(listeners: &[GuardListener]) -> HashMap<ListenerKey, ListenerEntry> {
    let mut entries = HashMap::new();
    for (number, listener) in (0..).zip(listeners) {
        let key = key(listener, Addr16::from(listener.addr.ip()));
        entries.insert(key, ListenerEntry::new(number, listener.ipv6_prefix));
    }
    for (number, listener) in (0..).zip(listeners) {
        if Addr16::from(listener.addr.ip()) == ANY_V6 && !listener.v6_only {
            let entry = ListenerEntry::new(number, listener.ipv6_prefix);
            entries.entry(key(listener, ANY_V4)).or_insert(entry);
        }
    }
    entries
}

fn key(listener: &GuardListener, addr: Addr16) -> ListenerKey {
    let transport = match listener.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    ListenerKey::new(transport, addr, Be16::from_host(listener.addr.port()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn listener(protocol: Protocol, addr: &str, v6_only: bool) -> GuardListener {
        GuardListener {
            name: addr.into(),
            protocol,
            addr: addr.parse().unwrap(),
            v6_only,
            ipv6_prefix: 64,
        }
    }

    /// The entries as "address port → listener number".
    fn numbers(listeners: &[GuardListener]) -> BTreeMap<String, u32> {
        let entries = listener_entries(listeners).into_iter();
        entries
            .map(|(key, entry)| {
                (
                    format!("{} {}", key.addr.to_ip(), key.port.to_host()),
                    entry.number,
                )
            })
            .collect()
    }

    fn expected<const N: usize>(rows: [(&str, u32); N]) -> BTreeMap<String, u32> {
        rows.map(|(key, number)| (key.to_owned(), number)).into()
    }

    #[test]
    fn a_wildcard_of_both_families_is_found_by_both() {
        let listeners = [listener(Protocol::Tcp, "[::]:80", false)];
        assert_eq!(
            numbers(&listeners),
            expected([(":: 80", 0), ("0.0.0.0 80", 0)])
        );
    }

    #[test]
    fn a_wildcard_of_one_family_is_found_by_that_family() {
        let v4 = [listener(Protocol::Tcp, "0.0.0.0:80", false)];
        assert_eq!(numbers(&v4), expected([("0.0.0.0 80", 0)]));
        let v6 = [listener(Protocol::Tcp, "[::]:80", true)];
        assert_eq!(numbers(&v6), expected([(":: 80", 0)]));
    }

    #[test]
    fn a_listener_for_ipv4_alone_keeps_ipv4_whatever_the_order() {
        let both = listener(Protocol::Tcp, "[::]:80", false);
        let v4 = listener(Protocol::Tcp, "0.0.0.0:80", false);
        let rows = numbers(&[both.clone(), v4.clone()]);
        assert_eq!(rows, expected([(":: 80", 0), ("0.0.0.0 80", 1)]));
        let rows = numbers(&[v4, both]);
        assert_eq!(rows, expected([("0.0.0.0 80", 0), (":: 80", 1)]));
    }

    #[test]
    fn tcp_and_udp_on_one_address_are_two_listeners() {
        let listeners = [
            listener(Protocol::Tcp, "192.0.2.1:53", false),
            listener(Protocol::Udp, "192.0.2.1:53", false),
        ];
        assert_eq!(listener_entries(&listeners).len(), 2);
    }
}
