//! Bandwidth limits of TCP clients, to the byte.

use std::{
    io::{Read, Write as _},
    net::Shutdown,
};

use crate::harness::{
    Entry, Pony,
    peers::{
        accept, connect, connect_from, echo_target, expect_closed, join, pattern, ping,
        read_to_end, source_target, tcp_listener, write_behind,
    },
    wait_eq, wait_until,
};

#[test]
fn an_upload_delivers_its_limit_to_the_byte_and_then_both_sides_are_closed() {
    let (listener, target) = tcp_listener();
    let limits = "max_bandwidth_per_ip: 100001B, bandwidth_window: 1h";
    let pony = Pony::start(&Entry::tcp(target).limits(limits));
    let client = connect(pony.address("tcp"));
    let writer = write_behind(&client, pattern(1 << 20));
    assert!(read_to_end(accept(&listener)) == pattern(1 << 20)[..100_001]);
    expect_closed(&client);
    drop(join(writer));

    let close = pony.closes_with("bandwidth limit");
    assert_eq!(close["bytes_sent"], 100_001);
    assert_eq!(pony.bytes("tcp", "sent"), 100_001);
    assert_eq!(pony.drops("tcp", "bandwidth_limit"), 1);
    pony.message("Connection dropped: bandwidth limit exceeded");

    expect_closed(&connect(pony.address("tcp")));
    assert_eq!(pony.connections("tcp", "rate_limited"), 1);
    assert_eq!(pony.drops("tcp", "bandwidth_limit"), 2);
    drop(connect_from("127.0.0.2", pony.address("tcp")));
    drop(accept(&listener));
}

#[test]
fn a_download_delivers_its_limit_to_the_byte_and_then_both_sides_are_closed() {
    let limits = "max_bandwidth_per_ip: 100001B, bandwidth_window: 1h";
    let pony = Pony::start(&Entry::tcp(source_target(1 << 20)).limits(limits));
    let client = connect(pony.address("tcp"));
    assert!(read_to_end(&client) == pattern(1 << 20)[..100_001]);
    drop(client);
    assert_eq!(
        pony.closes_with("bandwidth limit")["bytes_received"],
        100_001
    );
}

#[test]
fn both_directions_and_all_connections_of_a_client_share_its_limit() {
    let limits = "max_bandwidth_per_ip: 10KB, bandwidth_window: 1h";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let mut one = connect(pony.address("tcp"));
    let mut two = connect(pony.address("tcp"));
    ping(&mut one, &[1; 2000]);
    ping(&mut two, &[2; 2000]);
    ping(&mut one, &[3; 1000]);
    // 10,000 of 10,240 bytes are used; 200 go to the target, 40 come back.
    two.write_all(&[4; 200]).unwrap();
    assert_eq!(read_to_end(&two), [4; 40]);
    wait_eq(10_240, || {
        pony.bytes("tcp", "sent") + pony.bytes("tcp", "received")
    });
    // Nothing is left for the other connection either.
    one.write_all(&[5; 10]).unwrap();
    expect_closed(&one);
    wait_eq(2, || pony.events("close").len());
}

#[test]
fn with_both_directions_at_full_speed_the_limit_is_still_kept_to_the_byte() {
    const LIMIT: u64 = 1_000_001;
    let limits = format!("max_bandwidth_per_ip: {LIMIT}B, bandwidth_window: 1h");
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(&limits));
    let client = connect(pony.address("tcp"));
    let writer = write_behind(&client, pattern(4 << 20));
    let mut back = Vec::new();
    drop((&client).read_to_end(&mut back));
    drop(join(writer));
    let close = pony.closes_with("bandwidth limit");
    assert!(back == pattern(4 << 20)[..back.len()], "the bytes differ");
    assert_eq!(close["bytes_received"].as_u64().unwrap(), back.len() as u64);
    assert_eq!(
        close["bytes_sent"].as_u64().unwrap() + back.len() as u64,
        LIMIT
    );
}

#[test]
fn a_client_that_used_its_limit_exactly_is_not_cut() {
    let limits = "max_bandwidth_per_ip: 2000B, bandwidth_window: 1h";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, &[7; 1000]);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    pony.closes_with("");
    assert_eq!(pony.drops("tcp", "bandwidth_limit"), 0);
}

#[test]
fn a_client_that_was_cut_is_served_again_when_its_window_has_room() {
    let limits = "max_bandwidth_per_ip: 1000B, bandwidth_window: 500ms";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let mut client = connect(pony.address("tcp"));
    client.write_all(&[7; 2000]).unwrap();
    let mut back = Vec::new();
    drop(client.read_to_end(&mut back));
    pony.closes_with("bandwidth limit");
    wait_until("room in the window", || {
        let mut client = connect(pony.address("tcp"));
        client.write_all(b"?").is_ok() && client.read_exact(&mut [0]).is_ok()
    });
}

#[test]
fn throttling_slows_a_client_down_and_loses_nothing() {
    let limits = "max_bandwidth_per_ip: 64KB, bandwidth_window: 200ms, \
                  action: throttle, throttle_minimum: 64KB";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let client = connect(pony.address("tcp"));
    let bytes = pattern(200_000);
    let writer = write_behind(&client, bytes.clone());
    let mut back = vec![0; bytes.len()];
    (&client).read_exact(&mut back).unwrap();
    assert!(back == bytes, "the bytes differ");
    join(writer).unwrap();
    drop(client);
    let close = pony.closes_with("");
    // Over its 64 KB the client gets at most 64 KB per 200 ms and what its window gives back, so
    // at most 640 KB a second: 400,000 bytes take more than half of one. It may only be slower.
    assert!(close["duration_ms"].as_u64().unwrap() >= 400, "{close}");
    assert_eq!(pony.connections("tcp", "rate_limited"), 0);
}

#[test]
fn a_throttled_client_may_open_connections() {
    let limits = "max_bandwidth_per_ip: 1000B, bandwidth_window: 50ms, \
                  action: throttle, throttle_minimum: 1000B";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    for _ in 0..3 {
        ping(&mut connect(pony.address("tcp")), &[7; 1000]);
    }
}

#[test]
fn log_only_moves_everything_and_counts_what_was_over() {
    let limits = "max_bandwidth_per_ip: 1KB, bandwidth_window: 1h, action: log_only";
    let pony = Pony::start(&Entry::tcp(echo_target()).limits(limits));
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, &[7; 512]);
    assert_eq!(
        pony.violations("tcp", "bandwidth_limit"),
        0,
        "exactly the limit is not over it"
    );
    ping(&mut client, &[7; 5000]);
    assert!(pony.violations("tcp", "bandwidth_limit") > 0);
    assert_eq!(pony.drops("tcp", "bandwidth_limit"), 0);
    ping(&mut connect(pony.address("tcp")), b"a new connection");
    drop(client);
    pony.closes_with("");
}
