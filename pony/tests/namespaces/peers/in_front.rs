//! What load balancers say of their clients.

use std::net::SocketAddr;

use serde_json::Value;

use super::{PROXIES, Peer, at};
use crate::{
    harness::{
        Entry, Launch, Pony,
        peers::{connect, ping, udp},
        wait_eq, wait_for, wait_until,
    },
    lab::{Lab, PROXY_V4, tcp, udp as udp_listener},
    servers,
};

/// A listener behind load balancers on the same machine, in front of an echo.
fn behind(name: &str, port: u16) -> Entry {
    tcp(name, port, "127.0.0.1:7").with(ACCEPT)
}

const ACCEPT: &str = "proxy_protocol: { accept: required, trusted: [127.0.0.1, \"::1\"] }";

/// Talks to the echo from both families through what listens at this port, and checks for whom the
/// daemon says that its listener was used.
#[track_caller]
fn check_clients(lab: &Lab, pony: &Pony, port: u16, listener: &str) {
    for proxy in PROXIES {
        let mut stream = lab.client.enter(|| connect(at(proxy, port)));
        ping(&mut stream, b"hello");
        let client = stream.local_addr().unwrap();
        let opened = wait_for("the client's open event", || {
            let mut events = pony.events("open").into_iter();
            events.find(|event| event["listener_name"] == listener && is_of(event, client))
        });
        assert_eq!(
            opened["destination_ip"],
            at(proxy, port).ip().to_string(),
            "{opened}"
        );
        assert_eq!(opened["destination_port"], port, "{opened}");
        assert!(!opened["front_end_ip"].is_null(), "{opened}");
    }
}

fn is_of(event: &Value, client: SocketAddr) -> bool {
    event["source_ip"] == client.ip().to_string() && event["source_port"] == client.port()
}

fn headers(lab: &Lab, pony: &Pony, listener: &str, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    lab.proxy
        .enter(|| pony.count("packetpony_proxy_headers_total", listener, &label))
}

#[test]
fn haproxy_in_front_says_who_the_client_is_and_its_health_checks_pass() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    let launch = Launch::new(&behind("one", 7001)).and(&behind("two", 7002));
    let pony = lab.start(launch.logging("level: debug"));
    let haproxy = Peer::haproxy(
        &lab.proxy,
        8001,
        "listen one\n bind :::8001 v4v6\n server pony 127.0.0.1:7001 send-proxy check \
         check-send-proxy inter 50ms\n\
         listen two\n bind :::8002 v4v6\n server pony [::1]:7002 send-proxy-v2 check \
         check-send-proxy inter 50ms\n",
    );
    // A check of version 1 names HAProxy's own address, one of version 2 nobody.
    for (listener, port, of_checks) in [("one", 8001, "v1"), ("two", 8002, "own")] {
        // One that fails takes the server out, and nobody is served any more.
        wait_until("health checks", || {
            headers(&lab, &pony, listener, of_checks) > 3
        });
        check_clients(&lab, &pony, port, listener);
        for result in ["missing", "malformed", "checksum", "timeout"] {
            assert_eq!(headers(&lab, &pony, listener, result), 0, "{result}");
        }
    }
    assert!(!haproxy.log().contains("is DOWN"), "{}", haproxy.log());
    check_that_checks_are_no_news(&pony);
}

/// HAProxy resets the connections of its checks. They are counted, and nobody is bothered with them.
#[track_caller]
fn check_that_checks_are_no_news(pony: &Pony) {
    let text = "Front end has looked whether somebody listens";
    for listener in ["one", "two"] {
        let said = pony.message_where(text, |line| line["listener"] == listener);
        assert_eq!(said["level"], "debug", "{said}");
    }
    let lines = pony.json();
    for event in lines.iter().filter(|line| !line["event_type"].is_null()) {
        assert!(
            !event["front_end_ip"].is_null(),
            "of a health check: {event}"
        );
        assert!(event["error"].is_null(), "{event}");
    }
    for line in lines
        .iter()
        .filter(|line| line["message"] != "Configuration")
    {
        let level = line["level"].as_str();
        assert!(level != Some("warning") && level != Some("error"), "{line}");
    }
}

#[test]
fn nginx_in_front_says_who_the_client_is() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    let pony = lab.start(Launch::new(&behind("tcp", 7001)));
    let _nginx = Peer::nginx(
        &lab.proxy,
        8001,
        "server { listen 8001; listen [::]:8001; proxy_pass 127.0.0.1:7001; proxy_protocol on; }",
    );
    check_clients(&lab, &pony, 8001, "tcp");
}

/// nginx 1.22 writes version 1 in front of a session's first datagram, as if it were of TCP. The
/// protocol has no such header.
#[test]
fn the_line_that_nginx_puts_in_front_of_a_datagram_is_no_header() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    let entry = udp_listener("udp", 7001, "127.0.0.1:7").with(ACCEPT);
    let pony = lab.start(Launch::new(&entry));
    let _nginx = Peer::nginx(
        &lab.proxy,
        8001,
        "server { listen 8001 udp; proxy_pass 127.0.0.1:7001; proxy_protocol on; }
         server { listen [::]:8001; return ''; }",
    );
    let client = lab.client.enter(|| udp("0.0.0.0:0"));
    client.connect(at(PROXY_V4, 8001)).unwrap();
    client.send(b"hello").unwrap();
    wait_eq(1, || headers(&lab, &pony, "udp", "missing"));
    let said = pony.message("Packet dropped: no valid PROXY header");
    assert_eq!(said["why"], "there is no PROXY header", "{said}");
}
