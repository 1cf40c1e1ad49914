//! From bound listeners to the entries of `LISTENERS` and `PORTS`.

use std::collections::HashMap;

use pony_common::{
    addr::{Addr16, Be16},
    layout::listener::{ANY_V4, ANY_V6, ListenerEntry, ListenerKey, PortEntry, Transport},
};

use super::GuardListener;
use crate::config::Protocol;

/// The entries for these listeners; a listener's number is its place in the slice.
///
/// A listener on all addresses of both families gets one entry per family, but leaves IPv4 to a
/// listener that is there for IPv4 alone. One that the guard leaves alone has none, and its number
/// all the same.
pub(super) fn listener_entries(
    listeners: &[GuardListener<'_>],
) -> HashMap<ListenerKey, ListenerEntry> {
    let mut entries = HashMap::new();
    let listeners = || {
        let numbered = (0..).zip(listeners);
        numbered.filter_map(|(number, listener)| Some((number, listener, listener.addr?)))
    };
    for (number, listener, addr) in listeners() {
        let key = key(listener, Addr16::from(addr.ip()), addr.port());
        entries.insert(
            key,
            ListenerEntry::new(number, listener.rules.limits.ipv6_prefix),
        );
    }
    for (number, listener, addr) in listeners() {
        if Addr16::from(addr.ip()) == ANY_V6 && !listener.v6_only {
            let entry = ListenerEntry::new(number, listener.rules.limits.ipv6_prefix);
            entries
                .entry(key(listener, ANY_V4, addr.port()))
                .or_insert(entry);
        }
    }
    entries
}

/// What these entries say of the ports, by place.
pub(super) fn port_entries(
    listeners: &HashMap<ListenerKey, ListenerEntry>,
) -> HashMap<u32, PortEntry> {
    let mut ports: HashMap<u32, PortEntry> = HashMap::new();
    for (key, entry) in listeners {
        let port = ports.entry(key.place()).or_default();
        *port = port.and(key.addr, entry.number);
    }
    ports
}

fn key(listener: &GuardListener<'_>, addr: Addr16, port: u16) -> ListenerKey {
    let transport = match listener.rules.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    ListenerKey::new(transport, addr, Be16::from_host(port))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::LazyLock};

    use pony_common::layout::listener::Found;

    use super::*;
    use crate::{
        config::{Access, Limits},
        kernel::Rules,
    };

    fn listener(protocol: Protocol, addr: &str, v6_only: bool) -> GuardListener<'static> {
        static ACCESS: Access = Access {
            allow: Vec::new(),
            deny: Vec::new(),
            exempt: Vec::new(),
        };
        static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
        GuardListener {
            name: "web",
            addr: Some(addr.parse().unwrap()),
            v6_only,
            rules: Rules {
                protocol,
                access: &ACCESS,
                limits: &LIMITS,
                per_client: true,
            },
        }
    }

    /// The entries as "address port → listener number".
    fn numbers(listeners: &[GuardListener<'_>]) -> BTreeMap<String, u32> {
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
        let rows = numbers(&[both, v4]);
        assert_eq!(rows, expected([(":: 80", 0), ("0.0.0.0 80", 1)]));
        let rows = numbers(&[v4, both]);
        assert_eq!(rows, expected([("0.0.0.0 80", 0), (":: 80", 1)]));
    }

    #[test]
    fn a_listener_that_is_left_alone_has_a_number_and_no_entry() {
        let mut alone = listener(Protocol::Tcp, "0.0.0.0:80", false);
        alone.addr = None;
        let rows = numbers(&[alone, listener(Protocol::Tcp, "0.0.0.0:81", false)]);
        assert_eq!(rows, expected([("0.0.0.0 81", 1)]));
    }

    #[test]
    fn a_port_says_what_its_listeners_are() {
        let listeners = [
            listener(Protocol::Tcp, "[::]:80", false),
            listener(Protocol::Udp, "192.0.2.1:80", false),
            listener(Protocol::Udp, "192.0.2.2:80", false),
        ];
        let ports = port_entries(&listener_entries(&listeners));
        assert_eq!(ports.len(), 2);
        let find = |place: u32| ports[&place].find(Addr16::from_v4([192, 0, 2, 1]));
        assert_eq!(find(80), Found::Listener(0));
        assert_eq!(find(0x1_0000 + 80), Found::Ask);
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
