//! Metrics and health, as a scraper and a load balancer see them.

use std::net::TcpListener;

use crate::harness::{
    Entry, Launch, Pony,
    peers::{connect, echo_target, ping, udp_echo_target},
    wait_eq, wait_until,
};

#[test]
fn bytes_are_counted_while_the_connection_is_open() {
    let pony = Pony::start(&Entry::tcp(echo_target()));
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, &[7; 1000]);
    wait_eq((1000, 1000, 1), || {
        (
            pony.bytes("tcp", "sent"),
            pony.bytes("tcp", "received"),
            pony.active("tcp"),
        )
    });
    ping(&mut client, &[7; 234]);
    wait_eq(1234, || pony.bytes("tcp", "received"));
    drop(client);
    let duration = "packetpony_connection_duration_seconds_count";
    wait_eq(1, || pony.count(duration, "tcp", "protocol=\"tcp\""));
}

#[test]
fn every_series_is_there_with_zero_from_the_start() {
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .and(&Entry::udp(udp_echo_target()))
        .start();
    let reasons = [
        "attempt_limit",
        "total_limit",
        "connection_limit",
        "bandwidth_limit",
    ];
    let errors = [
        "accept",
        "target_connect",
        "session_create",
        "target_write",
        "target_read",
    ];
    for listener in ["tcp", "udp"] {
        for status in ["accepted", "acl_denied", "rate_limited"] {
            assert_eq!(pony.connections(listener, status), 0);
        }
        for direction in ["sent", "received"] {
            assert_eq!(pony.bytes(listener, direction), 0);
        }
        for reason in reasons {
            assert_eq!(pony.drops(listener, reason), 0);
            assert_eq!(pony.violations(listener, reason), 0);
        }
        for kind in errors {
            assert_eq!(pony.errors(listener, kind), 0);
        }
        assert_eq!(pony.active(listener), 0);
        for name in [
            "packetpony_acl_drops_total",
            "packetpony_limited_clients",
            "packetpony_connection_duration_seconds_count",
        ] {
            assert_eq!(pony.count(name, listener, ""), 0, "{name}");
        }
        let last_bucket = "packetpony_connection_duration_seconds_bucket";
        assert_eq!(pony.count(last_bucket, listener, "le=\"16.384\""), 0);
    }
    assert_eq!(
        pony.packets("udp", "sent") + pony.packets("udp", "received"),
        0
    );
    assert_eq!(pony.count("packetpony_sessions_active", "udp", ""), 0);
    assert!(pony.metric("packetpony_build_info", &[]) > 0.0);
    assert!(pony.metric("process_open_fds", &[]) > 3.0);
    let dropped = pony.metric("packetpony_log_events_dropped_total", &[]);
    assert!(dropped.abs() < 0.5, "{dropped}");
}

#[test]
fn what_can_happen_in_the_lanes_is_there_with_zero_from_the_start() {
    let pony = Pony::start(&Entry::tcp(echo_target()));
    for reason in [
        "unknown_socket",
        "no_peer",
        "no_call",
        "out_of_place",
        "overlap",
    ] {
        let label = [format!("reason=\"{reason}\"")];
        let slips = pony.metric("packetpony_lane_slips_total", &label);
        assert_eq!(slips.to_string(), "0", "{reason}");
    }
}

#[test]
fn health_is_alive_and_ready_until_the_stop_and_not_ready_while_stopping() {
    let pony = Pony::start(&Entry::tcp(echo_target()));
    let healthy = (
        200,
        "{\"status\":\"healthy\",\"service\":\"packetpony\"}".to_owned(),
    );
    for path in ["/health", "/healthz"] {
        assert_eq!(pony.http(path), healthy);
    }
    assert_eq!(pony.http("/ready").0, 200);
    assert_eq!(pony.http("/nothing").0, 404);

    let mut client = connect(pony.address("tcp"));
    ping(&mut client, b"hello");
    pony.signal("TERM");
    wait_until("not to be ready", || pony.http("/ready").0 == 503);
    assert!(pony.http("/ready").1.contains("stopping"));
    assert_eq!(pony.http("/health").0, 200, "it is alive");
    assert_eq!(pony.bytes("tcp", "sent"), 5, "it is still measured");
    ping(&mut client, b"still here");
}

#[test]
fn a_taken_metrics_port_is_a_failed_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let finished = Launch::new(&Entry::tcp(echo_target()))
        .metrics(address)
        .finish();
    finished.expect(
        1,
        &[
            "metrics.prometheus",
            &address.to_string(),
            "in use",
            "ss -lntup",
        ],
    );
}
