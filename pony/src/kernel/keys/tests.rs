use std::{collections::BTreeMap, ops::RangeInclusive, sync::LazyLock};

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
        at: At::Socket(addr.parse().unwrap()),
        v6_only,
        rules: Rules {
            protocol,
            access: &ACCESS,
            limits: &LIMITS,
        },
    }
}

/// The entries as "address port → listener number".
fn numbers(listeners: &[GuardListener<'_>]) -> BTreeMap<String, u32> {
    let entries = Keys::new(listeners, &[]).listeners.into_iter();
    entries
        .map(|(key, listener)| {
            (
                format!("{} {}", key.addr.to_ip(), key.port.to_host()),
                listener.number(),
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
fn a_port_says_what_its_listeners_are() {
    let listeners = [
        listener(Protocol::Tcp, "[::]:80", false),
        listener(Protocol::Udp, "192.0.2.1:80", false),
        listener(Protocol::Udp, "192.0.2.2:80", false),
    ];
    let ports = Keys::new(&listeners, &[]).ports;
    assert_eq!(ports.len(), 2);
    let find = |place: u32| ports[&place].find(Addr16::from_v4([192, 0, 2, 1]));
    let everywhere = ListenerRef::alone(0).on_any_address();
    assert_eq!(find(80), Found::Listener(everywhere));
    assert_eq!(find(0x1_0000 + 80), Found::Ask(0));
}

fn spanning(protocol: Protocol, span: &Span, v6_only: bool) -> GuardListener<'_> {
    GuardListener {
        at: At::Span(span),
        ..listener(protocol, "0.0.0.0:1", v6_only)
    }
}

fn span(net: &str, ports: RangeInclusive<u16>) -> Span {
    let net = net.parse().unwrap();
    Span { net, ports }
}

/// Who has the port of the address, as the kernel programs find it.
fn find(keys: &Keys, addr: &str, port: u16) -> Option<ListenerRef> {
    let ip: IpAddr = addr.parse().unwrap();
    let key = ListenerKey::new(Transport::Tcp, ip.into(), Be16::from_host(port));
    let group = match keys.ports.get(&key.place())?.find(key.addr) {
        Found::Nobody => return None,
        Found::Listener(listener) => return Some(listener),
        Found::Ask(group) => group,
    };
    let listeners = [key, key.wildcard()];
    let found = listeners.iter().find_map(|key| keys.listeners.get(key));
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let on_prefix = || {
        (0..=most).rev().find_map(|len| {
            let net = IpNet::new(ip, len).unwrap().trunc();
            let key = NetKey::new(group, net.addr().into());
            let is_it = |(bits, net, _): &&(u32, NetKey, ListenerRef)| {
                (*bits, *net) == (key.prefix_bits(len), key)
            };
            keys.nets.iter().find(is_it).map(|(.., found)| found)
        })
    };
    found.or_else(on_prefix)?.guarded()
}

#[test]
fn a_span_has_its_ports_but_for_what_is_anothers() {
    let span = span("::/0", 1000..=2000);
    let listeners = [
        spanning(Protocol::Tcp, &span, false),
        listener(Protocol::Tcp, "192.0.2.1:1500", false),
        listener(Protocol::Tcp, "0.0.0.0:1600", false),
    ];
    let keys = Keys::new(&listeners, &["127.0.0.1:1700".parse().unwrap()]);
    let every = ListenerRef::shared(0).on_any_address();
    let every_v4 = ListenerRef::alone(2).on_any_address();
    for (addr, port, expected) in [
        ("192.0.2.1", 999, None),
        ("192.0.2.1", 1000, Some(every)),
        ("2001:db8::1", 2000, Some(every)),
        ("2001:db8::1", 2001, None),
        ("192.0.2.1", 1500, Some(ListenerRef::alone(1))),
        ("192.0.2.2", 1500, Some(every)),
        ("192.0.2.2", 1600, Some(every_v4)),
        ("2001:db8::1", 1600, Some(every)),
        ("127.0.0.1", 1700, None),
        ("127.0.0.2", 1700, Some(every)),
    ] {
        assert_eq!(find(&keys, addr, port), expected, "{addr} {port}");
    }
    assert!(!keys.ports.contains_key(&(0x1_0000 + 1000)), "UDP");
    assert_eq!(keys.nets.len(), 2, "the three ports are of one group");
}

#[test]
fn spans_on_the_same_ports_of_other_prefixes_are_told_apart() {
    let spans = [
        span("192.0.2.0/24", 1000..=2000),
        span("198.51.100.0/24", 1500..=2500),
        span("2001:db8::/64", 1..=u16::MAX),
    ];
    let listeners = spans
        .each_ref()
        .map(|it| spanning(Protocol::Tcp, it, false));
    let keys = Keys::new(&listeners, &[]);
    for (addr, port, expected) in [
        ("192.0.2.255", 1000, Some(0)),
        ("192.0.2.0", 2000, Some(0)),
        ("192.0.2.0", 2001, None),
        ("192.0.3.0", 1700, None),
        ("198.51.100.7", 1499, None),
        ("198.51.100.7", 1700, Some(1)),
        ("198.51.100.7", 2500, Some(1)),
        ("2001:db8::7", 1, Some(2)),
        ("2001:db8::7", 1700, Some(2)),
        ("2001:db8::7", u16::MAX, Some(2)),
        ("2001:db8:0:1::", 1700, None),
    ] {
        let expected = expected.map(ListenerRef::shared);
        assert_eq!(find(&keys, addr, port), expected, "{addr} {port}");
    }
    assert_eq!(keys.nets.len(), 1 + 2 + 3 + 2 + 1);
}

#[test]
fn one_span_on_whole_families_or_one_address_needs_no_second_look() {
    let spans = [
        span("0.0.0.0/0", 1..=10),
        span("::/0", 11..=20),
        span("192.0.2.1/32", 21..=30),
    ];
    let listeners = spans
        .each_ref()
        .map(|it| spanning(Protocol::Tcp, it, false));
    let keys = Keys::new(&listeners, &[]);
    assert_eq!((keys.nets.len(), keys.ports.len()), (0, 30));
    for (addr, port, expected) in [
        ("192.0.2.9", 10, Some(0)),
        ("2001:db8::1", 10, None),
        ("192.0.2.9", 11, Some(1)),
        ("2001:db8::1", 11, Some(1)),
        ("192.0.2.1", 21, Some(2)),
        ("192.0.2.9", 21, None),
    ] {
        let expected = expected.map(|number| match number {
            2 => ListenerRef::shared(number),
            _ => ListenerRef::shared(number).on_any_address(),
        });
        assert_eq!(find(&keys, addr, port), expected, "{addr} {port}");
    }
}

#[test]
fn tcp_and_udp_on_one_address_are_two_listeners() {
    let listeners = [
        listener(Protocol::Tcp, "192.0.2.1:53", false),
        listener(Protocol::Udp, "192.0.2.1:53", false),
    ];
    assert_eq!(Keys::new(&listeners, &[]).listeners.len(), 2);
}
