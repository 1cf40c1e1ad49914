//! UDP: headers in front of datagrams, from front ends and to targets.

use std::{fmt::Display, net::UdpSocket};

use super::{ENDS, LINE, SIGNATURE, binary};
use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        closed_port, expect_datagram, ping_udp, udp, udp_again, udp_client, udp_echo_target,
        udp_listener,
    },
    wait_eq, wait_until,
};

/// A UDP listener with this block.
fn listener(target: impl Display, block: &str) -> Entry {
    Entry::udp(target)
        .allow("192.0.2.0/24, 127.0.0.1")
        .with(&format!("proxy_protocol: {{ {block} }}"))
}

/// A datagram of 192.0.2.`client` to port `port` of 198.51.100.2.
fn of(client: u8, port: u8, payload: &[u8]) -> Vec<u8> {
    let ends = [192, 0, 2, client, 198, 51, 100, 2, 0xdc, 0x04, 0, port];
    [&binary(0x21, 0x12, &ends), payload].concat()
}

impl Pony {
    #[track_caller]
    fn datagram_headers(&self, result: &str) -> u64 {
        let label = format!("result=\"{result}\"");
        self.count("packetpony_proxy_headers_total", "udp", &label)
    }
}

const REQUIRED: &str = "accept: required, trusted: [127.0.0.1]";

#[test]
fn each_datagram_says_for_whom_it_is_and_answers_come_back_without_a_header() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&listener(address, REQUIRED));
    let front_end = udp_client(pony.address("udp"));
    let mut sources = Vec::new();
    for (client, port) in [(7, 53), (8, 53), (7, 54)] {
        front_end.send(&of(client, port, b"question")).unwrap();
        let source = expect_datagram(&target, b"question");
        target.send_to(b"answer", source).unwrap();
        expect_datagram(&front_end, b"answer");
        sources.push(source);
    }
    // One session for each client and each destination, and no more than that.
    front_end.send(&of(7, 53, b"again")).unwrap();
    assert_eq!(expect_datagram(&target, b"again"), sources[0]);
    assert_ne!(sources[0], sources[1]);
    assert_ne!(sources[0], sources[2]);
    assert_eq!((pony.active("udp"), pony.datagram_headers("v2")), (3, 4));
    wait_eq(3, || pony.events("open").len());
    let opened = pony.events("open");
    assert_eq!(opened[1]["source_ip"], "192.0.2.8", "{opened:?}");
    assert_eq!(opened[2]["destination_port"], 54, "{opened:?}");
    assert_eq!(opened[0]["front_end_ip"], "127.0.0.1", "{opened:?}");
}

#[test]
fn answers_go_to_the_port_of_the_front_end_that_sent_last() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&listener(address, REQUIRED));
    let [before, after] = [0, 1].map(|_| udp_client(pony.address("udp")));
    before.send(&of(7, 53, b"one")).unwrap();
    let source = expect_datagram(&target, b"one");
    after.send(&of(7, 53, b"two")).unwrap();
    assert_eq!(
        expect_datagram(&target, b"two"),
        source,
        "one client, one session"
    );
    target.send_to(b"answer", source).unwrap();
    expect_datagram(&after, b"answer");
}

#[test]
fn two_front_ends_of_one_client_get_their_own_answers() {
    let pony = Pony::start(&listener(
        udp_echo_target(),
        "accept: required, trusted: [127.0.0.0/8]",
    ));
    let front_ends = ["127.0.0.2:0", "127.0.0.3:0"].map(|address| {
        let socket = udp(address);
        socket.connect(pony.address("udp")).unwrap();
        socket
    });
    for turn in 0..3 {
        for front_end in &front_ends {
            let payload = format!("{turn} {front_end:?}");
            front_end.send(&of(7, 53, payload.as_bytes())).unwrap();
            expect_datagram(front_end, payload.as_bytes());
        }
    }
    assert_eq!(pony.active("udp"), 2);
}

#[test]
fn who_speaks_for_itself_gets_its_own_answers() {
    let pony = Pony::start(&listener(udp_echo_target(), REQUIRED));
    let header = binary(0x20, 0x00, &[]);
    let checks: Vec<UdpSocket> = (0..3).map(|_| udp_client(pony.address("udp"))).collect();
    for turn in 0..2 {
        for (number, check) in checks.iter().enumerate() {
            let payload = format!("{turn} {number}");
            check.send(&[&header, payload.as_bytes()].concat()).unwrap();
        }
        for (number, check) in checks.iter().enumerate() {
            expect_datagram(check, format!("{turn} {number}").as_bytes());
        }
    }
    assert_eq!((pony.active("udp"), pony.datagram_headers("own")), (3, 6));
}

#[test]
fn a_datagram_without_a_valid_header_is_dropped_and_the_reason_counted() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&listener(address, REQUIRED));
    let front_end = udp_client(pony.address("udp"));
    let whole = of(7, 53, b"");
    for (datagram, result) in [
        (&b"plain"[..], "missing"),
        (b"", "missing"),
        (LINE.as_bytes(), "missing"),
        (&SIGNATURE[..5], "missing"),
        (&whole[..whole.len() - 1], "malformed"),
        (&binary(0x21, 0x11, ENDS), "malformed"),
    ] {
        let before = pony.datagram_headers(result);
        front_end.send(datagram).unwrap();
        wait_eq(before + 1, || pony.datagram_headers(result));
    }
    let stranger = udp("127.0.0.2:0");
    stranger
        .send_to(&of(7, 53, b"forged"), pony.address("udp"))
        .unwrap();
    wait_eq(1, || pony.connections("udp", "acl_denied"));
    front_end.send(&of(7, 53, b"")).unwrap();
    expect_datagram(&target, b"");
    assert_eq!(pony.active("udp"), 1);
}

#[test]
fn where_only_the_first_datagram_has_a_header_a_later_one_is_payload() {
    let (target, address) = udp_listener();
    let block = format!("{REQUIRED}, udp_header: first");
    let pony = Pony::start(&listener(address, &block));
    let front_end = udp_client(pony.address("udp"));
    front_end.send(&of(7, 53, b"one")).unwrap();
    let source = expect_datagram(&target, b"one");
    // A client must not be able to say that it is another.
    let forged = of(8, 53, b"two");
    for payload in [&b"two"[..], &forged] {
        front_end.send(payload).unwrap();
        assert_eq!(expect_datagram(&target, payload), source);
    }
    target.send_to(b"answer", source).unwrap();
    expect_datagram(&front_end, b"answer");
    wait_eq(1, || pony.events("open").len());
    let opened = pony.events("open");
    assert_eq!(opened[0]["source_ip"], "192.0.2.7", "{opened:?}");
}

/// Only the first datagram of a session is the front end's word.
#[test]
fn a_client_that_was_refused_cannot_come_as_another_with_its_second_datagram() {
    let (target, address) = udp_listener();
    for accept in ["required", "optional"] {
        let block = format!("accept: {accept}, trusted: [127.0.0.1], udp_header: first");
        let entry = listener(address, &block).with("denylist: [192.0.2.7]");
        let pony = Pony::start(&entry);
        let of_unknown = [SIGNATURE, b"no header"].concat();
        for first in [of(7, 53, b"one"), of_unknown] {
            let front_end = udp_client(pony.address("udp"));
            let ended = pony.datagram_headers("ended");
            for datagram in [&first, &of(8, 53, b"forged"), &b"plain".to_vec()] {
                front_end.send(datagram).unwrap();
            }
            wait_eq(ended + 2, || pony.datagram_headers("ended"));
        }
        let other = udp_client(pony.address("udp"));
        other.send(&of(8, 53, b"another session")).unwrap();
        expect_datagram(&target, b"another session");
    }
}

#[test]
fn a_client_that_was_banned_cannot_come_as_another_with_its_next_datagram() {
    let (target, address) = udp_listener();
    let block = format!("{REQUIRED}, udp_header: first");
    let pony = Launch::new(&listener(address, &block)).control().start();
    let front_end = udp_client(pony.address("udp"));
    front_end.send(&of(7, 53, b"one")).unwrap();
    expect_datagram(&target, b"one");
    assert_eq!(pony.ask(&["ban", "192.0.2.7"]).code, 0);
    front_end.send(&of(8, 53, b"forged")).unwrap();
    wait_eq(1, || pony.datagram_headers("ended"));
    pony.closes_with("banned");
    front_end.send(&of(8, 53, b"forged")).unwrap();
    wait_eq(2, || pony.datagram_headers("ended"));
    wait_eq(0, || pony.active("udp"));
}

#[test]
fn a_front_ends_port_that_was_quiet_for_long_enough_is_heard_again() {
    let (target, address) = udp_listener();
    let block = format!("{REQUIRED}, udp_header: first");
    let pony = Pony::start(&listener(address, &block).with("udp: { session_timeout: 50ms }"));
    let front_end = udp_client(pony.address("udp"));
    front_end.send(b"too early").unwrap();
    wait_eq(1, || pony.datagram_headers("missing"));
    target.set_read_timeout(Some(HEARD_AGAIN)).unwrap();
    wait_until("a session", || {
        front_end.send(&of(7, 53, b"one")).unwrap();
        target.recv(&mut [0; 10]).is_ok()
    });
}

/// More than the time of a session.
const HEARD_AGAIN: std::time::Duration = std::time::Duration::from_millis(200);

#[test]
fn where_headers_are_optional_a_datagram_without_one_is_its_senders() {
    let block = "accept: optional, trusted: [127.0.0.1]";
    let pony = Pony::start(&listener(udp_echo_target(), block));
    let client = udp_client(pony.address("udp"));
    ping_udp(&client, b"plain");
    client.send(&of(7, 53, b"with")).unwrap();
    expect_datagram(&client, b"with");
    assert_eq!(
        (pony.datagram_headers("none"), pony.datagram_headers("v2")),
        (1, 1)
    );
    assert_eq!(pony.active("udp"), 2);
}

#[test]
fn where_headers_are_optional_a_strangers_datagrams_are_never_parsed() {
    let (target, address) = udp_listener();
    let block = "accept: optional, trusted: [127.0.0.2]";
    let pony = Pony::start(&listener(address, block));
    let forged = of(7, 53, b"forged");
    udp_client(pony.address("udp")).send(&forged).unwrap();
    expect_datagram(&target, &forged);
    wait_eq(1, || pony.events("open").len());
    let opened = pony.events("open");
    assert_eq!(opened[0]["source_ip"], "127.0.0.1", "{opened:?}");
}

#[test]
fn the_longest_datagrams_have_room_for_a_header() {
    let (target, address) = udp_listener();
    let entry = listener(address, &format!("{REQUIRED}, send: v2"));
    let pony = Pony::start(&entry.with("udp: { buffer_size: 65535 }"));
    let datagram = of(7, 53, &vec![7; 60_000]);
    udp_client(pony.address("udp")).send(&datagram).unwrap();
    expect_datagram(&target, &datagram);
}

#[test]
fn a_client_of_one_family_comes_through_a_front_end_of_the_other() {
    let (target, address) = udp_listener();
    let block = "accept: required, trusted: [127.0.0.1, \"::1\"]";
    let pony = Launch::new(&listener(address, block).listen("[::]:0")).start();
    let port = pony.address("udp").port();
    for host in ["127.0.0.1", "[::1]"] {
        let front_end = udp_client(format!("{host}:{port}").parse().unwrap());
        front_end.send(&of(7, 53, b"question")).unwrap();
        let source = expect_datagram(&target, b"question");
        target.send_to(b"answer", source).unwrap();
        expect_datagram(&front_end, b"answer");
    }
}

#[test]
fn limits_are_those_of_the_client_in_the_header() {
    let entry = listener(udp_echo_target(), REQUIRED).limits("max_connections_per_ip: 1");
    let pony = Pony::start(&entry);
    let front_end = udp_client(pony.address("udp"));
    front_end.send(&of(7, 53, b"one")).unwrap();
    expect_datagram(&front_end, b"one");
    front_end.send(&of(7, 54, b"another destination")).unwrap();
    wait_eq(1, || pony.drops("udp", "connection_limit"));
    front_end.send(&of(8, 53, b"another client")).unwrap();
    expect_datagram(&front_end, b"another client");
}

#[test]
fn the_target_is_told_with_each_datagram_or_with_the_first() {
    let (target, address) = udp_listener();
    for (block, is_each) in [("send: v2", true), ("send: v2, udp_header: first", false)] {
        let pony = Pony::start(&listener(address, block));
        let client = udp_client(pony.address("udp"));
        let ports = [client.local_addr().unwrap(), pony.address("udp")];
        let ports = ports.map(|address| address.port().to_be_bytes());
        let ends = [&[127, 0, 0, 1, 127, 0, 0, 1][..], &ports[0], &ports[1]].concat();
        let header = binary(0x21, 0x12, &ends);
        client.send(b"one").unwrap();
        expect_datagram(&target, &[&header, &b"one"[..]].concat());
        client.send(b"").unwrap();
        let second = if is_each { &header[..] } else { b"" };
        let source = expect_datagram(&target, second);
        target.send_to(b"answer", source).unwrap();
        expect_datagram(&client, b"answer");
        assert_eq!(pony.bytes("udp", "sent"), 3, "a header is no payload");
    }
}

#[test]
fn a_client_that_was_learned_from_a_header_is_told_on() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&listener(address, &format!("{REQUIRED}, send: v2")));
    let front_end = udp_client(pony.address("udp"));
    front_end.send(&of(7, 53, b"payload")).unwrap();
    expect_datagram(&target, &of(7, 53, b"payload"));
}

#[test]
fn a_target_that_was_not_there_is_told_again() {
    let nobody = closed_port();
    let pony = Pony::start(&listener(nobody, "send: v2, udp_header: first"));
    let client = udp_client(pony.address("udp"));
    wait_until("a refusal", || {
        client.send(b"heard").unwrap();
        pony.errors("udp", "target_read") + pony.errors("udp", "target_write") > 0
    });
    let target = udp_again(nobody);
    client.send(b"heard").unwrap();
    let mut buffer = [0; 100];
    let len = target.recv(&mut buffer).unwrap();
    assert!(buffer[..len].starts_with(SIGNATURE) && buffer[..len].ends_with(b"heard"));
}
