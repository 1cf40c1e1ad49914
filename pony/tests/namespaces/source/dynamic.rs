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
        .with("dynamic_destination: true, allowed_destinations: [\"127.0.0.0/8:8000-9000\"]")
}

#[test]
fn a_destination_on_loopback_sees_the_client() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks_at(&lab.proxy, "127.0.0.1", 8000);
    let launch = || {
        let launch = Launch::new(&dynamic(tcp("tcp", 7000, "127.0.0.1:7")));
        launch.and(&dynamic(udp("udp", 7000, "127.0.0.1:7")))
    };
    let doctor = launch().arguments(&["doctor", "-c", "FILE"]);
    let what = "answers of 127.0.0.0/8 port 8000-9000 to clients come here while the daemon runs";
    lab.proxy.enter(|| doctor.finish()).expect(0, &[what]);
    let before = lab.proxy.run("ip rule show");
    let mut pony = lab.start(launch().server("shutdown_timeout: 0s"));
    let rules = lab.proxy.run("ip rule show");
    let rule = "from 127.0.0.0/8 iif lo ipproto udp sport 8000-9000 lookup";
    assert!(rules.contains(rule), "{rules}");

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

    pony.signal("TERM");
    pony.wait();
    assert_eq!(lab.proxy.run("ip rule show"), before);
}

#[test]
fn a_destination_that_is_not_on_loopback_is_warned_of() {
    let Some(lab) = Lab::new() else { return };
    let entry = near(tcp("tcp", 7000, "127.0.0.1:7"))
        .with("proxy_protocol: { accept: required, trusted: [192.0.2.1] }")
        .with("dynamic_destination: true, allowed_destinations: [\"0.0.0.0/0:80\", 198.51.100.1]");
    let doctor = Launch::new(&entry).arguments(&["doctor", "-c", "FILE"]);
    lab.proxy.enter(|| doctor.finish()).expect(
        0,
        &[
            "ok       listener tcp: answers of 127.0.0.0/8 port 80 to clients come here while",
            "note     listener tcp: the answers of 0.0.0.0/0:80 have to be routed",
            "note     listener tcp: the answers of 198.51.100.1/32 have to be routed",
        ],
    );
    let pony = lab.start(Launch::new(&entry));
    for destination in ["0.0.0.0/0:80", "198.51.100.1/32"] {
        pony.message_where(
            "Answers of destinations that are not on loopback must be routed here by hand: \
             `routing: auto` does that for addresses of loopback only (see `pony doctor`)",
            |warning| warning["destination"] == destination,
        );
    }
}
