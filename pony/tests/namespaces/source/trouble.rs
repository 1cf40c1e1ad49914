//! Ports that are taken, families that do not fit, and what is missing.

use std::net::{SocketAddr, UdpSocket};

use super::{NEAR, at, connect_from, connected_udp, near_tcp, near_udp, seen, tell_who_asks};
use crate::{
    harness::{
        Launch, PATIENCE,
        peers::{connect, expect_closed},
        wait_for,
    },
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp, udp},
};

/// Two listeners in front of the same targets; the second one has these keys too.
fn twins(keys: &str) -> Launch {
    let second = near_tcp().name("second").listen("[::]:7001").with(keys);
    Launch::new(&near_tcp()).and(&second)
}

#[test]
fn where_the_clients_port_is_taken_the_target_sees_another_one_of_its_address() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let _pony = lab.start(twins("preserve_source_port: preferred"));
    for (proxy, client) in [
        (PROXY_V4, "192.0.2.1:4000"),
        (PROXY_V6, "[2001:db8:1::1]:4000"),
    ] {
        let client: SocketAddr = client.parse().unwrap();
        let first = lab.client.enter(|| connect_from(client, at(proxy, 7000)));
        assert_eq!(seen(&first), client);
        let second = lab.client.enter(|| connect_from(client, at(proxy, 7001)));
        let seen = seen(&second);
        assert_eq!(seen.ip(), client.ip());
        assert_ne!(seen.port(), client.port());
    }
}

#[test]
fn two_sessions_of_a_client_towards_one_target_each_get_their_own_answers() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let second = near_udp().name("second").listen("[::]:7001");
    let required = near_udp().name("third").listen("[::]:7002");
    let required = required.with("preserve_source_port: required");
    let pony = lab.start(Launch::new(&near_udp()).and(&second).and(&required));
    let client = lab.client.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let seen_through = |port| {
        client.send_to(b"who?", at(PROXY_V4, port)).unwrap();
        let mut buffer = [0; 100];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, at(PROXY_V4, port));
        let seen = str::from_utf8(&buffer[..len]).unwrap();
        seen.parse::<SocketAddr>().unwrap()
    };
    let ours = client.local_addr().unwrap().port();
    assert_eq!(seen_through(7000).port(), ours);
    assert_ne!(seen_through(7001).port(), ours);
    assert_eq!(seen_through(7000).port(), ours);
    client.send_to(b"who?", at(PROXY_V4, 7002)).unwrap();
    pony.closes_with("the client's port is taken here");
}

#[test]
fn a_client_on_the_same_machine_is_seen_with_another_port() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let _pony = lab.start(Launch::new(&near_tcp()));
    for ip in NEAR {
        let stream = lab.proxy.enter(|| connect(at(ip, 7000)));
        let (seen, client) = (seen(&stream), stream.local_addr().unwrap());
        assert_eq!(seen.ip(), client.ip());
        assert_ne!(seen.port(), client.port());
    }
}

#[test]
fn packets_to_the_target_are_marked() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.target, [TARGET_V4, TARGET_V6]);
    lab.proxy.run("ip rule add fwmark 7 prohibit");
    let target = format!("{TARGET_V4}:7");
    let marked = tcp("marked", 7001, &target).with("mark: 7");
    let datagrams = udp("datagrams", 7001, &target).with("mark: 7");
    let launch = Launch::new(&tcp("plain", 7000, &target)).and(&marked);
    let pony = lab.start(launch.and(&datagrams));
    seen(&lab.client.enter(|| connect(at(PROXY_V4, 7000))));
    let refused = lab.client.enter(|| connect(at(PROXY_V4, 7001)));
    expect_closed(&refused);
    let socket = lab.client.enter(|| connected_udp(at(PROXY_V4, 7001)));
    socket.send(b"who?").unwrap();
    for listener in ["marked", "datagrams"] {
        let closed = wait_for("its close event", || {
            let mut events = pony.events("close").into_iter();
            events.find(|event| event["listener_name"] == listener)
        });
        let error = closed["error"].as_str().unwrap();
        assert!(
            error.contains("198.51.100.1:7: Permission denied"),
            "{error}"
        );
    }
}

#[test]
fn where_the_clients_port_is_taken_and_required_the_connection_is_refused_with_the_reason() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let pony = lab.start(twins("preserve_source_port: required"));
    let client = "192.0.2.1:4000".parse().unwrap();
    let first = lab
        .client
        .enter(|| connect_from(client, at(PROXY_V4, 7000)));
    assert_eq!(seen(&first), client);
    let second = lab
        .client
        .enter(|| connect_from(client, at(PROXY_V4, 7001)));
    expect_closed(&second);
    pony.closes_with("the client's port is taken here, and preserve_source_port is \"required\"");
}

#[test]
fn a_client_of_another_family_than_the_targets_is_refused_with_both_named() {
    let Some(lab) = Lab::new() else { return };
    let entry = tcp("tcp", 7000, "127.0.0.1:7").with("preserve_source: true");
    let pony = lab.start(Launch::new(&entry));
    pony.message_where("Configuration", |warning| {
        warning["key"] == "listeners[0].target_address"
    });
    let stream = lab.client.enter(|| connect(at(PROXY_V6, 7000)));
    expect_closed(&stream);
    pony.closes_with("client 2001:db8:1::1 is IPv6 and target 127.0.0.1:7 is IPv4");
}

#[test]
fn a_target_whose_answers_go_astray_is_given_up_soon_and_the_doctor_is_named() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let entry = near_tcp()
        .with("routing: manual")
        .tcp_keys("connect_timeout: 200ms");
    let pony = lab.start(Launch::new(&entry));
    let stream = lab.client.enter(|| connect(at(PROXY_V4, 7000)));
    expect_closed(&stream);
    pony.closes_with("within 200ms (if there is never an answer, see `pony doctor`)");
}

#[test]
fn whoever_may_not_use_clients_addresses_is_told_at_the_start() {
    let Some(lab) = Lab::new() else { return };
    for (keys, key) in [
        ("preserve_source: true", "preserve_source"),
        ("mark: 7", "mark"),
    ] {
        let entry = tcp("web", 7000, "127.0.0.1:7").with(keys);
        let launch = Launch::new(&entry).by_nobody();
        let refused = lab.proxy.enter(|| launch.finish());
        refused.expect(1, &["listener web", key, "as root or with CAP_NET_ADMIN"]);
    }
}

#[test]
fn whoever_may_not_make_rules_is_told_at_the_start_and_leaves_none() {
    let Some(lab) = Lab::new() else { return };
    let without_right = [
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "--inh-caps",
        "-net_admin",
    ];
    let launch = |entry| Launch::new(&entry).through(&without_right);
    let refused = launch(near_tcp());
    let refused = lab.proxy.enter(|| refused.finish());
    refused.expect(
        1,
        &[
            "preserve_source: cannot route the answers of 127.0.0.1 back",
            "write `routing: manual`",
        ],
    );
    assert_eq!(lab.proxy.run("ip route show table all proto 80"), "");
    // CAP_NET_RAW is enough for the rest.
    lab.start(launch(near_tcp().with("routing: manual")));
}
