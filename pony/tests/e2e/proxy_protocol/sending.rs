//! What a target is told.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use super::{ENDS, LINE, REQUIRED, SIGNATURE, binary, listener, says};
use crate::harness::{
    Launch, Pony,
    peers::{accept, connect, expect_bytes, tcp_listener},
};

/// The line for a connection of this client to this place.
fn line(client: SocketAddr, destination: SocketAddr) -> String {
    format!(
        "PROXY TCP{} {} {} {} {}\r\n",
        if client.is_ipv4() { 4 } else { 6 },
        client.ip(),
        destination.ip(),
        client.port(),
        destination.port()
    )
}

#[test]
fn the_header_comes_before_any_byte_and_before_the_client_has_sent_one() {
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, "send: v1"));
    let mut client = connect(pony.address("tcp"));
    let server = accept(&target);
    let expected = line(client.local_addr().unwrap(), pony.address("tcp"));
    expect_bytes(&server, expected.as_bytes());
    client.write_all(b"payload").unwrap();
    expect_bytes(&server, b"payload");
    drop((client, server));
    let event = pony.closes_with("");
    assert_eq!(event["bytes_sent"], 7, "a header is no payload: {event}");
}

#[test]
fn a_binary_header_has_the_real_client_and_what_it_connected_to() {
    let (target, address) = tcp_listener();
    let pony = Launch::new(
        &listener(address, "send: v2")
            .allow("\"::1\", 127.0.0.1")
            .listen("[::]:0"),
    )
    .start();
    let port = pony.address("tcp").port();
    let client = connect(format!("127.0.0.1:{port}").parse().unwrap());
    let ports = [client.local_addr().unwrap().port(), port].map(u16::to_be_bytes);
    let ends = [&[127, 0, 0, 1, 127, 0, 0, 1][..], &ports[0], &ports[1]].concat();
    expect_bytes(&accept(&target), &binary(0x21, 0x11, &ends));
    let client = connect(format!("[::1]:{port}").parse().unwrap());
    let ports = [client.local_addr().unwrap().port(), port].map(u16::to_be_bytes);
    let one = std::net::Ipv6Addr::LOCALHOST.octets();
    let ends = [&one[..], &one, &ports[0], &ports[1]].concat();
    expect_bytes(&accept(&target), &binary(0x21, 0x21, &ends));
}

#[test]
fn a_client_that_was_learned_from_a_header_is_told_to_the_target() {
    let (target, address) = tcp_listener();
    let fields = [&[0x02, 0, 5][..], b"a.org", &[0x05, 0, 3], b"c-1"].concat();
    let known = binary(0x21, 0x11, &[ENDS, &fields].concat());
    let with_fields = "send: v2, send_fields: [authority, unique_id]";
    for (send, expected) in [
        ("send: v1", LINE.as_bytes().to_vec()),
        ("send: v2", binary(0x21, 0x11, ENDS)),
        (with_fields, known.clone()),
    ] {
        let pony = Pony::start(&listener(address, &format!("{REQUIRED}, {send}")));
        let client = says(&pony, [&known[..], b"payload"].concat());
        let server = accept(&target);
        expect_bytes(&server, &expected);
        expect_bytes(&server, b"payload");
        drop(client);
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_destination_is_told_as_a_mapped_one() {
    let (target, address) = tcp_listener();
    let told = "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::2 56324 443\r\n";
    let ends: [std::net::Ipv6Addr; 2] =
        ["::ffff:192.0.2.7", "2001:db8::2"].map(|text| text.parse().unwrap());
    let ends = ends.map(|ip| ip.octets()).concat();
    let binary = binary(0x21, 0x21, &[&ends, &[0xdc, 0x04, 0x01, 0xbb][..]].concat());
    for (send, expected) in [("v1", told.as_bytes()), ("v2", &binary)] {
        let pony = Pony::start(&listener(address, &format!("{REQUIRED}, send: {send}")));
        let _client = says(&pony, told);
        expect_bytes(&accept(&target), expected);
    }
}

#[test]
fn a_connection_without_a_name_gets_one_that_the_log_has_too() {
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, "send: v2, send_fields: [unique_id]"));
    let client = connect(pony.address("tcp"));
    let mut server = accept(&target);
    let mut header = [0; 16 + 12 + 3 + 24];
    server.read_exact(&mut header).unwrap();
    assert!(header.starts_with(SIGNATURE));
    assert_eq!(header[28..31], [0x05, 0, 24]);
    drop((client, server));
    let event = pony.closes_with("");
    assert_eq!(
        event["unique_id"].as_str().unwrap().as_bytes(),
        &header[31..],
        "{event}"
    );
}

#[test]
fn a_header_and_the_payload_that_is_there_go_in_one_segment() {
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, &format!("{REQUIRED}, send: v1")));
    let _client = says(&pony, format!("{LINE}payload"));
    let server = accept(&target);
    // The first look that sees anything sees it all.
    let mut all = [0; 100];
    let len = server.peek(&mut all).unwrap();
    assert_eq!(&all[..len], format!("{LINE}payload").as_bytes());
}
