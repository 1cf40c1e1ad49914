//! Many connections at once, and datagrams of many sizes.

use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::{
    harness::{
        Launch, PATIENCE, Pony,
        peers::{expect_bytes, patient, pattern, ping_udp, read_to_end},
        wait_eq,
    },
    kernel::{Losses, Traffic},
    lab::{CLIENT_V4, CLIENT_V6, Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp, udp},
    servers,
};

#[test]
fn two_hundred_connections_at_once_and_each_client_has_its_bytes_in_the_ledger() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony =
        lab.start(Launch::new(&tcp("echo", 7000, &format!("{TARGET_V6}:7"))).guard("require"));

    let clients = clients();
    let streams: Vec<_> = (0..200)
        .map(|number| (number, clients[number % 4]))
        .collect();
    let streams: Vec<_> = lab.client.enter(|| {
        let streams = streams.into_iter();
        streams
            .map(|(number, from)| (length(number), connect(from, 7000)))
            .collect()
    });
    lab.proxy.enter(|| wait_eq(200, || pony.active("echo")));

    exchange(&streams);
    drop(streams);

    let sent = (0..200).map(length).map(|len| len as u64).sum::<u64>();
    assert_eq!(
        lab.counted(&pony, "echo").bytes,
        sent,
        "{}",
        Losses::of(&lab.client)
    );
    let of_client = |client| {
        (client..200)
            .step_by(4)
            .map(|number| length(number) as u64)
            .sum()
    };
    let expected = (0..4).map(|client| (as_client(clients[client]), of_client(client)));
    assert_eq!(ledger_bytes(&lab), sorted(expected.collect()));
    lab.proxy.enter(|| {
        wait_eq(0, || pony.active("echo"));
        assert_eq!(pony.connections("echo", "accepted"), 200);
        for direction in ["sent", "received"] {
            assert_eq!(pony.bytes("echo", direction), sent);
        }
    });
}

#[test]
fn datagrams_of_every_size_come_back_and_are_counted_one_by_one() {
    let Some(lab) = Lab::new() else { return };
    let pony = start_udp(&lab);

    let mut sent = Traffic {
        packets: 0,
        bytes: 0,
    };
    for from in clients() {
        let client = udp_client(&lab, from);
        // What fits into one frame, over IPv6 too.
        for len in (0..=1452).step_by(11) {
            ping_udp(&client, &pattern(len));
            sent.packets += 1;
            sent.bytes += len as u64;
        }
    }

    assert_eq!(lab.counted(&pony, "echo"), sent);
    let of_client = sent.bytes / 4;
    let expected = clients().map(|client| (as_client(client), of_client));
    assert_eq!(ledger_bytes(&lab), sorted(expected.to_vec()));
    the_daemon_counted(&lab, &pony, sent);
}

#[test]
fn a_datagram_in_fragments_arrives_whole_and_the_kernel_counts_its_first_fragment() {
    let Some(lab) = Lab::new() else { return };
    let pony = start_udp(&lab);

    ping_udp(&udp_client(&lab, CLIENT_V4[0].into()), &pattern(4000));
    let first = Traffic {
        packets: 1,
        bytes: 1500 - 20 - 8,
    };
    assert_eq!(lab.counted(&pony, "echo"), first);
    // Two more fragments each: of the question at one interface, of the answer at the other.
    assert_eq!(
        lab.counted_others(&pony, "reason=\"later_fragment\""),
        2 + 2
    );

    ping_udp(&udp_client(&lab, CLIENT_V6[0].into()), &pattern(4000));
    // After the fragment's header is room for a multiple of eight bytes.
    let second = (1500 - 40 - 8) / 8 * 8 - 8;
    let both = Traffic {
        packets: 2,
        bytes: first.bytes + second,
    };
    assert_eq!(lab.counted(&pony, "echo"), both);
    the_daemon_counted(
        &lab,
        &pony,
        Traffic {
            packets: 2,
            bytes: 8000,
        },
    );
}

/// Lets all flow at once: every request is under way before the first answer is read.
fn exchange(streams: &[(usize, TcpStream)]) {
    let requests: Vec<_> = streams.iter().map(|&(len, _)| pattern(len)).collect();
    for ((_, stream), request) in streams.iter().zip(&requests) {
        std::io::Write::write_all(&mut &*stream, request).unwrap();
    }
    for ((_, stream), request) in streams.iter().zip(&requests) {
        expect_bytes(stream, request);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            read_to_end(stream),
            b"",
            "the end comes after the last byte"
        );
    }
}

fn start_udp(lab: &Lab) -> Pony {
    servers::echo(&lab.target);
    lab.start(Launch::new(&udp("echo", 7000, &format!("{TARGET_V4}:7"))).guard("require"))
}

#[track_caller]
fn the_daemon_counted(lab: &Lab, pony: &Pony, sent: Traffic) {
    lab.proxy.enter(|| {
        for direction in ["sent", "received"] {
            let packets = pony.packets("echo", direction);
            let bytes = pony.bytes("echo", direction);
            assert_eq!(Traffic { packets, bytes }, sent, "{direction}");
        }
    });
}

fn clients() -> [IpAddr; 4] {
    [
        CLIENT_V4[0].into(),
        CLIENT_V6[0].into(),
        CLIENT_V4[1].into(),
        CLIENT_V6[1].into(),
    ]
}

/// The address that stands for a client: of IPv6 only the prefix counts.
fn as_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

fn ledger_bytes(lab: &Lab) -> Vec<(IpAddr, u64)> {
    let clients = lab.ledger().into_iter();
    clients
        .map(|(client, traffic)| (client, traffic.bytes))
        .collect()
}

fn sorted(mut clients: Vec<(IpAddr, u64)>) -> Vec<(IpAddr, u64)> {
    clients.sort_by_key(|(client, _)| *client);
    clients
}

/// How much each connection carries; no two the same.
fn length(number: usize) -> usize {
    20_000 + 37 * number
}

fn connect(from: IpAddr, port: u16) -> TcpStream {
    let to = proxy(from, port);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    patient(socket.into())
}

fn udp_client(lab: &Lab, from: IpAddr) -> UdpSocket {
    let socket = lab.client.enter(|| UdpSocket::bind((from, 0)).unwrap());
    socket.connect(proxy(from, 7000)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The proxy as a client of this family reaches it.
fn proxy(from: IpAddr, port: u16) -> SocketAddr {
    let host = if from.is_ipv4() { PROXY_V4 } else { PROXY_V6 };
    format!("{host}:{port}").parse().unwrap()
}
