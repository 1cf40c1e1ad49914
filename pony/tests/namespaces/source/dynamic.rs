//! Clients that go where their headers say, and are seen there themselves.

use std::io::Write as _;

use super::{at, connected_udp, near, seen, tell_who_asks_at};
use crate::{
    harness::{Entry, Launch, peers::connect},
    lab::{Lab, PROXY_V4, tcp, udp},
};

/// In front of a target that nobody is meant to reach.
fn dynamic(entry: Entry) -> Entry {
    near(entry)
        .with("proxy_protocol: { accept: required, trusted: [192.0.2.1] }")
        .with("dynamic_destination: true, allowed_destinations: [\"127.0.0.1:8000-9000\"]")
}

#[test]
fn with_routes_made_by_hand_the_destination_sees_the_client_and_without_they_are_asked_for() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks_at(&lab.proxy, "127.0.0.1", 8000);
    let launch = || {
        let launch = Launch::new(&dynamic(tcp("tcp", 7000, "127.0.0.1:7")));
        launch.and(&dynamic(udp("udp", 7000, "127.0.0.1:7")))
    };
    let doctor = launch().arguments(&["doctor", "-c", "FILE"]);
    let note = "note     listener udp: the answers of allowed_destinations have to be routed";
    lab.proxy.enter(|| doctor.finish()).expect(0, &[note]);
    let pony = lab.start(launch());
    pony.message(
        "The answers of allowed_destinations must be routed here by hand: `routing: auto` does that \
         for target_address only",
    );
    lab.proxy
        .run("ip rule add from 127.0.0.1/8 iif lo table 123");
    lab.proxy
        .run("ip route add local 0.0.0.0/0 dev lo table 123");

    let mut stream = lab.client.enter(|| connect(at(PROXY_V4, 7000)));
    stream
        .write_all(b"PROXY TCP4 203.0.113.7 127.0.0.1 1000 8000\r\n")
        .unwrap();
    assert_eq!(seen(&stream), at("203.0.113.7", 1000));

    let socket = lab.client.enter(|| connected_udp(at(PROXY_V4, 7000)));
    let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c";
    let ends = [203, 0, 113, 7, 127, 0, 0, 1, 3, 0xe8, 0x1f, 0x40];
    socket.send(&[&begin[..], &ends, b"who?"].concat()).unwrap();
    let mut buffer = [0; 100];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"203.0.113.7:1000");
}
