//! The guard in front of listeners on ranges of ports and on prefixes.

use std::net::{IpAddr, UdpSocket};

use crate::{
    front_ends::reaches,
    harness::{
        Entry, Launch, PATIENCE,
        peers::{connect, connect_from, expect_datagram, ping, ping_udp},
        wait_eq, wait_until,
    },
    lab::{CLIENT_V4, CLIENT_V6, Lab, PROXY_V4, TARGET_V4, TARGET_V6},
    ports::{at, client, tcp, udp},
    servers,
};

/// Every packet to the proxy is for a port of the range: also the target's answers to what the
/// daemon and others there ask it. The target is not on the list.
#[test]
fn the_guard_judges_who_comes_to_a_range_and_nothing_that_the_machine_asked_for() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let [allowed, stranger] = CLIENT_V4;
    let on = |entry: Entry| {
        let entry = entry.listen("[::]:1-65535");
        entry.allow(&format!("{allowed}, \"{}\"", CLIENT_V6[0]))
    };
    let launch = Launch::new(&on(tcp())).and(&on(udp()));
    let pony = lab.start(launch.metrics("0.0.0.0:9100").guard("require"));
    let dropped = |name: &str| {
        let label = "reason=\"acl\",verdict=\"drop\"";
        pony.count("packetpony_guard_packets_total", name, label)
    };

    let to = at(&format!("{PROXY_V4}:10003"));
    lab.client.enter(|| {
        ping(&mut connect_from(&allowed.to_string(), to), b"a stream");
        let datagrams = UdpSocket::bind((IpAddr::from(allowed), 0)).unwrap();
        datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
        datagrams.send_to(b"a datagram", to).unwrap();
        expect_datagram(&datagrams, b"a datagram");
        assert!(!reaches(stranger.into(), to));
        let metrics = at(&format!("{PROXY_V4}:9100"));
        // Not for a listener.
        drop(connect_from(&stranger.to_string(), metrics));
        let datagrams = UdpSocket::bind((IpAddr::from(stranger), 0)).unwrap();
        datagrams.send_to(b"refused", to).unwrap();
    });
    lab.proxy.enter(|| {
        wait_eq(1, || dropped("udp"));
        assert!(dropped("tcp") > 0);
        for (target, bound) in [(TARGET_V4, "0.0.0.0:0"), (TARGET_V6, "[::]:0")] {
            let target = at(&format!("{target}:7"));
            ping(&mut connect(target), &vec![3; 100_000]);
            let datagrams = UdpSocket::bind(bound).unwrap();
            datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
            datagrams.connect(target).unwrap();
            ping_udp(&datagrams, b"asked by the machine itself");
        }
        assert_eq!(dropped("udp"), 1);
        let others = "packetpony_guard_other_packets_total";
        let in_connection = ["reason=\"in_connection\"".to_owned()];
        wait_until("the answers to be let through", || {
            pony.metric(others, &in_connection) > 10.0
        });
    });
}

#[test]
fn limits_and_bans_hold_in_the_kernel_on_each_port_of_a_prefix() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    lab.client.ip("route add 203.0.113.0/24 via 192.0.2.254\n");
    lab.proxy.ip("route add local 203.0.113.0/24 dev lo\n");
    let [client_ip, banned] = CLIENT_V4;
    let entry = tcp().listen("203.0.113.0/24:1000-2000");
    let entry = entry.limits("max_connection_attempts_per_ip: 3, attempts_window: 1h");
    let beside = tcp().name("beside").listen("203.0.113.9:1500");
    let launch = Launch::new(&entry).and(&beside).control();
    let pony = lab.start(launch.guard("require"));
    assert_eq!(pony.ask(&["ban", &banned.to_string()]).code, 0);

    let ports = [
        "203.0.113.1:1000",
        "203.0.113.77:1500",
        "203.0.113.255:2000",
    ];
    lab.client.enter(|| {
        for to in ports {
            ping(&mut connect_from(&client_ip.to_string(), at(to)), b"within");
        }
        for to in ports {
            assert!(!reaches(client_ip.into(), at(to)), "{to}");
            assert!(!reaches(banned.into(), at(to)), "{to}");
        }
        let beside = at("203.0.113.9:1500");
        ping(&mut connect_from(&client_ip.to_string(), beside), b"beside");
    });
    lab.proxy.enter(|| {
        for reason in ["attempt_limit", "banned"] {
            let label = format!("reason=\"{reason}\",verdict=\"drop\"");
            let dropped = || pony.count("packetpony_guard_packets_total", "tcp", &label);
            wait_until(reason, || dropped() >= 3);
        }
        wait_eq(1, || pony.connections("beside", "accepted"));
    });
}

/// The proxy is the way from the client to the target for others too.
#[test]
fn what_a_router_only_forwards_is_not_refused_by_a_listener_on_all_addresses() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    for family in ["ipv4.ip_forward", "ipv6.conf.all.forwarding"] {
        lab.proxy.run(&format!("sysctl -qw net.{family}=1"));
    }
    lab.client.ip("route add 198.51.100.0/24 via 192.0.2.254\n\
         route add 2001:db8:2::/64 via 2001:db8:1::fe\n");
    lab.route_answers_through_the_proxy();
    let one = |entry: Entry| entry.listen("[::]:7").allow("203.0.113.0/24");
    let range = |entry: Entry| {
        entry
            .name("range")
            .listen("[::]:1-6")
            .allow("203.0.113.0/24")
    };
    let launch = Launch::new(&one(tcp())).and(&one(udp())).and(&range(tcp()));
    let pony = lab.start(launch.guard("require"));
    let dropped = |name: &str| {
        let label = "reason=\"acl\",verdict=\"drop\"";
        pony.count("packetpony_guard_packets_total", name, label)
    };
    for (target, bound) in [(TARGET_V4, "0.0.0.0:0"), (TARGET_V6, "[::]:0")] {
        let target = at(&format!("{target}:7"));
        ping(&mut lab.client.enter(|| connect(target)), &vec![3; 100_000]);
        let datagrams = client(&lab.client, bound);
        datagrams.connect(target).unwrap();
        ping_udp(&datagrams, b"for another machine");
    }
    lab.proxy
        .enter(|| assert_eq!(dropped("tcp") + dropped("udp"), 0));

    // An address that comes later is the machine's own, too.
    lab.proxy.ip("addr add 192.0.2.253/32 dev to-client\n");
    let [from, _] = CLIENT_V4;
    wait_until("the guard to know the new address", || {
        for port in [5, 7] {
            let to = at(&format!("192.0.2.253:{port}"));
            lab.client.enter(|| reaches(from.into(), to));
        }
        lab.proxy
            .enter(|| dropped("tcp") > 0 && dropped("range") > 0)
    });
}

#[test]
fn a_flow_on_a_range_goes_on_when_its_client_is_over_its_limit_there() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let entry = tcp().listen("0.0.0.0:10000-10004");
    let entry = entry.limits("max_connection_attempts_per_ip: 1, attempts_window: 1h");
    let pony = lab.start(Launch::new(&entry).guard("require"));
    let from = CLIENT_V4[0].to_string();
    let mut stream = lab
        .client
        .enter(|| connect_from(&from, at(&format!("{PROXY_V4}:10000"))));
    ping(&mut stream, b"before");
    let other = at(&format!("{PROXY_V4}:10001"));
    assert!(!lab.client.enter(|| reaches(CLIENT_V4[0].into(), other)));
    ping(&mut stream, &vec![1; 1_000_000]);
    let label = "reason=\"attempt_limit\",verdict=\"drop\"";
    let dropped = || pony.count("packetpony_guard_packets_total", "tcp", label);
    lab.proxy
        .enter(|| wait_until("the guard to refuse", || dropped() > 0));
}

#[test]
fn what_a_client_sends_and_gets_by_datagrams_on_a_range_is_counted_in_the_kernel() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(Launch::new(&udp().listen("0.0.0.0:10000-10004")).guard("require"));
    let datagrams = client(&lab.client, "0.0.0.0:0");
    for port in 10000..=10004 {
        datagrams
            .send_to(&[5; 100], at(&format!("{PROXY_V4}:{port}")))
            .unwrap();
        expect_datagram(&datagrams, &[5; 100]);
    }
    lab.proxy.enter(|| {
        for verdict in ["pass", "sent"] {
            let label = format!("verdict=\"{verdict}\"");
            let bytes = || pony.count("packetpony_guard_bytes_total", "udp", &label);
            wait_eq(500, bytes);
        }
    });
}
