//! `idle_timeout`, `read_timeout` and `write_timeout`: when they cut, and when they must not.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    Entry, Pony,
    peers::{
        connect, echo_target, expect_closed, join, ping, sink_target, tcp_target, write_behind,
    },
    wait_eq,
};

/// A listener with this `tcp:` block.
fn with(target: std::net::SocketAddr, tcp: &str) -> Pony {
    Pony::start(&Entry::tcp(target).tcp_keys(tcp))
}

#[test]
fn a_connection_that_never_says_a_word_ends_at_the_idle_timeout() {
    let pony = with(echo_target(), "idle_timeout: 150ms");
    expect_closed(&connect(pony.address("tcp")));
    pony.closes_with("idle timeout");
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_connection_that_falls_silent_ends_at_the_idle_timeout() {
    let pony = with(echo_target(), "idle_timeout: 300ms");
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, b"hello");
    expect_closed(&client);
    pony.closes_with("idle timeout");
}

#[test]
fn bytes_in_one_direction_keep_the_idle_timeout_away() {
    let target = tcp_target(|mut stream| {
        for _ in 0..20 {
            stream.write_all(b".").unwrap();
            thread::sleep(Duration::from_millis(100));
        }
    });
    let pony = with(target, "idle_timeout: 1500ms");
    let mut dots = Vec::new();
    connect(pony.address("tcp")).read_to_end(&mut dots).unwrap();
    assert_eq!(dots.len(), 20);
    pony.closes_with("");
}

#[test]
fn a_busy_connection_outlives_its_read_and_write_timeouts() {
    is_busy_with("read_timeout: 1s, write_timeout: 1s");
}

#[test]
fn a_conversation_in_the_kernels_lane_is_not_taken_for_one_that_stands_still() {
    is_busy_with("read_timeout: 1s, write_timeout: 1s, lane: sockmap");
}

fn is_busy_with(keys: &str) {
    let pony = with(echo_target(), keys);
    let mut client = connect(pony.address("tcp"));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        ping(&mut client, &[7; 2000]);
    }
    drop(client);
    pony.closes_with("");
}

#[test]
fn a_side_that_sends_nothing_ends_the_flow_at_the_read_timeout() {
    let pony = with(sink_target(), "read_timeout: 500ms");
    let client = connect(pony.address("tcp"));
    let chatter = thread::spawn({
        let mut client = client.try_clone().unwrap();
        move || {
            while client.write_all(b".").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    expect_closed(&client);
    join(chatter);
    pony.closes_with("read timeout: nothing from the target");
}

#[test]
fn a_side_that_takes_nothing_ends_the_flow_at_the_write_timeout() {
    let target = tcp_target(|mut stream| while stream.write_all(&[7; 1 << 14]).is_ok() {});
    let pony = with(target, "write_timeout: 300ms");
    let _client = connect(pony.address("tcp"));
    pony.closes_with("write timeout: the client took nothing");
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_client_that_waits_for_a_stalled_target_is_not_blamed_for_silence() {
    is_stalled_with("write_timeout: 300ms, read_timeout: 1h");
}

#[test]
fn a_target_that_stalls_in_the_kernels_lane_ends_the_flow_at_the_write_timeout() {
    is_stalled_with("write_timeout: 300ms, read_timeout: 1h, lane: sockmap");
}

fn is_stalled_with(keys: &str) {
    let (listener, target) = crate::harness::peers::tcp_listener();
    let pony = with(target, keys);
    let client = connect(pony.address("tcp"));
    let _target = crate::harness::peers::accept(&listener);
    let writer = write_behind(&client, vec![7; 100 << 20]);
    assert!(join(writer).is_err());
    pony.closes_with("write timeout: the target took nothing");
}
