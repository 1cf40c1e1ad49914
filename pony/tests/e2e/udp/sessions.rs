//! A session's life: one source port, kept alive by both directions, ended by silence.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    Entry, Pony,
    peers::{expect_datagram, ping_udp, udp_client, udp_echo_target, udp_listener},
    wait_eq,
};

#[test]
fn a_session_keeps_its_source_port_and_each_client_port_has_its_own() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address));
    let (one, two) = (
        udp_client(pony.address("udp")),
        udp_client(pony.address("udp")),
    );
    one.send(b"one").unwrap();
    let first = expect_datagram(&target, b"one");
    two.send(b"two").unwrap();
    let second = expect_datagram(&target, b"two");
    assert_ne!(first, second);
    one.send(b"again").unwrap();
    assert_eq!(expect_datagram(&target, b"again"), first);

    target.send_to(b"for two", second).unwrap();
    target.send_to(b"for one", first).unwrap();
    expect_datagram(&one, b"for one");
    expect_datagram(&two, b"for two");
}

#[test]
fn a_session_expires_after_silence_and_the_next_datagram_opens_another() {
    let pony = Pony::start(&Entry::udp(udp_echo_target()).with("udp: { session_timeout: 200ms }"));
    let client = udp_client(pony.address("udp"));
    ping_udp(&client, b"hello");
    let close = pony.closes_with("");
    assert_eq!(
        (&close["bytes_sent"], &close["bytes_received"]),
        (&5.into(), &5.into())
    );
    assert_eq!(
        (&close["packets_sent"], &close["packets_received"]),
        (&1.into(), &1.into())
    );
    wait_eq(0, || pony.active("udp"));
    ping_udp(&client, b"back");
    assert_eq!(pony.connections("udp", "accepted"), 2);
}

#[test]
fn a_flow_in_one_direction_is_not_cut_at_the_session_timeout() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address).with("udp: { session_timeout: 1s }"));
    let client = udp_client(pony.address("udp"));
    client.send(b"up").unwrap();
    let session = expect_datagram(&target, b"up");
    for_longer_than_the_timeout(|| {
        client.send(b"up").unwrap();
        assert_eq!(expect_datagram(&target, b"up"), session);
    });
    for_longer_than_the_timeout(|| {
        target.send_to(b"down", session).unwrap();
        expect_datagram(&client, b"down");
    });
    assert_eq!(pony.connections("udp", "accepted"), 1);
    assert_eq!(pony.active("udp"), 1);
}

fn for_longer_than_the_timeout(mut action: impl FnMut()) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1800) {
        action();
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stranger_cannot_speak_into_a_session() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address));
    let client = udp_client(pony.address("udp"));
    client.send(b"hello").unwrap();
    let session = expect_datagram(&target, b"hello");
    let (stranger, _) = udp_listener();
    stranger.send_to(b"stranger", session).unwrap();
    target.send_to(b"target", session).unwrap();
    expect_datagram(&client, b"target");
}

#[test]
fn update_events_come_by_bytes_and_say_that_they_are_updates() {
    let entry =
        Entry::udp(udp_echo_target()).with("udp: { logging: { periodic_log_bytes: 1000 } }");
    let pony = Pony::start(&entry);
    let client = udp_client(pony.address("udp"));
    for _ in 0..3 {
        ping_udp(&client, &[7; 500]);
    }
    let update = crate::harness::wait_for("an update", || pony.events("update").pop());
    assert!(update["bytes_sent"].as_u64().unwrap() >= 500, "{update}");
}

#[test]
fn sessions_below_the_thresholds_are_not_logged() {
    let logging = "logging: { log_session_start: false, min_log_bytes: 100 }";
    let entry = Entry::udp(udp_echo_target())
        .with(&format!("udp: {{ session_timeout: 100ms, {logging} }}"));
    let pony = Pony::start(&entry);
    ping_udp(&udp_client(pony.address("udp")), b"small");
    wait_eq(0, || pony.active("udp"));
    ping_udp(&udp_client(pony.address("udp")), &[7; 100]);
    assert_eq!(pony.close_event()["bytes_sent"], 100);
    assert!(pony.events("open").is_empty());
    assert_eq!(pony.events("close").len(), 1);
}
