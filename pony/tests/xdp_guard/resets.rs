//! The reset that the guard answers with, beside the one that Linux answers from a closed port.
//!
//! The same SYNs come to the same address twice: first Linux answers them, then the guard. The
//! answers are compared byte by byte. They differ in what is nobody's to agree on, and only there:
//!
//! - The traffic class. Linux answers with that of the SYN; the guard with none, since it keeps
//!   nothing of a header that it does not judge by.
//! - The flow label of IPv6. Linux makes one up for each connection, which spreads connections over
//!   several ways; a connection of one packet needs none.
//! - IPv4 options that ask for an answer (a route to record, times): Linux answers some of them; the
//!   guard sends no options.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::Duration,
};

use pony::{
    config::{self, AttachMode, GuardMode, Protocol, Refuse},
    kernel::{self, Guard, Mode},
};
use pony_common::{layout::stats::Slot, reason::Reason};
use pony_ebpf::{
    cursor::Cursor,
    fixtures::TCP_PORT,
    header::Flags,
    parse::{Parsed, parse},
};
use socket2::{Domain, Socket, Type};

use crate::{
    assert_on,
    client::{CLIENT, Client, PROXY},
    frames::Frame,
    is_root,
    namespace::Namespace,
    object,
    rules::open_listener,
    setup::access,
};

#[test]
fn the_guard_answers_a_syn_as_linux_does_from_a_closed_port() {
    if !is_root() {
        return;
    }
    object();
    let namespace = Namespace::new();
    let client = Client::connect_to(&namespace);
    // Else Linux leaves the checksum to the interface, which leaves it out.
    namespace.run_tool("ethtool", &["-K", "p0", "tx", "off"]);
    let answers = || client.run(|| syns().map(ask).collect()).join().unwrap();
    let linux: Vec<Vec<u8>> = answers();
    for (attach, mode) in [
        (AttachMode::Native, Mode::Native),
        (AttachMode::Generic, Mode::Generic),
    ] {
        let guard = start(&namespace, attach);
        assert_on(&guard, &[("p0", mode)]);
        if mode == Mode::Native {
            receive_from_driver(&client, &namespace);
        }
        let ours: Vec<Vec<u8>> = answers();
        for (((name, _), linux), ours) in syns().zip(&linux).zip(&ours) {
            assert_eq!(comparable(ours), comparable(linux), "{name}, {mode}");
        }
        let refused = [0, 1].map(|listener| {
            let tally = guard.counters().tally(listener, Slot::Drop(Reason::Acl));
            tally.unwrap().packets
        });
        let asked = syns().count() as u64;
        assert_eq!(refused.iter().sum::<u64>(), asked, "Linux was not asked");
    }
}

/// What is asked, each from a port of its own.
fn syns() -> impl Iterator<Item = (&'static str, Frame)> {
    let syn = |row| Frame::row(row).flags(Flags::SYN);
    let (v4, v6) = ("TCP without payload", "TCP over IPv6");
    let asked = [
        ("a SYN", syn(v4)),
        ("with payload", syn("TCP over IPv4")),
        ("with the last number", syn(v4).sequence(u32::MAX)),
        ("with options of IPv4", syn("4 bytes of options")),
        ("of a traffic class", syn(v4).edit(14 + 1, &[0xb8])),
        ("that offers ECN", syn(v4).flags(ECN_SETUP)),
        ("with other flags", syn(v4).flags(Flags::SYN | PSH | URG)),
        ("over IPv6, with payload", syn(v6)),
        (
            "over IPv6, with the last number",
            syn(v6).sequence(u32::MAX),
        ),
        (
            "over IPv6, of a traffic class and a flow",
            syn(v6).edit(14, &[0x6b, 0x81, 2, 3]),
        ),
        ("over IPv6, that offers ECN", syn(v6).flags(ECN_SETUP)),
        ("with options of TCP", syn("40 bytes of TCP options")),
        ("with a hop-by-hop header", syn("hop by hop")),
        ("with destination options", syn("destination options")),
    ];
    (50_000..)
        .zip(asked)
        .map(|(port, (name, frame))| (name, frame.port(port)))
}

/// Sends it from the client's namespace to the proxy, and waits for the answer.
fn ask((name, frame): (&str, Frame)) -> Vec<u8> {
    let family = usize::from(!frame.is_v4());
    let (from, to) = (CLIENT[family], PROXY[family]);
    let frame = frame.between(from, to);
    let body = frame.body();
    let checksum = !sum(&[&pseudo_header(from, to, &frame.0[body..]), &frame.0[body..]]);
    let Frame(frame) = frame.edit(body + 16, &checksum.to_be_bytes());

    let wire = Socket::new(Domain::PACKET, Type::RAW, Some(EVERY_PROTOCOL.into())).unwrap();
    wire.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = SocketAddr::new(to, 0);
    let raw = Socket::new(Domain::for_address(to), Type::RAW, Some(RAW.into())).unwrap();
    raw.send_to(&frame[14..], &to.into()).unwrap();
    let asked = frame[body..body + 2].try_into().unwrap();
    let mut heard = [0; 2_000];
    loop {
        let len = (&wire)
            .read(&mut heard)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if answers(&heard[..len], u16::from_be_bytes(asked)) {
            return heard[..len].to_vec();
        }
    }
}

/// Whether a frame is from the listener to this port.
fn answers(frame: &[u8], port: u16) -> bool {
    let read = parse(&mut Cursor::from(frame), frame.len().try_into().unwrap());
    let Ok(Parsed::Packet(packet)) = read else {
        return false;
    };
    (packet.from.port.to_host(), packet.to.port.to_host()) == (TCP_PORT, port)
}

/// The answer without what may differ.
fn comparable(answer: &[u8]) -> Vec<u8> {
    let mut frame = answer.to_vec();
    let (_, ip) = frame.split_at_mut(14);
    if ip[0] >> 4 == 4 {
        assert_eq!(sum(&[&ip[..20]]), u16::MAX, "the checksum of {ip:?}");
        ip[1] = 0;
        ip[10..12].fill(0);
    } else {
        ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    }
    frame
}

fn pseudo_header(from: IpAddr, to: IpAddr, segment: &[u8]) -> Vec<u8> {
    let len = u16::try_from(segment.len()).unwrap();
    let mut header: Vec<u8> = [from, to]
        .into_iter()
        .flat_map(|addr| match addr {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        })
        .collect();
    header.extend([0, 6]);
    header.extend(len.to_be_bytes());
    header
}

/// The sum that the Internet checksum is made of (RFC 1071); all but the last part are even.
fn sum(parts: &[&[u8]]) -> u16 {
    let sum = parts.concat().chunks(2).fold(0_u32, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// Makes the client receive what the guard sends back from the driver: a virtual interface takes
/// that only if it has an XDP program itself. The guard's own passes all that comes.
fn receive_from_driver(client: &Client, proxy: &Namespace) {
    let program = proxy.xdp_program("p0").unwrap().to_string();
    let attach = move || {
        Command::new("bpftool")
            .args(["net", "attach", "xdpdrv", "id", &program, "dev", "c0"])
            .status()
    };
    assert!(client.run(attach).join().unwrap().unwrap().success());
}

/// A guard that refuses everybody with a reset.
fn start(namespace: &Namespace, attach: AttachMode) -> Guard {
    let nobody = access(&[], &[], &[]);
    let listeners = PROXY.map(|addr| {
        let mut closed = open_listener("closed", Protocol::Tcp, (addr, TCP_PORT).into());
        closed.rules.access = &nobody;
        closed
    });
    let config = config::Guard {
        mode: GuardMode::Require,
        attach,
        refuse: Refuse::Reset,
        ..config::Guard::default()
    };
    let guard = namespace.run(kernel::start(&config, &listeners, &[]));
    guard.unwrap().unwrap()
}

const PSH: u8 = 0x08;
const URG: u8 = 0x20;
/// RFC 3168, section 6.1.1: SYN with ECE and CWR.
const ECN_SETUP: u8 = Flags::SYN | 0x40 | 0x80;
/// `ETH_P_ALL`, in network byte order.
const EVERY_PROTOCOL: i32 = (3_u16.to_be()) as i32;
/// `IPPROTO_RAW`: the header is in what is sent.
const RAW: i32 = 255;
/// Longer than an answer takes: a test fails then, and does not hang.
const PATIENCE: Duration = Duration::from_secs(20);
