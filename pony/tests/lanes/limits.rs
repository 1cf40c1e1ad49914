//! Bandwidth limits to the byte, and figures that are up to date, in every lane.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    bytes::Content,
    dice::seed,
    harness::{
        Pony,
        peers::{
            accept, connect, echo_target, expect_closed, join, ping, read_to_end, sink_target,
            tcp_listener, tcp_target,
        },
        wait_eq, wait_until,
    },
    lane::Lane,
    peer::{receive, send, whole},
    proof::Proof,
    world,
};

in_every_lane!(
    shared: an_upload_delivers_its_limit_and_not_one_byte_more,
    a_download_delivers_its_limit_and_not_one_byte_more,
    what_was_granted_to_a_slow_reader_before_the_limit_still_reaches_it,
    two_flows_of_one_client_share_its_limit_to_the_byte,
    conversations_of_one_client_share_its_limit_to_the_byte_with_one_that_is_silent,
    a_conversation_that_is_only_observed_goes_on_beyond_its_limit,
    a_conversation_of_an_exempt_client_goes_on_beyond_its_limit,
    a_throttled_flow_moves_no_faster_than_it_may_and_loses_nothing,
    bytes_are_counted_while_they_flow,
    bytes_of_limited_clients_are_counted_while_they_flow;
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

/// The client reads only when the target has seen the end of its upload.
fn what_was_granted_to_a_slow_reader_before_the_limit_still_reaches_it(lane: Lane) {
    const LIMIT: u64 = 24 << 20;
    let (listener, target) = tcp_listener();
    let pony = limited(lane, target, LIMIT);
    let client = connect(pony.address("tcp"));
    let target = accept(&listener);
    let [up, down] = [1, 2].map(|number| Content::new(seed(), number));
    let download = send_behind(&target, down, LIMIT);
    pony.bytes_when_stalled("tcp", "received");
    let upload = send_behind(&client, up, LIMIT);
    let sent = receive(&target, up);
    let received = receive(&client, down);
    assert_eq!((sent.error, received.error), (None, None));
    assert_eq!(sent.bytes + received.bytes, LIMIT);
    drop((join(download), join(upload)));
    pony.closes_with("bandwidth limit");
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

fn conversations_of_one_client_share_its_limit_to_the_byte_with_one_that_is_silent(lane: Lane) {
    let (target, delivered) = counting_echo_target();
    let pony = limited(lane, target, LIMIT);
    let mut silent = connect(pony.address("tcp"));
    in_conversation(&pony, lane, &mut silent);
    let talkers: Vec<_> = [100, 1_000, 16_000]
        .map(|len| {
            let client = connect(pony.address("tcp"));
            thread::spawn(move || talk(client, len))
        })
        .into();
    let to_clients: u64 = talkers.into_iter().map(join).sum();
    let to_clients = to_clients + BEFORE;
    wait_eq(LIMIT, || delivered.load(Relaxed) + to_clients);
    wait_eq(LIMIT, || {
        pony.bytes("tcp", "sent") + pony.bytes("tcp", "received")
    });
    wait_eq(3, || pony.drops("tcp", "bandwidth_limit"));
    // What it had on credit is used up by the others, and it has not noticed.
    assert_eq!(pony.active("tcp"), 1);
    silent.write_all(b"!").unwrap();
    assert_eq!(read_to_end(&silent), b"");
    drop(silent);
    wait_eq(0, || pony.active("tcp"));
    assert_eq!(delivered.load(Relaxed) + to_clients, LIMIT);
}

fn a_conversation_that_is_only_observed_goes_on_beyond_its_limit(lane: Lane) {
    let limits = format!("max_bandwidth_per_ip: {LIMIT}B, bandwidth_window: 1h, action: log_only");
    let entry = lane.listener(echo_target(), "").limits(&limits);
    let pony = lane.launch(&entry).start();
    beyond_the_limit(&pony, lane);
    assert!(pony.violations("tcp", "bandwidth_limit") > 0);
}

fn a_conversation_of_an_exempt_client_goes_on_beyond_its_limit(lane: Lane) {
    let limits = format!("max_bandwidth_per_ip: {LIMIT}B, bandwidth_window: 1h");
    let entry = lane.listener(echo_target(), "").limits(&limits);
    let pony = lane.launch(&entry.with("exempt: [127.0.0.1]")).start();
    beyond_the_limit(&pony, lane);
    assert_eq!(pony.violations("tcp", "bandwidth_limit"), 0);
}

fn beyond_the_limit(pony: &Pony, lane: Lane) {
    let mut client = connect(pony.address("tcp"));
    in_conversation(pony, lane, &mut client);
    let rounds = LIMIT / 16_000;
    for _ in 0..rounds {
        ping(&mut client, &[7; 16_000]);
    }
    drop(client);
    pony.closes_with("");
    let moved = rounds * 16_000 + BEFORE;
    wait_eq(moved, || pony.bytes("tcp", "sent"));
    wait_eq(moved, || pony.bytes("tcp", "received"));
    assert_eq!(pony.drops("tcp", "bandwidth_limit"), 0);
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
    counted_in_time(&pony, lane);

    // One way alone has no answer to count it by.
    let sink = lane.launch(&lane.listener(sink_target(), "")).start();
    let mut client = connect(sink.address("tcp"));
    client.write_all(&[7; 10_000]).unwrap();
    wait_eq(10_000, || sink.bytes("tcp", "sent"));
}

fn bytes_of_limited_clients_are_counted_while_they_flow(lane: Lane) {
    let pony = limited(lane, echo_target(), LIMIT);
    counted_in_time(&pony, lane);
}

fn counted_in_time(pony: &Pony, lane: Lane) {
    let before = Proof::of(pony);
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
    Proof::check(pony, &before, lane, 2 * ROUNDS * 10_000);
    drop(client);
    pony.closes_with("");
}

fn limited(lane: Lane, target: SocketAddr, bytes: u64) -> Pony {
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

/// Has a conversation of [`BEFORE`] bytes each way, after which the kernel moves what follows if it
/// may.
fn in_conversation(pony: &Pony, lane: Lane, client: &mut TcpStream) {
    for _ in 0..BEFORE / 100 {
        ping(client, &[7; 100]);
    }
    if matches!(lane, Lane::Auto | Lane::Sockmap) && world::is_private() {
        wait_until("the kernel moves it", || {
            Proof::of(pony).moved_by_kernel() > 0
        });
    }
}

/// A target that sends back what it gets, and how much it has got.
fn counting_echo_target() -> (SocketAddr, Arc<AtomicU64>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&delivered);
    let target = tcp_target(move |mut stream| {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            count.fetch_add(len as u64, Relaxed);
            // Nobody listens any more when the limit is met.
            drop(stream.write_all(&buffer[..len]));
        }
    });
    (target, delivered)
}

/// Says `len` bytes and waits for the answer, again and again until the connection is closed.
/// Answers how many bytes came.
fn talk(mut client: TcpStream, len: usize) -> u64 {
    let mut received = 0;
    let mut buffer = vec![0; len];
    loop {
        drop(client.write_all(&buffer));
        let mut missing = len;
        while missing > 0 {
            match client.read(&mut buffer[..missing]).unwrap() {
                0 => return received,
                read => (missing, received) = (missing - read, received + read as u64),
            }
        }
    }
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
/// What is said before a test begins with what it is about.
const BEFORE: u64 = 10_000;
const THROTTLED: u64 = 5 << 20;
/// In a second are five windows with 256 KiB each, and as much from the least speed; one more of
/// each may lie across its ends.
const MOST_A_SECOND: u64 = 2 * 6 * (256 << 10);
const ROUNDS: u64 = 15;
/// Figures are at most 100 ms old; asking for both takes some more.
const FRESH: Duration = Duration::from_millis(150);
