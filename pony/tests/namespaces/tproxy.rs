//! Clients of other addresses than ours, whom a firewall's TPROXY rule sends here.

use std::{io::Write as _, net::TcpListener};

use crate::{
    harness::{
        Entry, Launch,
        peers::{accept, connect, expect_bytes, expect_datagram, ping},
        wait_eq,
    },
    lab::{Lab, TARGET_V4},
    ports::{at, client, tcp, udp},
    servers, tools,
};

#[test]
fn clients_of_addresses_and_ports_that_are_not_ours_are_served_as_if_they_were() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    redirect(&lab, "");
    let on = |entry: Entry| entry.listen("[::]:25577").with("transparent: true");
    let launch = Launch::new(&on(tcp())).and(&on(udp()));
    let pony = lab.start(launch.guard("require"));

    for (host, bound) in [("203.0.113.9", "0.0.0.0:0"), ("[2001:db8:3::9]", "[::]:0")] {
        let datagrams = client(&lab.client, bound);
        for port in (10000..=10004).chain([10002, 25577]) {
            let to = at(&format!("{host}:{port}"));
            ping(
                &mut lab.client.enter(|| connect(to)),
                format!("PING-{port}").as_bytes(),
            );
            datagrams.send_to(host.as_bytes(), to).unwrap();
            assert_eq!(expect_datagram(&datagrams, host.as_bytes()), to);
        }
    }
    lab.proxy.enter(|| {
        assert_eq!(pony.connections("tcp", "accepted"), 14);
        // One for each destination of each client.
        wait_eq(12, || pony.active("udp"));
    });
}

#[test]
fn who_comes_to_a_transparent_listener_itself_is_served_too() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let on = |entry: Entry| entry.listen("0.0.0.0:25577").with("transparent: true");
    let _pony = lab.start(Launch::new(&on(tcp())).and(&on(udp())));
    let to = at("192.0.2.254:25577");
    ping(&mut lab.client.enter(|| connect(to)), b"stream");
    let datagrams = client(&lab.client, "0.0.0.0:0");
    datagrams.send_to(b"datagram", to).unwrap();
    assert_eq!(expect_datagram(&datagrams, b"datagram"), to);
}

#[test]
fn with_the_example_and_its_rules_clients_reach_the_port_that_they_wanted() {
    let Some(lab) = Lab::new() else { return };
    lab.client.ip("route add 203.0.113.0/24 via 192.0.2.254\n");
    for rule in include_str!("../../../configs/tproxy.yaml").lines() {
        if let Some(rule) = rule.strip_prefix("#   ") {
            lab.proxy
                .enter(|| tools::run(&mut tools::command("sh -e"), rule));
        }
    }
    let target = lab
        .target
        .enter(|| TcpListener::bind((TARGET_V4, 10003)).unwrap());
    let _pony = lab.start_example("tproxy.yaml");
    let mut stream = lab.client.enter(|| connect(at("203.0.113.9:10003")));
    stream.write_all(b"as if it were there").unwrap();
    expect_bytes(&accept(&target), b"as if it were there");
}

/// The scenario of go-mmproxy: the target is on loopback, and so is what the rule sends them to.
#[test]
fn the_listener_may_be_on_loopback_alone() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    redirect(&lab, "127.0.0.1");
    lab.proxy
        .enter(|| std::fs::write(ROUTE_LOOPBACK, "1").unwrap());
    let entry = Entry::tcp("127.0.0.1:7").allow("0.0.0.0/0");
    let entry = entry.listen("127.0.0.1:25577").with("transparent: true");
    let _pony = lab.start(Launch::new(&entry));
    for port in 10000..=10004 {
        let to = at(&format!("203.0.113.9:{port}"));
        ping(
            &mut lab.client.enter(|| connect(to)),
            format!("PING-{port}").as_bytes(),
        );
    }
}

/// go-mmproxy does it too: what the load balancer came for is what the header names.
#[test]
fn a_client_whose_header_names_what_it_came_for_reaches_that() {
    let Some(lab) = Lab::new() else { return };
    redirect(&lab, "");
    lab.target.ip("addr add 203.0.113.9/32 dev lo\n");
    lab.proxy
        .ip(&format!("route add 203.0.113.9 via {TARGET_V4}\n"));
    let target = lab
        .target
        .enter(|| TcpListener::bind("203.0.113.9:10000").unwrap());
    let entry = tcp()
        .listen("[::]:25577")
        .with("transparent: true, dynamic_destination: true")
        .with("allowed_destinations: [203.0.113.0/24]")
        .with("proxy_protocol: { accept: required, trusted: [192.0.2.0/24] }");
    let _pony = lab.start(Launch::new(&entry));
    let to = at("203.0.113.9:10000");
    let mut front_end = lab.client.enter(|| connect(to));
    let line = "PROXY TCP4 198.51.100.7 203.0.113.9 1000 10000\r\n";
    write!(front_end, "{line}payload").unwrap();
    expect_bytes(&accept(&target), b"payload");
}

/// The scenario of go-mmproxy, with its flags.
#[test]
fn mmproxy_sends_clients_of_other_addresses_to_its_backend_as_those_of_their_headers() {
    let Some(lab) = Lab::new() else { return };
    redirect(&lab, "127.0.0.1");
    lab.proxy
        .run("ip rule add from 127.0.0.1/8 iif lo table 123");
    lab.proxy
        .enter(|| std::fs::write(ROUTE_LOOPBACK, "1").unwrap());
    let backend = lab
        .proxy
        .enter(|| TcpListener::bind("127.0.0.1:25578").unwrap());
    let launch = Launch::new(&Entry::tcp("127.0.0.1:1"));
    let _pony = lab.start(launch.arguments(&[
        "mmproxy",
        "-l",
        "0.0.0.0:25577",
        "-4",
        "127.0.0.1:25578",
        "-listen-transparent",
    ]));
    for port in 10000..=10004 {
        let to = at(&format!("203.0.113.9:{port}"));
        let client = format!("127.0.0.1:{}", port + 2345);
        let header = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} 25578\r\n", port + 2345);
        let mut stream = lab.client.enter(|| connect(to));
        write!(stream, "{header}PING-{port}").unwrap();
        let mut accepted = accept(&backend);
        assert_eq!(accepted.peer_addr().unwrap().to_string(), client);
        expect_bytes(&accepted, format!("PING-{port}").as_bytes());
        write!(accepted, "PONG-{port}").unwrap();
        expect_bytes(&stream, format!("PONG-{port}").as_bytes());
    }
}

#[test]
fn an_ordinary_user_is_told_at_the_start_what_a_transparent_listener_needs() {
    let Some(lab) = Lab::new() else { return };
    for entry in [tcp(), udp()] {
        let entry = entry.listen("0.0.0.0:25577").with("transparent: true");
        let launch = Launch::new(&entry).by_nobody();
        let refused = lab.proxy.enter(|| launch.finish());
        refused.expect(
            1,
            &[
                "0.0.0.0:25577",
                "transparent: true needs root or CAP_NET_ADMIN",
            ],
        );
    }
}

/// Has the proxy's machine give ports of foreign addresses to the listener, as the manuals say: for
/// IPv4 to this address of its, or to that of the interface.
fn redirect(lab: &Lab, host: &str) {
    lab.client.ip("route add 203.0.113.0/24 via 192.0.2.254\n\
         route add 2001:db8:3::/64 via 2001:db8:1::fe\n");
    lab.proxy.ip("rule add fwmark 1 lookup 123\n\
         route add local 0.0.0.0/0 dev lo table 123\n\
         route add local ::/0 dev lo table 123\n");
    lab.proxy.run("ip -6 rule add fwmark 1 lookup 123");
    let rules = RULES.replace("HOST", host);
    lab.proxy
        .enter(|| tools::run(&mut tools::command("nft -f -"), &rules));
}

const RULES: &str = "
table inet mangle {
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        ip daddr 203.0.113.9 meta l4proto { tcp, udp } th dport { 10000-10004, 25577 } \
            tproxy ip to HOST:25577 meta mark set 1 accept
        ip6 daddr 2001:db8:3::9 meta l4proto { tcp, udp } th dport { 10000-10004, 25577 } \
            tproxy ip6 to :25577 meta mark set 1 accept
    }
}
";

const ROUTE_LOOPBACK: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
