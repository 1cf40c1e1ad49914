//! What targets are told of clients.

use std::fmt::Write as _;

use super::{PROXIES, Peer, at};
use crate::{
    harness::{
        Launch,
        peers::{connect, ping, read_to_end},
    },
    lab::{Lab, TARGET_V4, tcp},
    servers,
};

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// A daemon with a listener for each version: on ports 7000 and 7001, in front of this one.
fn telling(target: u16) -> Launch {
    let [one, two] = [0, 1].map(|at| {
        let version = VERSIONS[usize::from(at)];
        tcp(version, 7000 + at, &format!("{TARGET_V4}:{target}"))
            .with(&format!("proxy_protocol: {{ send: {version} }}"))
    });
    Launch::new(&one).and(&two)
}

#[test]
fn haproxy_behind_logs_the_client() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let haproxy = Peer::haproxy(
        &lab.target,
        8001,
        "listen front\n bind :::8001 v4v6 accept-proxy\n server echo 127.0.0.1:7\n",
    );
    let _pony = lab.start(telling(8001));
    for port in [7000, 7001] {
        for proxy in PROXIES {
            let mut stream = lab.client.enter(|| connect(at(proxy, port)));
            ping(&mut stream, b"hello");
            let client = stream.local_addr().unwrap();
            drop(stream);
            haproxy.expect_client(client);
        }
    }
}

#[test]
fn nginx_behind_logs_the_client() {
    let Some(lab) = Lab::new() else { return };
    let nginx = Peer::nginx(&lab.target, 8001, GREETING);
    let _pony = lab.start(telling(8001));
    for port in [7000, 7001] {
        for proxy in PROXIES {
            let stream = lab.client.enter(|| connect(at(proxy, port)));
            assert_eq!(read_to_end(&stream), b"hello\n");
            nginx.expect_client(stream.local_addr().unwrap());
        }
    }
}

#[test]
fn a_client_is_known_behind_three_proxies() {
    let Some(lab) = Lab::new() else { return };
    let nginx = Peer::nginx(&lab.target, 8001, GREETING);
    let mut in_front = String::new();
    let mut launch = None;
    for (at, (accepted, sent)) in (0..).zip([("v1", "v2"), ("v2", "v1")]) {
        let (front, port) = (8000 + at, 7000 + at);
        let option = match accepted {
            "v1" => "send-proxy",
            _ => "send-proxy-v2",
        };
        writeln!(
            in_front,
            "listen {accepted}\n bind :::{front} v4v6\n server pony 127.0.0.1:{port} {option}"
        )
        .unwrap();
        let block = format!("accept: required, trusted: [127.0.0.1], send: {sent}");
        let entry = tcp(accepted, port, &format!("{TARGET_V4}:8001"))
            .with(&format!("proxy_protocol: {{ {block} }}"));
        launch = Some(match launch {
            None => Launch::new(&entry),
            Some(launch) => Launch::and(launch, &entry),
        });
    }
    let _pony = lab.start(launch.unwrap());
    let _haproxy = Peer::haproxy(&lab.proxy, 8000, &in_front);
    for port in [8000, 8001] {
        for proxy in PROXIES {
            let stream = lab.client.enter(|| connect(at(proxy, port)));
            assert_eq!(read_to_end(&stream), b"hello\n");
            nginx.expect_client(stream.local_addr().unwrap());
        }
    }
}

/// Says hello to everybody, and logs whom it was told.
const GREETING: &str = "
server {
    listen 8001 proxy_protocol;
    listen [::]:8001 proxy_protocol;
    access_log FOLDER/access.log client;
    return \"hello\\n\";
}
";
