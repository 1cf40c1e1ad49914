//! Which socket gets what, in the real kernel.

use std::{
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::kernel::lab;

/// A listener reached at these addresses and ports by this socket.
struct Listener<S> {
    protocol: Protocol,
    span: config::Span,
    socket: S,
}

impl<S: AsFd> Listener<S> {
    fn spanning(&self) -> Spanning<'_> {
        Spanning {
            protocol: self.protocol,
            span: &self.span,
            v6_only: false,
            socket: self.socket.as_fd(),
        }
    }
}

fn tcp(net: &str, bound: &str) -> Listener<TcpListener> {
    Listener {
        protocol: Protocol::Tcp,
        span: span(net),
        socket: TcpListener::bind(bound).unwrap(),
    }
}

fn span(net: &str) -> config::Span {
    config::Span {
        net: net.parse().unwrap(),
        ports: 1000..=2000,
    }
}

/// A client's connection, if somebody accepts it.
fn connect(to: &str) -> io::Result<TcpStream> {
    TcpStream::connect(to)
}

/// What the client connected to whose connection waits at this socket.
#[track_caller]
fn accepted(socket: &TcpListener) -> String {
    let (stream, _) = socket.accept().unwrap();
    stream.local_addr().unwrap().to_string()
}

#[track_caller]
fn refused(to: &str) {
    assert_eq!(
        connect(to).unwrap_err().kind(),
        ErrorKind::ConnectionRefused,
        "{to}"
    );
}

#[test]
fn a_connection_to_any_port_of_the_range_comes_to_the_socket_as_what_it_was_for() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    lab::run("ip link set lo up");
    let listener = tcp("::/0", "[::]:1000");
    refused("127.0.0.1:1500");
    let ports = Ports::start(&[listener.spanning()], &[]).unwrap();

    for to in [
        "127.0.0.1:1500",
        "127.9.9.9:2000",
        "[::1]:1001",
        "127.0.0.1:1000",
    ] {
        let _client = connect(to).unwrap();
        let at: SocketAddr = accepted(&listener.socket).parse().unwrap();
        let at = SocketAddr::new(at.ip().to_canonical(), at.port());
        assert_eq!(at.to_string(), to);
    }
    for to in ["127.0.0.1:999", "127.0.0.1:2001", "[::1]:2001"] {
        refused(to);
    }

    let _client = connect("127.0.0.1:1500").unwrap();
    drop(ports);
    // Another test that starts a process just now gives it the descriptors, for a moment.
    let patience_ends = Instant::now() + PATIENCE;
    while connect("127.0.0.1:1500").is_ok() {
        accepted(&listener.socket);
        assert!(Instant::now() < patience_ends, "the program is still there");
    }
    // Who was there before still is.
    accepted(&listener.socket);
}

#[test]
fn the_clients_are_spread_over_all_sockets_of_a_group() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    lab::run("ip link set lo up");
    let group = [0, 1].map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        let address: SocketAddr = "127.0.0.1:1000".parse().unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(CLIENTS).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpListener::from(socket)
    });
    let listener = Listener {
        protocol: Protocol::Tcp,
        span: span("127.0.0.0/8"),
        socket: group[0].as_fd(),
    };
    let _ports = Ports::start(&[listener.spanning()], &[]).unwrap();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| connect("127.0.0.1:1500").unwrap())
        .collect();
    let [first, second] = group.map(|socket| {
        let accepted = (0..clients.len()).map_while(|_| socket.accept().ok());
        accepted.count()
    });
    assert_eq!(first + second, clients.len());
    assert!(first > 0 && second > 0, "{first} {second}");
}

#[test]
fn only_the_addresses_of_the_prefix_are_taken_and_they_need_not_be_ours() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    lab::run("ip link set lo up");
    lab::run("ip route add local 192.0.2.0/24 dev lo");
    lab::run("ip route add local 198.51.100.0/24 dev lo");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_freebind_v4(true).unwrap();
    let bound: SocketAddr = "192.0.2.0:1000".parse().unwrap();
    socket.bind(&bound.into()).unwrap();
    socket.listen(1).unwrap();
    let listener = Listener {
        protocol: Protocol::Tcp,
        span: span("192.0.2.0/24"),
        socket: TcpListener::from(socket),
    };
    let _ports = Ports::start(&[listener.spanning()], &[]).unwrap();
    let _client = connect("192.0.2.77:1234").unwrap();
    assert_eq!(accepted(&listener.socket), "192.0.2.77:1234");
    refused("198.51.100.77:1234");
}

#[test]
fn who_listens_on_one_port_keeps_it_and_who_is_a_stranger_does_not() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    lab::run("ip link set lo up");
    let listener = tcp("0.0.0.0/0", "0.0.0.0:1000");
    let [one, everywhere, stranger] = ["127.0.0.1:1500", "0.0.0.0:1600", "127.0.0.1:1700"]
        .map(|at| TcpListener::bind(at).unwrap());
    let single = |socket: &TcpListener| Single {
        protocol: Protocol::Tcp,
        addr: socket.local_addr().unwrap(),
        v6_only: false,
    };
    let before = connect("127.0.0.1:1700").unwrap();
    let _ports =
        Ports::start(&[listener.spanning()], &[single(&one), single(&everywhere)]).unwrap();
    for (to, socket) in [
        ("127.0.0.1:1500", &one),
        ("127.0.0.2:1500", &listener.socket),
        ("127.0.0.2:1600", &everywhere),
        ("127.0.0.1:1700", &listener.socket),
    ] {
        let _client = connect(to).unwrap();
        assert_eq!(accepted(socket), to);
    }
    let (mut there, _) = stranger.accept().unwrap();
    io::Write::write_all(&mut there, b"still here").unwrap();
    drop(there);
    assert_eq!(io::read_to_string(before).unwrap(), "still here");
}

#[test]
fn datagrams_of_the_range_come_to_its_socket_and_those_of_connected_sockets_do_not() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    lab::run("ip link set lo up");
    let listener = Listener {
        protocol: Protocol::Udp,
        span: span("0.0.0.0/0"),
        socket: UdpSocket::bind("127.0.0.1:1000").unwrap(),
    };
    let patient = |at| {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    listener.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ports = Ports::start(&[listener.spanning()], &[]).unwrap();
    let (client, connected) = (patient("127.0.0.1:0"), patient("127.0.0.1:1500"));
    connected.connect(client.local_addr().unwrap()).unwrap();

    client.send_to(b"for the range", "127.0.0.1:1501").unwrap();
    let mut buffer = [0; 64];
    let (len, from) = listener.socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"for the range");
    assert_eq!(from, client.local_addr().unwrap());

    client.send_to(b"an answer", "127.0.0.1:1500").unwrap();
    let len = connected.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"an answer");
}

/// So many that not all of them go to one of two sockets by chance.
const CLIENTS: i32 = 64;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
