//! The guard in front of listeners whose clients come through other proxies.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    harness::{
        Launch,
        peers::{connect_from, ping},
        wait_eq,
    },
    lab::{CLIENT_V4, Lab, PROXY_V4, TARGET_V4, tcp},
    servers,
};

/// The client's namespace has two addresses: one is a front end's, the other a stranger's.
#[test]
fn the_guard_lets_front_ends_in_by_trusted_alone_and_no_rule_about_clients_concerns_them() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let [front_end, stranger] = CLIENT_V4;
    let entry = |name: &str, port, accept: &str| {
        tcp(name, port, &format!("{TARGET_V4}:7"))
            .allow(&format!("203.0.113.0/24, {stranger}"))
            .with(&format!("denylist: [{front_end}]"))
            .limits("max_connection_attempts_per_ip: 3, attempts_window: 1h")
            .with(&format!(
                "proxy_protocol: {{ accept: {accept}, trusted: [{front_end}] }}"
            ))
    };
    let launch = Launch::new(&entry("required", 7000, "required"))
        .and(&entry("optional", 7001, "optional"))
        .control();
    let pony = lab.start(launch.guard("require"));
    assert_eq!(pony.ask(&["ban", &front_end.to_string()]).code, 0);
    lab.client.enter(|| {
        for port in [7000, 7001] {
            // More than one client may attempt; and what a front end is not as a client, it may be.
            for client in 1..=9 {
                let mut stream = connect_from(&front_end.to_string(), at(port));
                let line = format!("PROXY TCP4 203.0.113.{client} 198.51.100.2 1 2\r\n");
                stream.write_all(line.as_bytes()).unwrap();
                ping(&mut stream, b"through two proxies");
            }
        }
        // Where headers are required, a stranger's packets are dropped before there is a connection.
        assert!(!reaches(stranger.into(), at(7000)));
        // Where they are optional, it is a client like others.
        for _ in 0..3 {
            ping(
                &mut connect_from(&stranger.to_string(), at(7001)),
                b"a client",
            );
        }
        assert!(!reaches(stranger.into(), at(7001)));
    });
    let dropped = |name: &str, reason: &str| {
        let label = format!("reason=\"{reason}\",verdict=\"drop\"");
        lab.proxy
            .enter(|| pony.count("packetpony_guard_packets_total", name, &label))
    };
    wait_eq(true, || dropped("required", "acl") > 0);
    wait_eq(true, || dropped("optional", "attempt_limit") > 0);
    assert_eq!(
        dropped("optional", "acl") + dropped("required", "banned"),
        0
    );
}

fn at(port: u16) -> SocketAddr {
    format!("{PROXY_V4}:{port}").parse().unwrap()
}

/// Whether a connection from this address comes about.
pub(crate) fn reaches(from: IpAddr, to: SocketAddr) -> bool {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket
        .connect_timeout(&to.into(), Duration::from_millis(500))
        .is_ok()
}
