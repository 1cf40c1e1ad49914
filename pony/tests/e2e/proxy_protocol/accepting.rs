//! What a connection begins with, and who is the client then.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
};

use super::{ENDS, LINE, REQUIRED, binary, listener, says};
use crate::harness::{
    Launch, Pony,
    peers::{
        accept, connect, connect_from, echo_target, expect_bytes, expect_closed, has_connection,
        ping, read_to_end, tcp_listener,
    },
    wait_eq,
};

#[test]
fn the_client_is_who_the_header_says_it_is() {
    let fields = [ENDS, &[0x02, 0, 5], b"a.org", &[0x05, 0, 3], b"c-1"].concat();
    for (header, result) in [
        (LINE.as_bytes().to_vec(), "v1"),
        (binary(0x21, 0x11, ENDS), "v2"),
        (binary(0x21, 0x11, &fields), "v2"),
    ] {
        let pony = Pony::start(&listener(echo_target(), REQUIRED));
        let mut client = says(&pony, &header);
        let front_end = client.local_addr().unwrap();
        ping(&mut client, b"payload");
        drop(client);
        let event = pony.closes_with("");
        assert_eq!(event["source_ip"], "192.0.2.7", "{event}");
        assert_eq!(event["source_port"], 56324, "{event}");
        assert_eq!(event["front_end_ip"], "127.0.0.1", "{event}");
        assert_eq!(event["front_end_port"], front_end.port(), "{event}");
        assert_eq!(event["destination_ip"], "198.51.100.2", "{event}");
        assert_eq!(event["destination_port"], 443, "{event}");
        assert_eq!(event["bytes_sent"], 7, "a header is no payload: {event}");
        if header.len() > 40 && result == "v2" {
            assert_eq!(event["authority"], "a.org", "{event}");
            assert_eq!(event["unique_id"], "c-1", "{event}");
        }
        assert_eq!(pony.headers(result), 1);
    }
}

#[test]
fn a_client_of_one_family_comes_through_a_front_end_of_the_other() {
    let pony = Launch::new(
        &listener(
            echo_target(),
            "accept: required, trusted: [127.0.0.1, \"::1\"]",
        )
        .listen("[::]:0"),
    )
    .start();
    let port = pony.address("tcp").port();
    let v6 = "PROXY TCP6 2001:db8::7 2001:db8::2 1000 443\r\n";
    for (host, header) in [("127.0.0.1", v6), ("[::1]", LINE), ("127.0.0.1", LINE)] {
        let mut client = connect(format!("{host}:{port}").parse().unwrap());
        client.write_all(header.as_bytes()).unwrap();
        ping(&mut client, b"payload");
    }
    wait_eq(3, || pony.events("close").len());
    let clients: Vec<_> = pony
        .events("close")
        .into_iter()
        .map(|event| event["source_ip"].clone())
        .collect();
    assert!(
        clients.contains(&"2001:db8::7".into()) && clients.contains(&"192.0.2.7".into()),
        "{clients:?}"
    );
}

#[test]
fn a_header_may_come_in_any_number_of_segments() {
    let pony = Pony::start(&listener(echo_target(), REQUIRED));
    // As long as any can be: 12 bytes of addresses, and a field of the rest.
    let long = [ENDS, &[0x04, 0xff, 0xf0], &vec![0; 0xfff0]].concat();
    for header in [LINE.as_bytes().to_vec(), binary(0x21, 0x11, ENDS)] {
        let mut client = connect(pony.address("tcp"));
        client.set_nodelay(true).unwrap();
        for byte in header {
            client.write_all(&[byte]).unwrap();
        }
        ping(&mut client, b"payload");
    }
    let mut client = connect(pony.address("tcp"));
    for part in binary(0x21, 0x11, &long).chunks(1000) {
        client.write_all(part).unwrap();
    }
    ping(&mut client, b"payload");
    drop(client);
    wait_eq(3, || pony.events("close").len());
    assert_eq!((pony.headers("v1"), pony.headers("v2")), (1, 2));
}

#[test]
fn what_follows_a_header_in_its_segment_is_payload() {
    let pony = Pony::start(&listener(echo_target(), REQUIRED));
    let payload = "PROXY TCP4 is not what this is\r\n";
    let client = says(&pony, format!("{LINE}{payload}"));
    expect_bytes(&client, payload.as_bytes());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn a_header_without_a_client_means_the_connections_own_addresses() {
    let pony = Pony::start(&listener(echo_target(), REQUIRED));
    let unix = [&[b'/'; 216][..]].concat();
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::1 1234 1234\r\n".to_vec(),
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, ENDS),
        binary(0x21, 0x00, &[]),
        binary(0x21, 0x31, &unix),
    ];
    let count = headers.len();
    for header in headers {
        ping(&mut says(&pony, header), b"payload");
    }
    wait_eq(count, || pony.events("close").len());
    for event in pony.events("close") {
        assert_eq!(event["source_ip"], "127.0.0.1", "{event}");
        assert!(event["front_end_ip"].is_null(), "{event}");
    }
    assert_eq!(pony.headers("own"), count as u64);
}

#[test]
fn a_connection_without_a_valid_header_is_closed_and_the_reason_counted() {
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, REQUIRED));
    let cut = [ENDS, &[0x02, 0, 9, b'a']].concat();
    let wrong_sum = [ENDS, &[0x03, 0, 4, 1, 2, 3, 4]].concat();
    for (bytes, result) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), "missing"),
        (
            b"PROXY TCP5 192.0.2.7 198.51.100.2 56324 443\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY TCP4 192.0.2.7 198.51.100.2 56324\r\n".to_vec(),
            "malformed",
        ),
        (binary(0x21, 0x12, ENDS), "malformed"),
        (binary(0x21, 0x11, &cut), "malformed"),
        (binary(0x21, 0x11, &wrong_sum), "checksum"),
    ] {
        let before = pony.headers(result);
        expect_closed(&says(&pony, &bytes));
        assert_eq!(pony.headers(result), before + 1, "{bytes:?}");
    }
    let said = pony.message("Connection closed: no valid PROXY header");
    assert_eq!(said["reason"], "missing", "{said}");
    assert!(
        !has_connection(&target),
        "it costs no connection to the target"
    );
    assert_eq!(pony.active("tcp"), 0);
}

#[test]
fn a_stranger_may_not_say_for_whom_it_connects() {
    let pony = Pony::start(&listener(echo_target(), REQUIRED));
    let mut stranger = connect_from("127.0.0.2", pony.address("tcp"));
    drop(stranger.write_all(LINE.as_bytes()));
    expect_closed(&stranger);
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
    assert_eq!(pony.headers("v1"), 0);
}

#[test]
fn an_empty_list_trusts_nobody() {
    let pony = Pony::start(&listener(echo_target(), "accept: required, trusted: []"));
    expect_closed(&says(&pony, LINE));
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
}

#[test]
fn where_headers_are_optional_a_strangers_bytes_are_never_parsed() {
    let block = "accept: optional, trusted: [127.0.0.2]";
    let pony = Pony::start(&listener(echo_target(), block));
    let client = says(&pony, LINE);
    expect_bytes(&client, LINE.as_bytes());
    drop(client);
    assert_eq!(pony.closes_with("")["source_ip"], "127.0.0.1");
}

#[test]
fn where_headers_are_optional_a_front_end_may_speak_without_one() {
    let block = "accept: optional, trusted: [127.0.0.1]";
    let pony = Pony::start(&listener(echo_target(), block));
    for first in ["GET / HTTP/1.1\r\n", "P", "PROX"] {
        let mut client = says(&pony, first);
        client.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, first);
    }
    assert_eq!(pony.headers("none"), 3);
    ping(&mut says(&pony, LINE), b"payload");
    assert_eq!(pony.headers("v1"), 1);
}

#[test]
fn where_headers_are_optional_one_that_has_begun_must_come_to_its_end() {
    let block = "accept: optional, trusted: [127.0.0.1], header_timeout: 100ms";
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, block));
    let begun = binary(0x21, 0x11, ENDS);
    for (bytes, result) in [
        (&b"PROXY TCP4 192.0.2.7 "[..], "timeout"),
        (&begun[..20], "timeout"),
        (
            b"PROXY TCP5 192.0.2.7 198.51.100.2 56324 443\r\n",
            "malformed",
        ),
        (&binary(0x31, 0x11, ENDS), "malformed"),
    ] {
        let before = pony.headers(result);
        expect_closed(&says(&pony, bytes));
        assert_eq!(pony.headers(result), before + 1, "{bytes:?}");
    }
    assert!(!has_connection(&target), "none of them was a client");
}

#[test]
fn where_headers_are_optional_a_server_that_speaks_first_is_heard() {
    let block = "accept: optional, trusted: [127.0.0.1], header_timeout: 100ms";
    let (target, address) = tcp_listener();
    let pony = Pony::start(&listener(address, block));
    let client = connect(pony.address("tcp"));
    let mut server = accept(&target);
    server.write_all(b"220 welcome\r\n").unwrap();
    expect_bytes(&client, b"220 welcome\r\n");
    assert_eq!(pony.headers("none"), 1);
}

#[test]
fn access_lists_and_limits_judge_the_client_of_the_header() {
    let entry = listener(echo_target(), REQUIRED).limits("max_connections_per_ip: 1");
    let pony = Pony::start(&entry.with("exempt: [192.0.2.9]"));
    let exempt = [0, 1].map(|_| says(&pony, LINE.replace("192.0.2.7", "192.0.2.9")));
    for mut exempt in exempt {
        ping(&mut exempt, b"as many as it likes");
    }
    let mut first = says(&pony, LINE);
    ping(&mut first, b"one");
    expect_closed(&says(&pony, LINE));
    wait_eq(1, || pony.drops("tcp", "connection_limit"));
    let mut other = says(&pony, LINE.replace("192.0.2.7", "192.0.2.8"));
    ping(&mut other, b"another client, the same front end");
    expect_closed(&says(&pony, LINE.replace("192.0.2.7", "203.0.113.1")));
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
    drop(first);
    wait_eq(1, || pony.active("tcp"));
    ping(&mut says(&pony, LINE), b"again");
}

#[test]
fn the_client_of_a_header_can_be_banned() {
    let pony = Launch::new(&listener(echo_target(), REQUIRED))
        .control()
        .start();
    let mut client = says(&pony, LINE);
    ping(&mut client, b"hello");
    assert_eq!(pony.ask(&["ban", "192.0.2.7"]).code, 0);
    expect_closed(&client);
    expect_closed(&says(&pony, LINE));
    let mut other = says(&pony, LINE.replace("192.0.2.7", "192.0.2.8"));
    ping(&mut other, b"hello");
}
