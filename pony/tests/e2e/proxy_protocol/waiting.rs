//! Front ends that are slow with their headers.

use std::{io::Write as _, net::TcpStream};

use super::{LINE, REQUIRED, binary, listener, says};
use crate::harness::{
    Entry, Launch, Pony,
    peers::{connect, connect_from, echo_target, expect_closed, ping},
    wait_eq,
};

impl Pony {
    #[track_caller]
    fn waiting(&self) -> u64 {
        self.count("packetpony_proxy_headers_waiting", "tcp", "")
    }
}

#[test]
fn a_front_end_that_is_slow_holds_up_nobody_else_and_is_closed_at_the_timeout() {
    let block = format!("{REQUIRED}, header_timeout: 500ms");
    let pony = Pony::start(&listener(echo_target(), &block));
    let silent = connect(pony.address("tcp"));
    let begun = says(&pony, "PROXY TCP4 192.0.2.7 ");
    let unfinished = says(&pony, &binary(0x21, 0x11, &[0; 100])[..50]);
    wait_eq(3, || pony.waiting());
    ping(&mut says(&pony, LINE), b"others are served");
    for slow in [silent, begun, unfinished] {
        expect_closed(&slow);
    }
    assert_eq!((pony.headers("timeout"), pony.waiting()), (3, 0));
}

#[test]
fn a_look_whether_somebody_listens_is_counted_and_not_logged() {
    let pony = Pony::start(&listener(echo_target(), REQUIRED));
    drop(connect(pony.address("tcp")));
    wait_eq(1, || pony.headers("closed"));
    drop(says(&pony, "PROXY"));
    let said = pony.message("Connection closed: no valid PROXY header");
    assert_eq!(said["reason"], "closed", "{said}");
    assert!(said["suppressed"].is_null(), "{said}");
}

#[test]
fn connections_without_a_header_yet_are_among_those_of_their_own_address() {
    let trusted = "accept: required, trusted: [127.0.0.0/8]";
    let entry = listener(echo_target(), trusted).limits("max_connections_per_ip: 2");
    let pony = Pony::start(&entry);
    let waiting = [0, 1].map(|_| connect(pony.address("tcp")));
    wait_eq(2, || pony.waiting());
    expect_closed(&connect(pony.address("tcp")));
    wait_eq(1, || pony.drops("tcp", "connection_limit"));
    // A header that is there at once waits for nothing; and other front ends have their own places.
    let mut other = connect_from("127.0.0.2", pony.address("tcp"));
    other.write_all(LINE.as_bytes()).unwrap();
    ping(&mut other, b"hello");
    for mut waiting in waiting {
        waiting
            .write_all(LINE.replace(".7", ".8").as_bytes())
            .unwrap();
        ping(&mut waiting, b"hello");
    }
    assert_eq!(pony.waiting(), 0);
}

#[test]
fn attempts_are_those_of_the_clients_and_not_of_the_front_end() {
    let entry = listener(echo_target(), REQUIRED)
        .limits("max_connection_attempts_per_ip: 2, attempts_window: 1h");
    let pony = Pony::start(&entry);
    for client in 1..=9 {
        let line = LINE.replace("192.0.2.7", &format!("192.0.2.{client}"));
        ping(&mut says(&pony, line), b"hello");
    }
    for _ in 0..2 {
        ping(&mut says(&pony, LINE.replace(".7", ".77")), b"hello");
    }
    expect_closed(&says(&pony, LINE.replace(".7", ".77")));
    wait_eq(1, || pony.drops("tcp", "attempt_limit"));
}

#[test]
fn ten_thousand_silent_front_ends_take_little_memory_and_others_are_served() {
    let pony = Launch::new(&patient_with_headers("1h"))
        .and(&patient_with_headers("500ms").name("brief"))
        .start();
    let before = pony.resident();
    let mut silent = crowd(&pony, "tcp");
    wait_eq(CROWD as u64, || pony.waiting());
    ping(&mut says(&pony, LINE), b"others are served");
    // Now and then a byte of some.
    for turn in 20..30 {
        for stream in silent.iter_mut().step_by(50) {
            stream.write_all(&UNFINISHED[turn..=turn]).unwrap();
        }
        ping(&mut says(&pony, LINE), b"others are served");
    }
    assert_eq!(pony.waiting(), CROWD as u64);
    let grown = pony.resident().saturating_sub(before);
    assert!(grown < 4096 * CROWD as u64, "{grown} bytes for {CROWD}");
    drop(silent);
    wait_eq(0, || pony.waiting());

    // Who is not waited for so long is closed with the reason.
    for stream in crowd(&pony, "brief") {
        expect_closed(&stream);
    }
    let timeouts = "result=\"timeout\"";
    let closed = || pony.count("packetpony_proxy_headers_total", "brief", timeouts);
    wait_eq(CROWD as u64, closed);
    ping(&mut says(&pony, LINE), b"others are served");
}

/// A listener whose front ends are all of 127.0.0.0/8, and have this long.
fn patient_with_headers(timeout: &str) -> Entry {
    let block = "accept: required, trusted: [127.0.0.0/8]";
    listener(
        echo_target(),
        &format!("{block}, header_timeout: {timeout}"),
    )
}

/// Front ends of a hundred addresses: every second one says nothing, others begin a header, which one
/// in fifty goes on with.
fn crowd(pony: &Pony, listener: &str) -> Vec<TcpStream> {
    // Ours too: half of all connections' ends are here.
    pony::sys::raise_open_files();
    let address = pony.address(listener);
    let connect = |number: usize| {
        let mut stream = connect_from(&format!("127.0.1.{}", 1 + number % 100), address);
        if number.is_multiple_of(50) {
            stream.write_all(&UNFINISHED[..20]).unwrap();
        } else if number.is_multiple_of(2) {
            stream.write_all(b"PROXY TCP4 192.0.2.7 ").unwrap();
        }
        stream
    };
    (0..CROWD).map(connect).collect()
}

const CROWD: usize = 10_000;

/// It is to be 60,016 bytes long.
const UNFINISHED: &[u8; 30] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xea\x60\xc0\0\x02\x07\xc6\x33\x64\x02\xdc\x04\x01\xbb\0\0";
