//! Attempts, total and per-client limits, for connections and for sessions.

use std::net::TcpStream;

use crate::harness::{
    Entry, Pony,
    peers::{
        connect, connect_from, echo_target, expect_closed, expect_datagram, has_connection, ping,
        ping_udp, tcp_listener, udp, udp_client, udp_echo_target,
    },
    wait_eq, wait_until,
};

/// A connection that is served.
#[track_caller]
fn served(pony: &Pony) -> TcpStream {
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, b"served");
    client
}

/// Tries until a connection is served: a place is free a moment after the one who had it left.
#[track_caller]
fn served_at_last(pony: &Pony) {
    wait_until("a free place", || {
        let mut client = connect(pony.address("tcp"));
        std::io::Write::write_all(&mut client, b"?").is_ok()
            && std::io::Read::read_exact(&mut client, &mut [0]).is_ok()
    });
}

#[track_caller]
fn refused(pony: &Pony) {
    expect_closed(&connect(pony.address("tcp")));
}

#[test]
fn attempts_over_the_limit_are_refused_and_refused_ones_count_too() {
    for action in ["drop", "throttle, throttle_minimum: 1KB"] {
        let limits = "max_connection_attempts_per_ip: 3, attempts_window: 1h, action: ";
        let pony = Pony::start(&Entry::tcp(echo_target()).limits(&format!("{limits}{action}")));
        for _ in 0..3 {
            drop(served(&pony));
        }
        refused(&pony);
        refused(&pony);
        assert_eq!(pony.drops("tcp", "attempt_limit"), 2);
        assert_eq!(pony.connections("tcp", "rate_limited"), 2);
        assert_eq!(pony.connections("tcp", "accepted"), 3);
        let message = pony.message("Connection denied by rate limit");
        assert_eq!(message["reason"], "attempt_limit");
        // Somebody else is not concerned.
        ping(
            &mut connect_from("127.0.0.2", pony.address("tcp")),
            b"hello",
        );
        wait_eq(1, || pony.count("packetpony_limited_clients", "tcp", ""));
    }
}

#[test]
fn attempts_that_the_access_list_refuses_do_not_count() {
    let limits = "max_connection_attempts_per_ip: 1, attempts_window: 1h";
    let pony = Pony::start(
        &Entry::tcp(echo_target())
            .with("denylist: [127.0.0.2]")
            .limits(limits),
    );
    for _ in 0..3 {
        expect_closed(&connect_from("127.0.0.2", pony.address("tcp")));
    }
    wait_eq(3, || pony.connections("tcp", "acl_denied"));
    assert_eq!(pony.drops("tcp", "attempt_limit"), 0);
}

#[test]
fn the_total_limit_refuses_without_a_target_connection_and_frees_places_at_close() {
    let (listener, target) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(target).limits("max_total_connections: 2"));
    let address = pony.address("tcp");
    let one = connect_from("127.0.0.1", address);
    let two = connect_from("127.0.0.2", address);
    wait_until("both", || has_connection(&listener));
    wait_until("both", || has_connection(&listener));
    expect_closed(&connect_from("127.0.0.3", address));
    assert!(!has_connection(&listener));
    assert_eq!(pony.drops("tcp", "total_limit"), 1);
    assert_eq!(pony.active("tcp"), 2);
    drop((one, two));
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_client_has_its_number_of_places_and_gets_each_back() {
    let pony = Pony::start(&Entry::tcp(echo_target()).limits("max_connections_per_ip: 2"));
    let first = served(&pony);
    let _second = served(&pony);
    refused(&pony);
    assert_eq!(pony.drops("tcp", "connection_limit"), 1);
    ping(
        &mut connect_from("127.0.0.2", pony.address("tcp")),
        b"hello",
    );
    drop(first);
    served_at_last(&pony);
}

#[test]
fn a_connection_counts_as_long_as_it_is_open_whatever_connections_window_says() {
    let limits = "max_connections_per_ip: 1, connections_window: 1ms";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let _open = served(&pony);
    refused(&pony);
}

#[test]
fn throttling_does_not_open_more_places() {
    let limits = "max_connections_per_ip: 1, action: throttle, throttle_minimum: 1KB";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let _open = served(&pony);
    refused(&pony);
    assert_eq!(pony.drops("tcp", "connection_limit"), 1);
}

#[test]
fn log_only_refuses_nobody_and_counts_every_violation() {
    let rows = [
        (
            "max_connection_attempts_per_ip: 1, attempts_window: 1h",
            "attempt_limit",
        ),
        ("max_total_connections: 1", "total_limit"),
        ("max_connections_per_ip: 1", "connection_limit"),
    ];
    for (limit, reason) in rows {
        let entry = Entry::tcp(echo_target()).limits(&format!("{limit}, action: log_only"));
        let pony = Pony::start(&entry);
        let _open: Vec<_> = (0..3).map(|_| served(&pony)).collect();
        assert_eq!(pony.violations("tcp", reason), 2, "{reason}");
        assert_eq!(pony.drops("tcp", reason), 0, "{reason}");
        assert_eq!(pony.connections("tcp", "accepted"), 3, "{reason}");
        assert_eq!(
            pony.message("Limit exceeded (log_only mode)")["reason"],
            reason
        );
    }
}

#[test]
fn an_exempt_client_is_counted_and_never_limited() {
    let limits = "max_connections_per_ip: 1, max_connection_attempts_per_ip: 1, \
                  attempts_window: 1h, max_bandwidth_per_ip: 10B, bandwidth_window: 1h";
    let entry = Entry::tcp(echo_target())
        .with("exempt: [127.0.0.1]")
        .limits(limits);
    let pony = Pony::start(&entry);
    let mut open: Vec<_> = (0..3).map(|_| served(&pony)).collect();
    ping(&mut open[0], &[7; 10_000]);
    assert_eq!(pony.connections("tcp", "rate_limited"), 0);
    assert_eq!(pony.violations("tcp", "connection_limit"), 0);
}

#[test]
fn sessions_obey_the_total_limit_and_give_their_places_back() {
    let entry = Entry::udp(udp_echo_target())
        .with("udp: { session_timeout: 300ms }")
        .limits("max_total_connections: 1");
    let pony = Pony::start(&entry);
    let (one, two) = (
        udp_client(pony.address("udp")),
        udp_client(pony.address("udp")),
    );
    ping_udp(&one, b"mine");
    two.send(b"refused").unwrap();
    wait_eq(1, || pony.drops("udp", "total_limit"));
    pony.close_event();
    two.set_read_timeout(Some(std::time::Duration::from_millis(50)))
        .unwrap();
    wait_until("a free place", || {
        two.send(b"now").unwrap();
        two.recv(&mut [0; 16]).is_ok()
    });
}

#[test]
fn sessions_obey_the_limits_of_a_client() {
    let rows = [
        ("max_connections_per_ip: 1", "connection_limit"),
        (
            "max_connection_attempts_per_ip: 1, attempts_window: 1h",
            "attempt_limit",
        ),
    ];
    for (limit, reason) in rows {
        let pony = Pony::start(&Entry::udp(udp_echo_target()).limits(limit));
        let address = pony.address("udp");
        let one = udp_client(address);
        ping_udp(&one, b"mine");
        udp_client(address).send(b"refused").unwrap();
        wait_eq(1, || pony.drops("udp", reason));
        assert_eq!(pony.connections("udp", "rate_limited"), 1, "{reason}");
        ping_udp(&one, b"the session that is open goes on");
        let other = udp("127.0.0.2:0");
        other.send_to(b"another client", address).unwrap();
        expect_datagram(&other, b"another client");
    }
}
