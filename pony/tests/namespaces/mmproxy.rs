//! `pony mmproxy` in go-mmproxy's own scenarios: its flags, its routes, its backends.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use crate::{
    harness::{
        Entry, Launch, PATIENCE, Pony,
        peers::{
            accept, connect, expect_bytes, expect_closed, expect_datagram, expect_reset,
            read_to_end, reset,
        },
        wait_eq,
    },
    lab::Lab,
};

/// A machine with go-mmproxy's routes, and backends on its loopback.
struct Machine {
    lab: Lab,
    backends: [TcpListener; 2],
}

impl Machine {
    fn new() -> Option<Self> {
        let lab = Lab::new()?;
        for family in ["", "-6 "] {
            let from = if family.is_empty() {
                "127.0.0.1/8"
            } else {
                "::1/128"
            };
            lab.proxy
                .run(&format!("ip {family}rule add from {from} iif lo table 123"));
            lab.proxy.run(&format!(
                "ip {family}route add local default dev lo table 123"
            ));
        }
        let backends = lab
            .proxy
            .enter(|| ["127.0.0.1:54321", "[::1]:54321"].map(|at| TcpListener::bind(at).unwrap()));
        Some(Self { lab, backends })
    }

    fn start(&self, flags: &[&str]) -> Pony {
        let usual = [
            "mmproxy",
            "-l",
            "0.0.0.0:12345",
            "-4",
            "127.0.0.1:54321",
            "-6",
            "[::1]:54321",
        ];
        let flags = [&usual, flags].concat();
        // What a configuration would say, the flags say.
        let launch = Launch::new(&Entry::tcp("127.0.0.1:1"));
        self.lab.start(launch.arguments(&flags))
    }

    /// A connection from this machine itself that begins with this.
    fn says(&self, to: &str, bytes: &[u8]) -> TcpStream {
        let to: SocketAddr = to.parse().unwrap();
        let mut stream = self.lab.proxy.enter(|| connect(to));
        stream.write_all(bytes).unwrap();
        stream
    }
}

const NEAR: &str = "127.0.0.1:12345";

#[test]
fn a_backend_sees_the_client_of_the_header_with_its_port() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _pony = machine.start(&[]);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb";
    let v6 = b"PROXY TCP6 fd00::5 fd00::6 56324 443\r\n";
    for (header, backend, client) in [
        (
            &b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"[..],
            0,
            "192.168.0.1:56324",
        ),
        (v2, 0, "192.168.0.1:56324"),
        // go-mmproxy since 2.3.1 dials the IPv4 backend from this address, which cannot be.
        (v6, 1, "[fd00::5]:56324"),
    ] {
        let stream = machine.says(NEAR, &[header, b"moredata"].concat());
        let backend = accept(&machine.backends[backend]);
        assert_eq!(backend.peer_addr().unwrap().to_string(), client);
        expect_bytes(&backend, b"moredata");
        // Half-close: the last answer still arrives.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&backend), b"");
        (&backend).write_all(b"the last answer").unwrap();
        drop(backend);
        assert_eq!(read_to_end(&stream), b"the last answer");
    }
}

#[test]
fn a_front_end_that_does_not_say_who_the_client_is_is_the_client() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _pony = machine.start(&[]);
    for (to, backend) in [(NEAR, 0), ("[::1]:12345", 1)] {
        let _stream = machine.says(to, b"PROXY UNKNOWN\r\nmoredata");
        let backend = accept(&machine.backends[backend]);
        assert!(backend.peer_addr().unwrap().ip().is_loopback());
        expect_bytes(&backend, b"moredata");
    }
}

#[test]
fn a_dynamic_destination_is_that_of_the_header() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _pony = machine.start(&["-dynamic-destination"]);
    let elsewhere = machine
        .lab
        .proxy
        .enter(|| TcpListener::bind("127.0.0.1:55443").unwrap());
    let _stream = machine.says(
        NEAR,
        b"PROXY TCP4 192.168.0.1 127.0.0.1 56324 55443\r\nmoredata",
    );
    let backend = accept(&elsewhere);
    assert_eq!(
        backend.peer_addr().unwrap().to_string(),
        "192.168.0.1:56324"
    );
    expect_bytes(&backend, b"moredata");
}

#[test]
fn datagrams_come_from_the_client_and_answers_go_back_without_a_header() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _pony = machine.start(&["-p", "udp", "-close-after", "5"]);
    let bind = |at: &str| {
        let socket = machine.lab.proxy.enter(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let (backend, front_end) = (bind("127.0.0.1:54321"), bind("127.0.0.1:0"));
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb";
    front_end
        .send_to(&[&header[..], b"question"].concat(), NEAR)
        .unwrap();
    let client = expect_datagram(&backend, b"question");
    assert_eq!(client.to_string(), "192.168.0.1:56324");
    backend.send_to(b"answer", client).unwrap();
    expect_datagram(&front_end, b"answer");
}

#[test]
fn who_is_in_no_allowed_subnet_is_closed_before_a_byte_is_read() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("subnets");
    std::fs::write(&file, "# nobody else\n10.9.0.0/16\n").unwrap();
    let _pony = machine.start(&["-allowed-subnets", file.to_str().unwrap()]);
    let stream = machine.lab.proxy.enter(|| connect(NEAR.parse().unwrap()));
    expect_closed(&stream);
}

#[test]
fn a_file_of_subnets_without_any_lets_nobody_in() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let pony = machine.start(&["-allowed-subnets", file.path().to_str().unwrap()]);
    let stream = machine.lab.proxy.enter(|| connect(NEAR.parse().unwrap()));
    expect_closed(&stream);
    pony.message_where("Configuration", |said| {
        said["problem"] == "is empty, which trusts nobody"
    });
}

#[test]
fn a_machine_without_ipv6_needs_no_flag_for_it() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine
        .lab
        .proxy
        .enter(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
    let launch = Launch::new(&Entry::tcp("127.0.0.1:1"));
    let flags = ["mmproxy", "-l", "0.0.0.0:12345", "-4", "127.0.0.1:54321"];
    let _pony = machine.lab.start(launch.arguments(&flags));
    let _stream = machine.says(NEAR, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    let backend = accept(&machine.backends[0]);
    assert_eq!(
        backend.peer_addr().unwrap().to_string(),
        "192.168.0.1:56324"
    );
}

#[test]
fn each_verbosity_says_more_of_what_becomes_of_connections() {
    const BY_LEVEL: [&[&str]; 3] = [
        &["Connection closed: no valid PROXY header"],
        &["Connection ended without a byte", "Connection broken"],
        &[
            "PROXY header accepted",
            "Connected to target",
            "Client has sent everything",
            "Target has sent everything",
        ],
    ];
    let Some(machine) = Machine::new() else {
        return;
    };
    for (level, port) in (0..3).zip(50_000..) {
        let pony = machine.start(&["-v", &level.to_string()]);
        drop(machine.lab.proxy.enter(|| connect(NEAR.parse().unwrap())));
        let header = |port| format!("PROXY TCP4 192.168.0.1 192.168.0.11 {port} 443\r\n");
        let broken = machine.says(NEAR, header(port).as_bytes());
        let backend = accept(&machine.backends[0]);
        reset(broken);
        expect_reset(&backend);
        let ended = machine.says(NEAR, header(port + 10).as_bytes());
        let backend = accept(&machine.backends[0]);
        ended.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&backend), b"");
        drop(backend);
        assert_eq!(read_to_end(&ended), b"");
        expect_closed(&machine.says(NEAR, b"GET / HTTP/1.1\r\n"));

        let (said, unsaid) = BY_LEVEL.split_at(level + 1);
        for text in said.concat() {
            if text != "Connection broken" || level == 1 {
                pony.message(text);
            }
        }
        for text in unsaid.concat() {
            let is_said = pony.json().iter().any(|line| line["message"] == text);
            assert!(!is_said, "-v {level}: {text}");
        }
        if level == 2 {
            // Every connection has its events then.
            wait_eq(2, || pony.events("close").len());
            assert!(pony.closes_with("client: ")["error"].is_string());
        }
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_1() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _taken = machine
        .lab
        .proxy
        .enter(|| TcpListener::bind("[::]:12345").unwrap());
    let launch = Launch::new(&Entry::tcp("127.0.0.1:1"));
    let launch = launch.arguments(&["mmproxy", "-l", "0.0.0.0:12345"]);
    let finished = machine.lab.proxy.enter(|| launch.finish());
    finished.expect(1, &["cannot listen on tcp", "ss -lntup"]);
}
