//! `dynamic_destination`: clients go where their headers say.

use std::net::SocketAddr;

use super::{REQUIRED, binary, listener, says};
use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        accept, closed_port, connect, echo_target, expect_bytes, expect_closed, expect_datagram,
        has_connection, ping, tcp_listener, udp, udp_client, udp_echo_target, udp_listener,
    },
    wait_eq,
};

/// A listener whose headers may send clients to these places.
fn dynamic(entry: Entry, allowed: &str) -> Entry {
    let keys = format!("dynamic_destination: true, allowed_destinations: [{allowed}]");
    entry.with(&keys)
}

/// The line of a client that wants to go there.
fn line(destination: SocketAddr) -> String {
    let (ip, port) = (destination.ip(), destination.port());
    if destination.is_ipv4() {
        format!("PROXY TCP4 192.0.2.7 {ip} 56324 {port}\r\n")
    } else {
        format!("PROXY TCP6 2001:db8::7 {ip} 56324 {port}\r\n")
    }
}

/// A datagram of a client that wants it to go there.
fn datagram(destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(to) = destination else {
        panic!("{destination} is no IPv4 address")
    };
    let ports = [&[0xdc, 0x04][..], &to.port().to_be_bytes()].concat();
    let ends = [&[192, 0, 2, 7], &to.ip().octets()[..], &ports].concat();
    [&binary(0x21, 0x12, &ends), payload].concat()
}

#[test]
fn a_client_goes_where_its_header_says() {
    let (usual, address) = tcp_listener();
    let entry = dynamic(listener(address, REQUIRED), "127.0.0.0/8, \"::1\"");
    let pony = Pony::start(&entry);
    let v6 = std::net::TcpListener::bind("[::1]:0").unwrap();
    let (v4, at_v4) = tcp_listener();
    for (target, to) in [
        (v4, at_v4),
        (v6.try_clone().unwrap(), v6.local_addr().unwrap()),
    ] {
        let _client = says(&pony, line(to) + "payload");
        expect_bytes(&accept(&target), b"payload");
    }
    assert!(!has_connection(&usual));
    wait_eq(2, || pony.events("open").len());
    let event = &pony.events("open")[0];
    assert_eq!(event["target_ip"], "127.0.0.1", "{event}");
    assert_eq!(event["target_port"], at_v4.port(), "{event}");
}

#[test]
fn a_client_without_a_header_of_its_own_goes_to_the_configured_target() {
    let entry = listener(echo_target(), "accept: optional, trusted: [127.0.0.1]");
    let pony = Pony::start(&dynamic(entry, "198.51.100.0/24"));
    let speaks_for_itself = binary(0x20, 0x00, &[]);
    for first in [b"PROXY UNKNOWN\r\n".to_vec(), speaks_for_itself, Vec::new()] {
        ping(&mut says(&pony, first), b"no header that names a client");
    }
}

#[test]
fn a_destination_that_is_not_allowed_is_refused_and_counted() {
    let (target, address) = tcp_listener();
    let allowed = format!("127.0.0.1:{}, 10.0.0.0/8:80-90", address.port());
    let pony = Pony::start(&dynamic(listener(address, REQUIRED), &allowed));
    let refused = [
        closed_port(),
        "127.0.0.2:80".parse().unwrap(),
        SocketAddr::from(([0, 0, 0, 0], address.port())),
        "10.0.0.1:91".parse().unwrap(),
        "[::1]:80".parse().unwrap(),
    ];
    for (count, destination) in (1..).zip(refused) {
        expect_closed(&says(&pony, line(destination)));
        assert_eq!(pony.headers("destination"), count, "{destination}");
    }
    assert!(
        !has_connection(&target),
        "nor do they go to the usual target"
    );
    let said = pony.message("Connection closed: destination not allowed");
    assert_eq!(said["reason"], "destination", "{said}");
    let why = format!("client 192.0.2.7:56324 may not go to {}", refused[0]);
    assert!(said["why"].as_str().unwrap().contains(&why), "{said}");
    assert_eq!((pony.headers("v1"), pony.active("tcp")), (0, 0));
    let _client = says(&pony, line(address));
    accept(&target);
}

#[test]
fn a_destination_that_is_the_listener_itself_is_refused_instead_of_going_round_for_ever() {
    let block = format!("{REQUIRED}, send: v1");
    for (listen, loops) in [
        ("127.0.0.1:0", &["127.0.0.1"][..]),
        ("[::]:0", &["127.0.0.1", "127.0.0.2", "[::1]"]),
    ] {
        let entry = listener(echo_target(), &block).listen(listen);
        let pony = Launch::new(&dynamic(entry, "\"::/0\", 0.0.0.0/0")).start();
        let port = pony.address("tcp").port();
        for ip in loops {
            let mut client = connect(format!("127.0.0.1:{port}").parse().unwrap());
            let itself = format!("{ip}:{port}").parse().unwrap();
            std::io::Write::write_all(&mut client, line(itself).as_bytes()).unwrap();
            expect_closed(&client);
        }
        assert_eq!(pony.headers("destination"), loops.len() as u64);
        assert_eq!(pony.headers("v1"), 0);
    }
}

#[test]
fn the_first_datagrams_destination_does_not_stick_to_a_client() {
    let entry = Entry::udp(udp_echo_target())
        .allow("192.0.2.0/24")
        .with(&format!("proxy_protocol: {{ {REQUIRED} }}"));
    let pony = Pony::start(&dynamic(entry, "127.0.0.0/8"));
    let front_end = udp_client(pony.address("udp"));
    let [(one, at_one), (other, at_other)] = [udp_listener(), udp_listener()];
    for _ in 0..2 {
        for (target, address) in [(&one, at_one), (&other, at_other)] {
            front_end.send(&datagram(address, b"question")).unwrap();
            let source = expect_datagram(target, b"question");
            target
                .send_to(address.to_string().as_bytes(), source)
                .unwrap();
            expect_datagram(&front_end, address.to_string().as_bytes());
        }
    }
    assert_eq!(pony.active("udp"), 2);
}

#[test]
fn a_datagram_whose_destination_is_not_allowed_is_dropped_and_counted() {
    let (target, address) = udp_listener();
    let entry = Entry::udp(address)
        .allow("192.0.2.0/24, 127.0.0.1")
        .with(&format!("proxy_protocol: {{ {REQUIRED} }}"));
    let pony = Pony::start(&dynamic(entry, &address.to_string()));
    let front_end = udp_client(pony.address("udp"));
    let stranger = udp("127.0.0.1:0").local_addr().unwrap();
    for destination in [stranger, pony.address("udp")] {
        front_end.send(&datagram(destination, b"refused")).unwrap();
    }
    front_end.send(&datagram(address, b"allowed")).unwrap();
    expect_datagram(&target, b"allowed");
    let own = [&binary(0x20, 0x00, &[]), &b"of the front end"[..]].concat();
    front_end.send(&own).unwrap();
    expect_datagram(&target, b"of the front end");
    let label = "result=\"destination\"";
    let count = pony.count("packetpony_proxy_headers_total", "udp", label);
    assert_eq!(count, 2);
    pony.message("Packet dropped: destination not allowed");
}
