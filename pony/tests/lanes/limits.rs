//! Bandwidth limits to the byte, and figures that are up to date, in every lane.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    bytes::Content,
    dice::seed,
    harness::{
        Pony,
        peers::{
            accept, connect, echo_target, expect_closed, join, ping, sink_target, tcp_listener,
            tcp_target,
        },
        wait_eq, wait_until,
    },
    lane::Lane,
    peer::{receive, send, whole},
    proof::Proof,
};

in_every_lane!(
    shared: an_upload_delivers_its_limit_and_not_one_byte_more,
    a_download_delivers_its_limit_and_not_one_byte_more,
    two_flows_of_one_client_share_its_limit_to_the_byte,
    a_throttled_flow_moves_no_faster_than_it_may_and_loses_nothing,
    bytes_are_counted_while_they_flow;
);

fn an_upload_delivers_its_limit_and_not_one_byte_more(lane: Lane) {
    let (listener, target) = tcp_listener();
    let pony = limited(lane, target, LIMIT);
    let client = connect(pony.address("tcp"));
    let content = Content::new(seed(), 1);
    let writer = send_behind(&client, content, 10 * LIMIT);
    let received = receive(&accept(&listener), content);
    assert_eq!(received, whole(LIMIT));
    expect_closed(&client);
    // Whether all was taken depends on the sockets on the way.
    drop(join(writer));
    over_the_limit(&pony, "bytes_sent");
}

fn a_download_delivers_its_limit_and_not_one_byte_more(lane: Lane) {
    let content = Content::new(seed(), 1);
    let target = tcp_target(move |stream| drop(send(&stream, content, 10 * LIMIT)));
    let pony = limited(lane, target, LIMIT);
    let client = connect(pony.address("tcp"));
    assert_eq!(receive(&client, content), whole(LIMIT));
    drop(client);
    over_the_limit(&pony, "bytes_received");
}

fn two_flows_of_one_client_share_its_limit_to_the_byte(lane: Lane) {
    let (listener, target) = tcp_listener();
    let pony = limited(lane, target, LIMIT);
    let content = Content::new(seed(), 1);
    let mut targets = Vec::new();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let client = connect(pony.address("tcp"));
            let target = accept(&listener);
            targets.push(thread::spawn(move || receive(&target, content)));
            client
        })
        .collect();
    let writers: Vec<_> = clients
        .iter()
        .map(|client| send_behind(client, content, 10 * LIMIT))
        .collect();
    let received: Vec<_> = targets.into_iter().map(join).collect();
    let sum: u64 = received.iter().map(|received| received.bytes).sum();
    assert_eq!(sum, LIMIT, "{received:?}");
    for (client, writer) in clients.into_iter().zip(writers) {
        expect_closed(&client);
        drop(join(writer));
    }
    wait_eq(LIMIT, || pony.bytes("tcp", "sent"));
    wait_eq(2, || pony.events("close").len());
    let events = pony.events("close");
    let sum: u64 = events
        .iter()
        .map(|event| event["bytes_sent"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, LIMIT, "{events:?}");
}

fn a_throttled_flow_moves_no_faster_than_it_may_and_loses_nothing(lane: Lane) {
    let limits = "max_bandwidth_per_ip: 256KB, bandwidth_window: 200ms, \
                  action: throttle, throttle_minimum: 256KB";
    let (listener, target) = tcp_listener();
    let pony = lane
        .launch(&lane.listener(target, "").limits(limits))
        .start();
    let client = connect(pony.address("tcp"));
    let content = Content::new(seed(), 1);
    let writer = send_behind(&client, content, THROTTLED);
    let (received, times) = receive_timed(&accept(&listener), content);
    assert_eq!(received, THROTTLED);
    join(writer).unwrap();
    drop(client);
    pony.closes_with("");
    // At most the limit in a window, as much again as the least speed, and what sockets on the way
    // have collected: in any stretch of a second that is less than half of what it would be without.
    let fastest = fastest_second(&times);
    assert!(
        fastest <= MOST_A_SECOND,
        "{fastest} bytes came within a second"
    );
}

fn bytes_are_counted_while_they_flow(lane: Lane) {
    let pony = lane.launch(&lane.listener(echo_target(), "")).start();
    let before = Proof::of(&pony);
    let mut client = connect(pony.address("tcp"));
    let mut lateness = Vec::new();
    for round in 1..=ROUNDS {
        ping(&mut client, &[7; 10_000]);
        let came = Instant::now();
        for way in ["sent", "received"] {
            wait_until("the bytes to be counted", || {
                pony.bytes("tcp", way) == round * 10_000
            });
        }
        lateness.push(came.elapsed());
    }
    // The machine may be busy; the daemon may not be late by itself.
    lateness.sort();
    let median = lateness[lateness.len() / 2];
    assert!(
        median < FRESH,
        "half of the figures were later than {median:?}"
    );
    Proof::check(&pony, &before, lane, 2 * ROUNDS * 10_000);
    drop(client);
    pony.closes_with("");

    // One way alone has no answer to count it by.
    let sink = lane.launch(&lane.listener(sink_target(), "")).start();
    let mut client = connect(sink.address("tcp"));
    client.write_all(&[7; 10_000]).unwrap();
    wait_eq(10_000, || sink.bytes("tcp", "sent"));
}

fn limited(lane: Lane, target: std::net::SocketAddr, bytes: u64) -> Pony {
    let limits = format!("max_bandwidth_per_ip: {bytes}B, bandwidth_window: 1h");
    lane.launch(&lane.listener(target, "").limits(&limits))
        .start()
}

#[track_caller]
fn over_the_limit(pony: &Pony, key: &str) {
    let close = pony.closes_with("bandwidth limit");
    assert_eq!(close[key], LIMIT, "{close}");
    wait_eq(LIMIT, || {
        pony.bytes("tcp", key.trim_start_matches("bytes_"))
    });
    wait_eq(1, || pony.drops("tcp", "bandwidth_limit"));
    wait_eq(0, || pony.active("tcp"));
}

fn send_behind(
    client: &TcpStream,
    content: Content,
    len: u64,
) -> thread::JoinHandle<std::io::Result<()>> {
    let client = client.try_clone().unwrap();
    thread::spawn(move || send(&client, content, len))
}

/// Receives to the end, with how many bytes had come at which time.
fn receive_timed(mut stream: &TcpStream, content: Content) -> (u64, Vec<(Instant, u64)>) {
    let mut buffer = vec![0; 1 << 16];
    let mut times = vec![(Instant::now(), 0)];
    let mut at = 0;
    loop {
        let len = stream.read(&mut buffer).unwrap();
        if len == 0 {
            return (at, times);
        }
        content.check(at, &buffer[..len]).unwrap();
        at += len as u64;
        times.push((Instant::now(), at));
    }
}

/// The most bytes that came within a second.
fn fastest_second(times: &[(Instant, u64)]) -> u64 {
    let mut begin = 0;
    let mut most = 0;
    for (time, bytes) in times {
        while *time - times[begin].0 > Duration::from_secs(1) {
            begin += 1;
        }
        most = most.max(bytes - times[begin].1);
    }
    most
}

/// Odd, and large enough for every lane.
const LIMIT: u64 = 3_000_001;
const THROTTLED: u64 = 5 << 20;
/// In a second are five windows with 256 KiB each, and as much from the least speed; one more of
/// each may lie across its ends.
const MOST_A_SECOND: u64 = 2 * 6 * (256 << 10);
const ROUNDS: u64 = 15;
/// Figures are at most 100 ms old; asking for both takes some more.
const FRESH: Duration = Duration::from_millis(150);
