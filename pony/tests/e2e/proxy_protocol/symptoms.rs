//! What other programs for PROXY headers get wrong, each named after what its users saw.

use std::{fs, io::Write as _, net::TcpListener};

use super::{LINE, REQUIRED, binary, listener, says};
use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        accept, connect, expect_bytes, expect_closed, expect_datagram, has_connection,
        tcp_listener, udp, udp_again, udp_client, udp_listener,
    },
    wait_eq, wait_until,
};

/// A UDP listener for clients of the documentation's addresses.
fn datagrams(target: std::net::SocketAddr) -> Entry {
    Entry::udp(target)
        .allow("192.0.2.0/24, \"2001:db8::/32\"")
        .with(&format!("proxy_protocol: {{ {REQUIRED} }}"))
}

/// A datagram of `2001:db8::7`.
fn of_v6(payload: &[u8]) -> Vec<u8> {
    let [client, destination] = ["2001:db8::7", "2001:db8::2"].map(|text| {
        let ip: std::net::Ipv6Addr = text.parse().unwrap();
        ip.octets()
    });
    let ends = [&client[..], &destination, &[0xdc, 0x04, 0, 53]].concat();
    [&binary(0x21, 0x22, &ends), payload].concat()
}

/// go-mmproxy: "no suitable address found".
#[test]
fn an_ipv6_client_of_an_ipv4_front_end_goes_to_the_ipv6_target() {
    let (v4, address) = tcp_listener();
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let udp_v6 = udp("[::1]:0");
    let (_udp_v4, udp_address) = udp_listener();
    let with_v6 = |entry: Entry, target: std::net::SocketAddr| {
        entry.with(&format!("target_address_v6: \"{target}\""))
    };
    let pony = Launch::new(&with_v6(
        listener(address, REQUIRED),
        v6.local_addr().unwrap(),
    ))
    .and(&with_v6(
        datagrams(udp_address),
        udp_v6.local_addr().unwrap(),
    ))
    .start();
    let header = "PROXY TCP6 2001:db8::7 2001:db8::2 1000 443\r\n";
    let _client = says(&pony, format!("{header}six"));
    expect_bytes(&accept(&v6), b"six");
    let _client = says(&pony, format!("{LINE}four"));
    expect_bytes(&accept(&v4), b"four");
    udp_client(pony.address("udp"))
        .send(&of_v6(b"six"))
        .unwrap();
    expect_datagram(&udp_v6, b"six");
}

/// go-mmproxy: after an empty answer, or while the target was away once, a client can send but never
/// again receive.
#[test]
fn a_client_hears_its_target_after_an_empty_answer_and_after_the_target_was_away() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&datagrams(address));
    let front_end = udp_client(pony.address("udp"));
    front_end.send(&of_v6(b"question")).unwrap();
    let session = expect_datagram(&target, b"question");
    for answer in [&b""[..], b"answer"] {
        target.send_to(answer, session).unwrap();
        expect_datagram(&front_end, answer);
    }
    drop(target);
    wait_until("a refusal", || {
        front_end.send(&of_v6(b"again")).unwrap();
        pony.errors("udp", "target_read") + pony.errors("udp", "target_write") > 0
    });
    let target = udp_again(address);
    front_end.send(&of_v6(b"again")).unwrap();
    assert_eq!(expect_datagram(&target, b"again"), session);
    target.send_to(b"answer", session).unwrap();
    expect_datagram(&front_end, b"answer");
}

/// go-mmproxy: a file without an entry lets everybody name any client.
#[test]
fn a_file_of_front_ends_without_an_entry_trusts_nobody() {
    let (target, address) = tcp_listener();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "# nobody yet\n").unwrap();
    let block = format!(
        "accept: required, trusted: [\"@{}\"]",
        file.path().display()
    );
    let pony = Pony::start(&listener(address, &block));
    let mut stranger = connect(pony.address("tcp"));
    // It may be closed before it has said anything.
    drop(stranger.write_all(LINE.as_bytes()));
    expect_closed(&stranger);
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
    assert!(!has_connection(&target));
}

/// `GoDoxy`: who is refused is connected to the target all the same.
#[test]
fn a_client_of_a_header_that_is_denied_costs_no_connection_to_the_target() {
    let (target, address) = tcp_listener();
    let entry = listener(address, &format!("{REQUIRED}, send: v2"));
    let pony = Pony::start(&entry.with("denylist: [192.0.2.7]"));
    expect_closed(&says(&pony, LINE));
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
    assert!(!has_connection(&target));
    let _other = says(&pony, LINE.replace("192.0.2.7", "192.0.2.8"));
    accept(&target);
}
