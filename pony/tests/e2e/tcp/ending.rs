//! End of file, close and reset of one side reach the other, and nothing is lost before them.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
};

use crate::harness::{
    Entry, Pony,
    peers::{
        accept, connect, expect_bytes, expect_reset, fill, is_reset, join, pattern, read_to_end,
        read_to_reset, reset, tcp_listener, tcp_target, write_behind,
    },
    wait_eq, wait_until,
};

/// A flow whose both ends are in the test's hands.
struct Flow {
    pony: Pony,
    client: TcpStream,
    target: TcpStream,
    _listener: TcpListener,
}

fn flow() -> Flow {
    let (listener, address) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(address));
    let client = connect(pony.address("tcp"));
    let mut target = accept(&listener);
    // The target's side is open as soon as the kernel says so; ours when the daemon knows.
    target.write_all(b"?").unwrap();
    expect_bytes(&client, b"?");
    Flow {
        pony,
        client,
        target,
        _listener: listener,
    }
}

#[test]
fn after_the_clients_end_of_file_the_target_may_go_on() {
    let Flow {
        pony,
        mut client,
        mut target,
        ..
    } = flow();
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&target), b"request");
    let answer = pattern(300_000);
    let writer = write_behind(&target, answer.clone());
    let mut seen = vec![0; answer.len()];
    client.read_exact(&mut seen).unwrap();
    assert!(seen == answer);
    join(writer).unwrap();
    target.write_all(b"end").unwrap();
    drop(target);
    assert_eq!(read_to_end(&client), b"end");
    pony.closes_with("");
}

#[test]
fn after_the_targets_end_of_file_the_client_may_go_on() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    (&target).write_all(b"greeting").unwrap();
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"greeting");
    let upload = pattern(300_000);
    let writer = write_behind(&client, upload.clone());
    let mut seen = vec![0; upload.len()];
    (&target).read_exact(&mut seen).unwrap();
    assert!(seen == upload);
    join(writer).unwrap();
    assert_eq!(pony.active("tcp"), 1);
    drop(client);
    assert_eq!(read_to_end(&target), b"");
    pony.closes_with("");
}

#[test]
fn a_client_that_leaves_is_noticed_by_the_target_and_frees_its_place() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    drop(client);
    assert_eq!(read_to_end(&target), b"");
    drop(target);
    wait_eq(0, || pony.active("tcp"));
    pony.closes_with("");
}

#[test]
fn a_target_that_leaves_is_noticed_by_the_client_and_frees_its_place() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    drop(target);
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    wait_eq(0, || pony.active("tcp"));
    pony.closes_with("");
}

#[test]
fn a_client_that_left_does_not_keep_a_target_that_goes_on_sending() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    drop(client);
    assert_eq!(read_to_end(&target), b"");
    wait_until("the target to hear that nobody listens", || {
        (&target).write_all(b"x").is_err()
    });
    pony.closes_with("client");
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_reset_by_the_client_reaches_the_target_as_a_reset_after_every_byte() {
    let Flow {
        pony,
        mut client,
        target,
        ..
    } = flow();
    client.write_all(&pattern(10_000)).unwrap();
    reset(client);
    assert!(read_to_reset(&target) == pattern(10_000));
    pony.closes_with("client: ");
}

#[test]
fn a_reset_by_the_target_reaches_the_client_as_a_reset_after_every_byte() {
    let Flow {
        pony,
        client,
        mut target,
        ..
    } = flow();
    target.write_all(&pattern(10_000)).unwrap();
    reset(target);
    assert!(read_to_reset(&client) == pattern(10_000));
    pony.closes_with("target: ");
}

#[test]
fn a_reset_after_the_clients_end_of_file_still_reaches_the_target() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&target), b"");
    reset(client);
    expect_reset(&target);
    pony.closes_with("client: ");
}

#[test]
fn a_reset_after_the_targets_end_of_file_still_reaches_the_client() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    reset(target);
    expect_reset(&client);
    pony.closes_with("target: ");
}

#[test]
fn a_client_that_reads_nothing_and_then_resets_ends_the_targets_writing() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    let writer = write_behind(&target, vec![7; 100 << 20]);
    pony.bytes_when_stalled("tcp", "received");
    reset(client);
    assert!(is_reset(&join(writer).unwrap_err()));
    pony.closes_with("client: ");
}

#[test]
fn a_target_that_resets_while_the_client_reads_nothing_is_noticed_at_once() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    fill(&target);
    reset(target);
    pony.closes_with("target: ");
    expect_reset(&client);
}

#[test]
fn a_target_that_resets_after_its_end_of_file_while_it_reads_nothing_is_noticed_at_once() {
    let Flow {
        pony,
        client,
        target,
        ..
    } = flow();
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    let writer = write_behind(&client, vec![7; 100 << 20]);
    pony.bytes_when_stalled("tcp", "sent");
    reset(target);
    assert!(is_reset(&join(writer).unwrap_err()));
    pony.closes_with("target: ");
}

#[test]
fn the_answer_of_a_target_that_closes_during_an_upload_is_not_lost() {
    const ANSWER: &[u8] = b"413 too much";
    // It does not read, so its close is a reset that follows the answer at once.
    let target = tcp_target(|mut stream| {
        stream.read_exact(&mut [0; 1000]).unwrap();
        stream.write_all(ANSWER).unwrap();
    });
    let pony = Pony::start(&Entry::tcp(target));
    for _ in 0..50 {
        let client = connect(pony.address("tcp"));
        let writer = write_behind(&client, vec![7; 10 << 20]);
        expect_bytes(&client, ANSWER);
        // Whether it failed depends on how much the sockets on the way could hold.
        drop(join(writer));
    }
}
