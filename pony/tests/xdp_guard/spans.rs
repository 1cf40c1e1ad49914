//! A listener with many addresses and ports, beside sockets of others on the same.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use pony::{
    config::{Access, Protocol, Span},
    kernel::{At, GuardListener, Rules},
};
use pony_common::layout::{
    reads::NotOurs,
    stats::{Slot, Tally},
};
use pony_ebpf::fixtures::{CLIENT_PORT, TCP_PORT, UDP_PORT};

use crate::{
    frames::Frame,
    guard::{XDP_DROP, XDP_PASS},
    is_root,
    real::Real,
    rules::open_listener,
    setup::access,
};

/// Where a listener with these lists has this span.
fn listener<'a>(protocol: Protocol, span: &'a Span, access: &'a Access) -> GuardListener<'a> {
    let open = open_listener("range", protocol, "0.0.0.0:1".parse().unwrap());
    GuardListener {
        at: At::Span(span),
        rules: Rules {
            access,
            ..open.rules
        },
        ..open
    }
}

#[test]
fn what_a_connected_socket_gets_is_not_the_listeners() {
    if !is_root() {
        return;
    }
    let span = Span {
        net: "::/0".parse().unwrap(),
        ports: 1..=u16::MAX,
    };
    let nobody = Access::default();
    let real = Real::start("connected", listener(Protocol::Udp, &span, &nobody));
    let in_connection = || real.guard.counters().read(NotOurs::InConnection as u32);

    for (own, peer, stranger) in [
        ("127.0.0.1", "127.0.0.9", "127.0.0.8"),
        ("::1", "::1", "2001:db8::1"),
    ] {
        let [own, peer, stranger] = [own, peer, stranger].map(|ip| ip.parse().unwrap());
        let frame = |from| match from {
            IpAddr::V4(_) => Frame::udp(0).between(from, own).0,
            IpAddr::V6(_) => Frame::udp_v6(0).between(from, own).0,
        };
        assert_eq!(real.verdict(&frame(peer)), XDP_DROP, "{own}: nobody's");
        let socket = UdpSocket::bind((own, UDP_PORT)).unwrap();
        assert_eq!(real.verdict(&frame(peer)), XDP_DROP, "{own}: of any peer");
        let before = in_connection().unwrap();
        socket.connect((peer, CLIENT_PORT)).unwrap();
        assert_eq!(real.verdict(&frame(peer)), XDP_PASS, "{own}: its peer's");
        assert_eq!(in_connection(), Some(before + 1));
        assert_eq!(real.verdict(&frame(stranger)), XDP_DROP, "{own}: another's");
        drop(socket);
        assert_eq!(
            real.verdict(&frame(peer)),
            XDP_DROP,
            "{own}: nobody's again"
        );
    }
}

#[test]
fn prefixes_are_judged_on_their_ports_and_others_on_none() {
    if !is_root() {
        return;
    }
    let span = Span {
        net: "198.51.100.0/28".parse().unwrap(),
        ports: TCP_PORT - 1..=TCP_PORT,
    };
    let lists = access(&["192.0.2.1/32"], &[], &[]);
    let real = Real::start("prefix", listener(Protocol::Tcp, &span, &lists));
    let syn = |client: u8, to: &str, port: u16| {
        let from = format!("192.0.2.{client}").parse().unwrap();
        let frame = Frame::syn(client, 7).between(from, to.parse().unwrap());
        frame.edit(14 + 20 + 2, &port.to_be_bytes()).0
    };
    for (client, to, port, verdict) in [
        (1, "198.51.100.0", TCP_PORT, XDP_PASS),
        (2, "198.51.100.0", TCP_PORT, XDP_DROP),
        (2, "198.51.100.15", TCP_PORT - 1, XDP_DROP),
        (2, "198.51.100.16", TCP_PORT, XDP_PASS),
        (2, "198.51.100.0", TCP_PORT + 1, XDP_PASS),
        (2, "198.51.100.0", TCP_PORT - 2, XDP_PASS),
    ] {
        let found = real.verdict(&syn(client, to, port));
        assert_eq!(found, verdict, "{client} to {to}:{port}");
    }
    let counted = |slot| real.guard.counters().tally(0, slot).unwrap();
    let Tally { packets, .. } = counted(Slot::Drop(pony_common::reason::Reason::Acl));
    assert_eq!((packets, counted(Slot::Pass).packets), (2, 1));
}

#[test]
fn a_socket_that_the_guard_has_to_leave_alone_is_reached_within_a_span() {
    if !is_root() {
        return;
    }
    let span = Span {
        net: "0.0.0.0/0".parse().unwrap(),
        ports: 1..=u16::MAX,
    };
    let nobody = Access::default();
    let own = IpAddr::from([127, 0, 0, 1]);
    let listener = listener(Protocol::Tcp, &span, &nobody);
    let other = SocketAddr::new(own, TCP_PORT);
    let real = Real::start_beside("beside", listener, &[other]);
    let syn = |to: IpAddr, port: u16| {
        let frame = Frame::syn(1, 1).between([192, 0, 2, 1].into(), to);
        frame.edit(14 + 20 + 2, &port.to_be_bytes()).0
    };
    assert_eq!(real.verdict(&syn(own, TCP_PORT)), XDP_PASS);
    assert_eq!(real.verdict(&syn(own, TCP_PORT + 1)), XDP_DROP);
    let elsewhere = [203, 0, 113, 9].into();
    assert_eq!(real.verdict(&syn(elsewhere, TCP_PORT + 1)), XDP_PASS);
}
