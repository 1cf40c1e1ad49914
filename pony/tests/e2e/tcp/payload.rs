//! Every byte arrives, in order, however many there are and whoever is slow.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
};

use crate::harness::{
    Entry, Pony,
    peers::{
        accept, connect, echo_target, expect_bytes, join, pattern, ping, read_to_end,
        source_target, tcp_listener, write_behind,
    },
    wait_eq,
};

const MB: usize = 1 << 20;

/// Sends `bytes` and the end of file, and returns everything that comes back.
#[track_caller]
fn exchange(client: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(client)
    })
}

#[test]
fn what_is_sent_comes_back_byte_for_byte_whatever_its_length() {
    let pony = Pony::start(&Entry::tcp(echo_target()));
    let lengths = [0, 1, 65_535, 65_536, 65_537, 10 * MB];
    for len in lengths {
        let bytes = pattern(len);
        let back = exchange(&connect(pony.address("tcp")), &bytes);
        assert!(
            back == bytes,
            "of {len} bytes {} came back, or others",
            back.len()
        );
    }
    let total: usize = lengths.iter().sum();
    wait_eq(0, || pony.active("tcp"));
    assert_eq!(pony.bytes("tcp", "sent"), total as u64);
    assert_eq!(pony.bytes("tcp", "received"), total as u64);
    for close in pony.events("close") {
        assert_eq!(close["error"], serde_json::Value::Null);
        assert_eq!(close["bytes_sent"], close["bytes_received"]);
    }
}

#[test]
fn a_transfer_that_never_pauses_does_not_stop_the_flow_or_its_neighbours() {
    const LEN: usize = 256 * MB;
    let (listener, target) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(target));
    let client = connect(pony.address("tcp"));
    let writer = thread::spawn(move || {
        let block = pattern(MB);
        let mut client = client;
        for _ in 0..LEN / MB {
            client.write_all(&block).unwrap();
        }
    });
    let mut target = accept(&listener);
    let mut block = vec![0; MB];
    let expected = pattern(MB);
    for number in 0..LEN / MB {
        target.read_exact(&mut block).unwrap();
        assert!(block == expected, "block {number} differs");
    }
    join(writer);
    drop(target);
    pony.closes_with("");
}

#[test]
fn what_the_client_sends_before_the_target_is_connected_arrives() {
    let (listener, target) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(target));
    let mut client = connect(pony.address("tcp"));
    client.write_all(b"early").unwrap();
    expect_bytes(&accept(&listener), b"early");
}

#[test]
fn a_target_that_speaks_first_is_heard() {
    let pony = Pony::start(&Entry::tcp(source_target(3000)));
    let client = connect(pony.address("tcp"));
    assert!(read_to_end(&client) == pattern(3000));
}

#[test]
fn two_hundred_clients_at_once_get_their_own_bytes() {
    const CLIENTS: usize = 200;
    let pony = Pony::start(&Entry::tcp(echo_target()));
    let address = pony.address("tcp");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
    wait_eq(CLIENTS as u64, || pony.active("tcp"));
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(20_000 + number)).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        expect_bytes(client, &pattern(20_000 + number));
    }
    drop(clients);
    wait_eq(0, || pony.active("tcp"));
    assert_eq!(pony.connections("tcp", "accepted"), CLIENTS as u64);
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer_and_costs_no_memory() {
    const LEN: usize = 100 * MB;
    let (listener, target) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(target));
    ping_through(&pony, &listener);
    let before = pony.resident();

    let client = connect(pony.address("tcp"));
    let target = accept(&listener);
    let writer = write_behind(&client, pattern(LEN));
    let moved = pony.bytes_when_stalled("tcp", "sent");
    assert!(
        moved < LEN as u64 / 2,
        "{moved} bytes went to a target that read none"
    );
    let grown = pony.resident().saturating_sub(before);
    assert!(grown < 8 << 20, "it holds {grown} bytes more");

    let mut bytes = vec![0; LEN];
    (&target).read_exact(&mut bytes).unwrap();
    assert!(bytes == pattern(LEN), "the bytes differ");
    join(writer).unwrap();
}

/// Has every part of the way used once, so that its memory is there.
#[track_caller]
fn ping_through(pony: &Pony, listener: &std::net::TcpListener) {
    let mut client = connect(pony.address("tcp"));
    let target = accept(listener);
    let echo = thread::spawn(move || {
        let mut reader = target.try_clone().unwrap();
        let mut writer = target;
        drop(std::io::copy(&mut reader, &mut writer));
    });
    ping(&mut client, &pattern(100_000));
    drop(client);
    join(echo);
}
