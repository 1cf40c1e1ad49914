//! Real connections and datagrams from one namespace to another, counted to the byte.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process, thread,
    time::Duration,
};

use pony::{
    config::{self, GuardMode, Protocol},
    kernel::{self, By, ClientUse, Guard, GuardListener, Mode, Query},
};
use pony_common::layout::reads::NotOurs;
use socket2::SockRef;

use crate::{
    assert_on,
    client::Client,
    is_root,
    namespace::Namespace,
    object,
    rules::{open_listener, passed},
};

#[test]
fn counts_exactly_what_tcp_clients_send() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let client = Client::connect_to(&namespace);
    let v4 = TcpListener::bind("10.77.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::]:0").unwrap();
    let listeners = [
        open_listener("exact", Protocol::Tcp, v4.local_addr().unwrap()),
        open_listener("wildcard", Protocol::Tcp, v6.local_addr().unwrap()),
    ];
    let guard = start(&namespace, &listeners);
    assert_eq!(passed(&guard, 0).bytes, 0, "there from the start");

    let wildcard_port = v6.local_addr().unwrap().port();
    let targets = vec![
        (v4.local_addr().unwrap(), 4_000_000),
        (
            SocketAddr::new("10.77.0.1".parse().unwrap(), wildcard_port),
            70_000,
        ),
        (
            SocketAddr::new("fd77::1".parse().unwrap(), wildcard_port),
            3_000_001,
        ),
    ];
    let sending = client.run(move || send_all(targets));
    for socket in [&v4, &v6, &v6] {
        take_all(socket);
    }
    let again = sending.join().unwrap();

    for (number, name, sent) in [(0, "exact", 4_000_000), (1, "wildcard", 3_070_001)] {
        let counted = passed(&guard, number).bytes;
        // What had to be sent twice was seen twice.
        assert!(
            counted == sent || again > 0 && counted > sent,
            "{name}: {counted}, {again} again"
        );
    }
    let exact = by_client("exact");
    assert_eq!(exact.len(), 1, "{exact:?}");
    assert_eq!(exact[0].client.to_string(), "10.77.0.2");
    assert_eq!(exact[0].bytes_in, passed(&guard, 0).bytes);
    let wildcard = by_client("wildcard").into_iter();
    let mut clients: Vec<_> = wildcard.map(|client| client.client.to_string()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["10.77.0.2", "fd77::/64"], "IPv6 by its prefix");
}

#[test]
fn counts_exactly_what_udp_clients_send() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let client = Client::connect_to(&namespace);
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let guard = start(
        &namespace,
        &[open_listener(
            "dns",
            Protocol::Udp,
            socket.local_addr().unwrap(),
        )],
    );

    let sizes = [0, 1, 17, 18, 512, 1_200, 1_452];
    let sending = client.run(move || {
        for (from, to) in [("10.77.0.2:0", "10.77.0.1"), ("[fd77::2]:0", "fd77::1")] {
            let socket = UdpSocket::bind(from).unwrap();
            socket.connect((to, port)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            for size in sizes {
                socket.send(&vec![7; size]).unwrap();
                let answer = socket.recv(&mut [0; 2_000]).unwrap();
                assert_eq!(answer, size);
            }
        }
    });
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2_000];
    for _ in 0..2 * sizes.len() {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..len], from).unwrap();
    }
    sending.join().unwrap();

    let sent: u64 = sizes.iter().map(|size| *size as u64).sum();
    assert_eq!(passed(&guard, 0).bytes, 2 * sent);
    assert_eq!(passed(&guard, 0).packets, 2 * sizes.len() as u64);
    for client in by_client("dns") {
        assert_eq!(
            (client.packets_in, client.bytes_in),
            (sizes.len() as u64, sent),
            "{client:?}"
        );
    }
    let arp = guard.counters().read(NotOurs::NotIp as u32);
    assert!(arp > Some(0), "ARP");
}

/// Sends this many bytes to each target, and returns how many segments had to be sent again.
fn send_all(targets: Vec<(SocketAddr, usize)>) -> u64 {
    for (target, len) in targets {
        let mut stream = TcpStream::connect(target).unwrap();
        stream.write_all(&vec![7; len]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The answer comes when all has arrived.
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    retransmissions()
}

/// Takes all that the next client sends, and then answers.
fn take_all(socket: &TcpListener) {
    // Also limits how long `accept` waits.
    SockRef::from(socket)
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let (mut stream, _) = socket.accept().unwrap();
    io::copy(&mut stream, &mut io::sink()).unwrap();
    stream.write_all(&[1]).unwrap();
}

fn start(namespace: &Namespace, listeners: &[GuardListener<'_>]) -> Guard {
    object();
    let config = config::Guard {
        mode: GuardMode::Require,
        instance: Some(instance()),
        ..config::Guard::default()
    };
    let guard = namespace
        .run(kernel::start(&config, listeners, &[]))
        .unwrap()
        .unwrap();
    assert_on(&guard, &[("p0", Mode::Native)]);
    guard
}

/// The name of the guard that this thread has started.
fn instance() -> String {
    format!("traffic-{}-{:?}", process::id(), thread::current().id())
}

fn by_client(listener: &str) -> Vec<ClientUse> {
    let query = Query {
        instance: Some(&instance()),
        listener: Some(listener),
        by: By::Bytes,
        limit: 10,
    };
    kernel::clients(&query).unwrap().clients
}

/// How many TCP segments were sent again in this thread's namespace.
fn retransmissions() -> u64 {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let at = names
        .split(' ')
        .position(|name| name == "RetransSegs")
        .unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Longer than anything here takes: a test fails then, and does not hang.
const PATIENCE: Duration = Duration::from_secs(20);
