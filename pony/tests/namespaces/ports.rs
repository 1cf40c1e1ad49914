//! Listeners on ranges of ports and on whole prefixes.

use std::{
    io::{ErrorKind, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use crate::{
    harness::{
        Entry, Launch, PATIENCE, Pony,
        peers::{accept, connect, expect_bytes, expect_datagram, ping, ping_udp},
        wait_eq, wait_until,
    },
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4},
    namespace::Namespace,
    servers,
};

#[test]
fn every_port_of_a_range_is_served_but_for_what_others_of_ours_have() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let range = Launch::new(&tcp().name("range").listen("[::]:10000-10004"));
    let one = tcp().name("one").listen("0.0.0.0:10001");
    let first = tcp().name("first").listen(format_args!("{PROXY_V6}:10000"));
    let launch = range.and(&one).and(&first).metrics("0.0.0.0:10002");
    let pony = lab.start(launch.guard("require"));

    let served = |to: String| ping(&mut lab.client.enter(|| connect(at(&to))), to.as_bytes());
    for port in [10000, 10003, 10004] {
        served(format!("{PROXY_V4}:{port}"));
    }
    for port in 10001..=10004 {
        served(format!("{PROXY_V6}:{port}"));
    }
    served(format!("{PROXY_V4}:10001"));
    served(format!("{PROXY_V6}:10000"));
    for to in ["9999", "10005"].map(|port| format!("{PROXY_V4}:{port}")) {
        is_refused(&lab, &to);
    }
    lab.proxy.enter(|| {
        // Asking for the metrics at all shows that they kept their port.
        for (listener, accepted) in [("range", 7), ("one", 1), ("first", 1)] {
            wait_eq(accepted, || pony.connections(listener, "accepted"));
        }
    });
}

#[test]
fn a_listener_on_all_ports_leaves_the_machine_the_connections_that_it_makes_itself() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let on = |entry: Entry| entry.listen("0.0.0.0:1-65535");
    let pony = lab.start(Launch::new(&on(tcp())).and(&on(udp())));
    let datagrams = client(&lab.client, "0.0.0.0:0");
    for port in [1, 7, 53, 40_000, 65_535] {
        let to = at(&format!("{PROXY_V4}:{port}"));
        datagrams.send_to(b"datagram", to).unwrap();
        assert_eq!(expect_datagram(&datagrams, b"datagram"), to);
    }
    let mut streams: Vec<_> = (0..60)
        .map(|number| {
            lab.client
                .enter(|| connect(at(&format!("{PROXY_V4}:{}", 1 + number * 1000))))
        })
        .collect();
    for stream in &mut streams {
        ping(stream, b"by a port of the proxy's own");
    }
    lab.proxy.enter(|| wait_eq(60, || pony.active("tcp")));
}

#[test]
fn the_flows_of_a_range_are_moved_in_every_lane() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    for lane in ["copy", "splice", "sockmap"] {
        let pony = lab.start(Launch::new(&tcp().listen("0.0.0.0:10000-10004").lane(lane)));
        let mut stream = lab
            .client
            .enter(|| connect(at(&format!("{PROXY_V4}:10003"))));
        let labels = [format!("lane=\"{lane}\"")];
        lab.proxy.enter(|| {
            wait_until("the flow to be in its lane", || {
                ping(&mut stream, b"a turn of a conversation");
                pony.metric("packetpony_flows_active", &labels) > 0.0
            });
        });
        ping(&mut stream, &vec![9; 100_000]);
    }
}

#[test]
fn one_client_has_a_session_for_each_port_and_each_answer_comes_from_where_it_was_sent_to() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let range = Launch::new(&udp().name("range").listen("[::]:10000-10004"));
    let one = udp().name("one").listen(format_args!("{PROXY_V4}:10001"));
    let pony = lab.start(range.and(&one));

    for (host, bound) in [(PROXY_V4, "0.0.0.0:0"), (PROXY_V6, "[::]:0")] {
        let client = client(&lab.client, bound);
        // Twice round: sessions that are open are found again.
        for port in (10000..=10004).chain(10000..=10004) {
            let to = at(&format!("{host}:{port}"));
            client.send_to(host.as_bytes(), to).unwrap();
            assert_eq!(expect_datagram(&client, host.as_bytes()), to);
        }
    }
    lab.proxy.enter(|| {
        wait_eq(9, || pony.active("range"));
        assert_eq!(pony.active("one"), 1);
    });
    let many = client(&lab.client, "0.0.0.0:0");
    many.connect(at(&format!("{PROXY_V4}:10003"))).unwrap();
    for len in [0, 1, 1472, 4000] {
        ping_udp(&many, &vec![7; len]);
    }
}

#[test]
fn with_the_example_clients_reach_the_target_at_each_port() {
    let Some(lab) = Lab::new() else { return };
    let at_target = at(&format!("{TARGET_V4}:27003"));
    let streams = lab.target.enter(|| TcpListener::bind(at_target).unwrap());
    let datagrams = lab.target.enter(|| UdpSocket::bind(at_target).unwrap());
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let _pony = lab.start_example("many-ports.yaml");

    for (host, bound) in [(PROXY_V4, "0.0.0.0:0"), (PROXY_V6, "[::]:0")] {
        let to = at(&format!("{host}:27003"));
        let mut stream = lab.client.enter(|| connect(to));
        stream.write_all(b"a stream").unwrap();
        expect_bytes(&accept(&streams), b"a stream");
        let client = client(&lab.client, bound);
        client.send_to(b"a datagram", to).unwrap();
        let session = expect_datagram(&datagrams, b"a datagram");
        datagrams.send_to(b"an answer", session).unwrap();
        assert_eq!(expect_datagram(&client, b"an answer"), to);
    }
}

#[test]
fn a_prefix_that_is_routed_to_this_machine_is_served_as_it_is() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    route_prefixes_to_the_proxy(&lab);
    let nets = ["203.0.113.0/24:1000-2000", "[2001:db8:3::/64]:1000-2000"];
    let entries = ["v4", "v6"].iter().zip(nets).map(|(name, net)| {
        let tcp = tcp().name(&format!("tcp-{name}")).listen(net);
        (tcp, udp().name(&format!("udp-{name}")).listen(net))
    });
    let mut entries = entries.flat_map(|(tcp, udp)| [tcp, udp]);
    let launch = Launch::new(&entries.next().unwrap());
    let _pony = lab.start(entries.fold(launch, |launch, entry| launch.and(&entry)));

    for (host, bound) in [
        ("203.0.113.77", "0.0.0.0:0"),
        ("[2001:db8:3::77]", "[::]:0"),
    ] {
        let datagrams = client(&lab.client, bound);
        for port in [1000, 1234, 2000] {
            let to = at(&format!("{host}:{port}"));
            ping(&mut lab.client.enter(|| connect(to)), b"stream");
            datagrams.send_to(b"datagram", to).unwrap();
            assert_eq!(expect_datagram(&datagrams, b"datagram"), to);
        }
        is_refused(&lab, &format!("{host}:2001"));
    }
}

#[test]
fn clients_on_the_same_link_may_use_the_addresses_of_the_link() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    lab.client.ip("addr add fe80::c/64 dev to-proxy nodad");
    lab.proxy.ip("addr add fe80::fe/64 dev to-client nodad");
    let on = |entry: Entry| entry.listen("[::]:10000-10004");
    let _pony = lab.start(Launch::new(&on(tcp())).and(&on(udp())));
    let link = lab.client.run("ip -oneline link show to-proxy");
    let (link, _) = link.split_once(':').unwrap();
    for port in [10000, 10003] {
        let to = at(&format!("[fe80::fe%{link}]:{port}"));
        ping(&mut lab.client.enter(|| connect(to)), b"stream");
        let datagrams = client(&lab.client, "[::]:0");
        datagrams.send_to(b"datagram", to).unwrap();
        assert_eq!(expect_datagram(&datagrams, b"datagram"), to);
    }
}

#[test]
fn an_ordinary_user_is_told_at_the_start_what_a_range_needs() {
    let Some(lab) = Lab::new() else { return };
    for command in ["run", "check"] {
        let launch = Launch::new(&tcp().listen("0.0.0.0:10000-10004")).by_nobody();
        let launch = launch.arguments(&[command, "-c", "FILE"]);
        let refused = lab.proxy.enter(|| launch.finish());
        let what = "listener tcp: listen_address is more than one address and port";
        refused.expect(
            1,
            &[
                what,
                "not permitted to use BPF",
                "CAP_BPF and CAP_NET_ADMIN",
            ],
        );
    }
}

#[test]
fn who_listens_within_a_range_already_is_named_at_the_start() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    let within = tcp().name("within").listen("0.0.0.0:1-9");
    let beside = udp().name("beside").listen("0.0.0.0:8-9");
    let pony = lab.start(Launch::new(&beside).and(&within));
    let warning = pony.message(
        "Others listen on addresses and ports of the listener, which now gets their new clients",
    );
    assert_eq!(warning["listener"], "within", "{warning}");
    assert_eq!(warning["taken"], "[::]:7", "{warning}");
}

#[test]
fn the_ports_are_free_again_when_the_daemon_was_killed() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(Launch::new(&tcp().listen("0.0.0.0:10000-10004")));
    let to = format!("{PROXY_V4}:10003");
    ping(&mut lab.client.enter(|| connect(at(&to))), b"served");
    drop::<Pony>(pony);
    is_refused(&lab, &to);
    let programs = lab.proxy.run("bpftool net");
    assert!(!programs.contains("sk_ports"), "{programs}");
}

#[test]
fn while_the_daemon_stops_new_clients_are_refused_and_the_others_go_on() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let on = |entry: Entry| entry.listen("0.0.0.0:10000-10004");
    let launch = Launch::new(&on(tcp())).and(&on(udp()));
    let mut pony = lab.start(launch.server("shutdown_timeout: 1h"));
    let to = format!("{PROXY_V4}:10003");
    let mut stream = lab.client.enter(|| connect(at(&to)));
    ping(&mut stream, b"before");
    let datagrams = client(&lab.client, "0.0.0.0:0");
    datagrams.connect(at(&to)).unwrap();
    ping_udp(&datagrams, b"before");

    pony.signal("TERM");
    wait_until("new clients to be refused", || {
        lab.client.enter(|| TcpStream::connect(&to)).is_err()
    });
    ping(&mut stream, b"after");
    ping_udp(&datagrams, b"after");
    drop(stream);
    assert_eq!(pony.wait().code(), Some(0));
}

/// Open to everybody, in front of the echo.
pub(crate) fn tcp() -> Entry {
    Entry::tcp(format_args!("{TARGET_V4}:7")).allow("0.0.0.0/0, \"::/0\"")
}

/// Open to everybody, in front of the echo.
pub(crate) fn udp() -> Entry {
    Entry::udp(format_args!("{TARGET_V4}:7")).allow("0.0.0.0/0, \"::/0\"")
}

/// A socket for datagrams in this namespace.
pub(crate) fn client(namespace: &Namespace, bound: &str) -> UdpSocket {
    let socket = namespace.enter(|| UdpSocket::bind(bound).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// Two prefixes that nobody has as an address.
fn route_prefixes_to_the_proxy(lab: &Lab) {
    lab.client.ip("route add 203.0.113.0/24 via 192.0.2.254\n\
         route add 2001:db8:3::/64 via 2001:db8:1::fe\n");
    lab.proxy.ip("route add local 203.0.113.0/24 dev lo\n\
         route add local 2001:db8:3::/64 dev lo\n");
}

#[track_caller]
fn is_refused(lab: &Lab, to: &str) {
    let refused = lab.client.enter(|| TcpStream::connect(to)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{to}");
}
