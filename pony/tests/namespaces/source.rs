//! Targets that see their clients' own addresses.

mod doctor;
mod dynamic;
mod routes;
mod trouble;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use crate::{
    harness::{
        Entry, Launch, PATIENCE,
        peers::{connect, exchange, patient, pattern},
        wait_for, wait_until,
    },
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp, udp},
    namespace::Namespace,
    servers::{self, WebServer},
    tools,
};

/// How the proxy is reached by clients of either family.
const PROXIES: [&str; 2] = [PROXY_V4, PROXY_V6];

/// Targets on the proxy's own loopback, one for each family.
const NEAR: [&str; 2] = ["127.0.0.1", "[::1]"];

#[test]
fn a_target_on_loopback_sees_each_client_itself() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    be_strict(&lab.proxy);
    let _pony = lab.start(Launch::new(&near_tcp()).and(&near_udp()));
    expect_each_client_itself(&lab);
}

#[test]
fn a_target_on_another_machine_sees_each_client_itself_where_its_answers_are_routed_here() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.target, [TARGET_V4, TARGET_V6]);
    lab.route_answers_through_the_proxy();
    lab.proxy
        .ip("rule add from 198.51.100.1 iif to-target lookup 123\n\
         route add local default dev lo table 123\n");
    let proxy = &lab.proxy;
    proxy.run("ip -6 rule add from 2001:db8:2::1 iif to-target lookup 123");
    proxy.run("ip -6 route add local default dev lo table 123");
    let entry = |entry: Entry| {
        entry
            .with(&format!("target_address_v6: \"{TARGET_V6}:7\""))
            .with("preserve_source: true, routing: manual")
    };
    let target = format!("{TARGET_V4}:7");
    let launch = Launch::new(&entry(tcp("tcp", 7000, &target)));
    let _pony = lab.start(launch.and(&entry(udp("udp", 7000, &target))));
    expect_each_client_itself(&lab);
}

#[test]
fn every_lane_serves_a_client_that_is_seen_itself() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.proxy);
    let bytes = pattern(4 << 20);
    for lane in ["copy", "splice", "sockmap"] {
        let pony = lab.start(Launch::new(&near_tcp().lane(lane)));
        for proxy in PROXIES {
            let stream = lab.client.enter(|| connect(at(proxy, 7000)));
            exchange(&stream, &bytes);
        }
        let labels = [format!("lane=\"{lane}\"")];
        let moved = || pony.metric("packetpony_lane_bytes_total", &labels);
        lab.proxy
            .enter(|| wait_until("bytes in the lane", || moved() > 0.0));
    }
}

#[test]
fn with_the_example_nginx_logs_the_client() {
    let Some(lab) = Lab::new() else { return };
    let server = WebServer::start(&lab.proxy);
    fs::write(server.file("page"), "a page\n").unwrap();
    let _pony = lab.start_example("keep-client-address.yaml");
    for (proxy, client) in PROXIES.into_iter().zip(["192.0.2.1", "2001:db8:1::1"]) {
        let page = lab.client.enter(|| {
            let line = format!("curl --silent --show-error http://{proxy}:8080/page --globoff");
            tools::run(&mut tools::command(&line), "")
        });
        assert_eq!(page, "a page\n");
        wait_for("the client in nginx's log", || {
            let log = fs::read_to_string(server.access_log()).unwrap();
            log.lines().any(|line| line == client).then_some(())
        });
    }
}

#[test]
fn the_port_that_the_client_connected_to_is_the_targets_where_it_has_none() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks_at(&lab.target, TARGET_V4, 7000);
    tell_who_asks_at(&lab.target, TARGET_V6, 7001);
    let entry = |port| {
        tcp(&format!("at-{port}"), port, TARGET_V4)
            .with(&format!("target_address_v6: \"{TARGET_V6}\""))
    };
    let pony = lab.start(Launch::new(&entry(7000)).and(&entry(7001)));
    for (proxy, port, target) in [
        (PROXY_V4, 7000, "198.51.100.1"),
        (PROXY_V6, 7001, "2001:db8:2::1"),
    ] {
        let stream = lab.client.enter(|| connect(at(proxy, port)));
        assert_ne!(seen(&stream).ip(), stream.local_addr().unwrap().ip());
        let opened = wait_for("the open event", || {
            let mut events = pony.events("open").into_iter();
            events.find(|event| event["target_ip"] == target)
        });
        assert_eq!(opened["target_port"], port);
    }
}

/// A TCP listener on port 7000 in front of [`NEAR`].
fn near_tcp() -> Entry {
    near(tcp("tcp", 7000, "127.0.0.1:7"))
}

/// A UDP listener on port 7000 in front of [`NEAR`].
fn near_udp() -> Entry {
    near(udp("udp", 7000, "127.0.0.1:7"))
}

fn near(entry: Entry) -> Entry {
    entry.with("target_address_v6: \"[::1]:7\", preserve_source: true")
}

fn at(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// Has the kernel look where answers to a packet's source would go, as many machines do.
fn be_strict(namespace: &Namespace) {
    namespace.enter(|| fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap());
}

/// Both families and both protocols, on port 7000.
#[track_caller]
fn expect_each_client_itself(lab: &Lab) {
    for proxy in PROXIES {
        let stream = lab.client.enter(|| connect(at(proxy, 7000)));
        assert_eq!(seen(&stream), stream.local_addr().unwrap());
        let socket = lab.client.enter(|| connected_udp(at(proxy, 7000)));
        assert_eq!(seen_udp(&socket), socket.local_addr().unwrap());
    }
}

/// Tells everybody on port 7 of these addresses where they are seen to come from.
fn tell_who_asks(namespace: &Namespace, hosts: [&str; 2]) {
    for host in hosts {
        tell_who_asks_at(namespace, host, 7);
    }
}

fn tell_who_asks_at(namespace: &Namespace, host: &str, port: u16) {
    let address = at(host, port);
    namespace.enter(|| {
        let tcp = TcpListener::bind(address).unwrap();
        thread::spawn(move || {
            // Kept open: who comes again has to come from somewhere else.
            let mut open = Vec::new();
            while let Ok((mut stream, client)) = tcp.accept() {
                drop(writeln!(stream, "{client}"));
                open.push(stream);
            }
        });
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            while let Ok((_, client)) = udp.recv_from(&mut [0; 16]) {
                drop(udp.send_to(client.to_string().as_bytes(), client));
            }
        });
    });
}

/// Where the target sees the client.
#[track_caller]
fn seen(stream: &TcpStream) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

#[track_caller]
fn seen_udp(socket: &UdpSocket) -> SocketAddr {
    socket.send(b"who?").unwrap();
    let mut buffer = [0; 100];
    let len = socket.recv(&mut buffer).unwrap();
    str::from_utf8(&buffer[..len]).unwrap().parse().unwrap()
}

fn connected_udp(address: SocketAddr) -> UdpSocket {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(address).unwrap();
    socket
}

/// Connects from this address and port, from which other connections may be open.
fn connect_from(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(from);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    patient(socket.into())
}
