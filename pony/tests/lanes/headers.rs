//! PROXY headers, in and out: what comes after them moves as it does without.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use crate::{
    harness::peers::{
        accept, connect, expect_bytes, join, pattern, read_to_end, tcp_listener, write_behind,
    },
    lane::Lane,
    proof::Proof,
};

in_every_lane!(shared: what_follows_a_header_moves_in_the_lane_and_the_header_is_not_counted);

fn what_follows_a_header_moves_in_the_lane_and_the_header_is_not_counted(lane: Lane) {
    for (accepted, sent, is_ahead) in [
        (LINE, "v1", false),
        (LINE, "v2", true),
        (BINARY, "v1", true),
        (BINARY, "v2", false),
    ] {
        flow(lane, accepted, sent, is_ahead);
    }
}

/// One flow that begins with `accepted`, which is ahead of the payload or comes in one segment with
/// some of it.
#[track_caller]
fn flow(lane: Lane, accepted: &[u8], sent: &str, is_ahead: bool) {
    let (listener, address) = tcp_listener();
    let block = format!("accept: required, trusted: [127.0.0.1], send: {sent}");
    let entry = lane.listener(address, "");
    let entry = entry.with(&format!("proxy_protocol: {{ {block} }}"));
    let pony = lane.launch(&entry).start();
    let before = Proof::of(&pony);

    let mut client = connect(pony.address("tcp"));
    let (first, told) = (if is_ahead { &b""[..] } else { b"first" }, told(sent));
    client.write_all(&[accepted, first].concat()).unwrap();
    let mut target = accept(&listener);
    expect_bytes(&target, told);
    expect_bytes(&target, first);
    converse(&mut client, &mut target);
    pour(&client, &target);
    for (ends, other) in [(&client, &target), (&target, &client)] {
        ends.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(other), b"");
    }

    let event = pony.closes_with("");
    assert_eq!(event["source_ip"], "127.0.0.9", "{event}");
    let each = u64::try_from(TURNS * TURN.len() + BULK).unwrap();
    let up = each + u64::try_from(first.len()).unwrap();
    assert_eq!(event["bytes_sent"], up, "{event}");
    assert_eq!(event["bytes_received"], each, "{event}");
    Proof::check(&pony, &before, lane, up + each);
}

/// Question and answer by turns, which is what the kernel's lane is for.
#[track_caller]
fn converse(client: &mut TcpStream, target: &mut TcpStream) {
    let mut turn = [0; TURN.len()];
    for _ in 0..TURNS {
        client.write_all(TURN).unwrap();
        target.read_exact(&mut turn).unwrap();
        assert_eq!(&turn, TURN);
        target.write_all(&turn).unwrap();
        expect_bytes(client, TURN);
    }
}

/// Bulk both ways at once.
#[track_caller]
fn pour(client: &TcpStream, target: &TcpStream) {
    let bytes = pattern(BULK);
    let writers = [client, target].map(|end| write_behind(end, bytes.clone()));
    expect_bytes(target, &bytes);
    expect_bytes(client, &bytes);
    for writer in writers {
        join(writer).unwrap();
    }
}

fn told(version: &str) -> &'static [u8] {
    match version {
        "v1" => LINE,
        _ => BINARY,
    }
}

const TURNS: usize = 100;
const TURN: &[u8; 64] = &[b'.'; 64];
const BULK: usize = 8 << 20;

/// 127.0.0.9:56324 to 127.0.0.1:443
const LINE: &[u8] = b"PROXY TCP4 127.0.0.9 127.0.0.1 56324 443\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x09\x7f\0\0\x01\xdc\x04\x01\xbb";
