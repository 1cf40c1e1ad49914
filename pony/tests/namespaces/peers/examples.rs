//! The example configurations, as they are shipped.

use std::{
    io::Write as _,
    net::{TcpListener, UdpSocket},
};

use crate::{
    harness::{
        Pony,
        peers::{accept, connect, connect_from, expect_bytes, expect_closed, expect_datagram, udp},
        wait_for,
    },
    lab::Lab,
    peers::at,
};

/// A header of a client of 203.0.113.7:1000 that wants to go there.
fn line(ip: &str, port: u16) -> String {
    format!("PROXY TCP4 203.0.113.7 {ip} 1000 {port}\r\n")
}

#[track_caller]
fn expect_client(pony: &Pony, ip: &str) {
    wait_for("the client's open event", || {
        let mut events = pony.events("open").into_iter();
        events.find(|event| event["source_ip"] == ip)
    });
}

#[test]
fn behind_a_load_balancer_its_clients_are_clients_and_strangers_are_refused() {
    let Some(lab) = Lab::new() else { return };
    let target = lab
        .proxy
        .enter(|| TcpListener::bind("127.0.0.1:80").unwrap());
    let pony = lab.start_example("behind-a-load-balancer.yaml");
    let address = at("192.0.2.254", 8080);
    let mut stream = lab.client.enter(|| connect_from("192.0.2.1", address));
    let header = line("192.0.2.254", 443);
    stream
        .write_all(format!("{header}payload").as_bytes())
        .unwrap();
    expect_bytes(&accept(&target), b"payload");
    expect_client(&pony, "203.0.113.7");
    // On loopback, where the guard does not refuse it before the daemon can.
    let mut stranger = lab.proxy.enter(|| connect(at("127.0.0.1", 8080)));
    // It may be closed before it has said anything.
    drop(stranger.write_all(header.as_bytes()));
    expect_closed(&stranger);
}

#[test]
fn a_target_is_told_who_the_client_is() {
    let Some(lab) = Lab::new() else { return };
    let target = lab
        .target
        .enter(|| TcpListener::bind("198.51.100.1:80").unwrap());
    let _pony = lab.start_example("tell-the-target.yaml");
    let stream = lab.client.enter(|| connect(at("192.0.2.254", 8080)));
    let ports = [stream.local_addr().unwrap().port(), 8080].map(u16::to_be_bytes);
    // Version 2, for a stream of IPv4, with a unique id of 24 bytes.
    let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x27";
    let ends = [&[192, 0, 2, 1, 192, 0, 2, 254], &ports[0][..], &ports[1]].concat();
    expect_bytes(&accept(&target), &[&begin[..], &ends, &[5, 0, 24]].concat());
}

#[test]
fn datagrams_behind_a_proxy_are_their_clients() {
    let Some(lab) = Lab::new() else { return };
    let target = lab.proxy.enter(|| udp("127.0.0.1:53"));
    let pony = lab.start_example("udp-behind-a-proxy.yaml");
    let proxy: UdpSocket = lab.client.enter(|| udp("192.0.2.1:0"));
    proxy.connect(at("192.0.2.254", 5353)).unwrap();
    let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c";
    let ends = [203, 0, 113, 7, 192, 0, 2, 254, 3, 0xe8, 0, 53];
    let question = [&begin[..], &ends, b"question"].concat();
    proxy.send(&question).unwrap();
    let session = expect_datagram(&target, b"question");
    target.send_to(b"answer", session).unwrap();
    expect_datagram(&proxy, b"answer");
    expect_client(&pony, "203.0.113.7");
}

#[test]
fn clients_go_where_their_headers_say_and_nowhere_else() {
    let Some(lab) = Lab::new() else { return };
    let target = lab
        .target
        .enter(|| TcpListener::bind("198.51.100.1:8000").unwrap());
    let _pony = lab.start_example("where-the-header-says.yaml");
    let connect = || {
        lab.client
            .enter(|| connect_from("192.0.2.1", at("192.0.2.254", 8080)))
    };
    let mut stream = connect();
    let header = line("198.51.100.1", 8000);
    stream
        .write_all(format!("{header}payload").as_bytes())
        .unwrap();
    expect_bytes(&accept(&target), b"payload");
    let mut stream = connect();
    let header = line("198.51.100.1", 7999);
    stream.write_all(header.as_bytes()).unwrap();
    expect_closed(&stream);
}
