use std::{
    io::{BufRead, BufReader, Read as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    time::Duration,
};

use chrono::SecondsFormat;

use super::*;
use crate::{
    config::{Host, HostPort, Protocol, Severity},
    observe::{
        FlowEvent,
        event::{EventKind, Record},
        fixture::{event, local_time, message, record},
    },
};

const LONG: Duration = Duration::from_secs(20);

fn host_port(address: SocketAddr) -> HostPort {
    HostPort {
        host: Host::Ip(address.ip()),
        port: address.port(),
    }
}

fn connect(transport: SyslogTransport) -> Syslog {
    let config = config::Syslog {
        transport,
        tag: "pony".to_owned(),
        priority: Severity::Info,
    };
    Syslog::connect(&config).unwrap()
}

/// Everything before the text of a line, for a receiver on another machine.
fn header(priority: u8) -> String {
    let time = local_time().to_rfc3339_opts(SecondsFormat::Secs, true);
    let host = rustix::system::uname();
    let (host, pid) = (host.nodename().to_str().unwrap(), std::process::id());
    format!("<{priority}>{time} {host} pony[{pid}]: ")
}

fn send(sink: &mut Syslog, text: &'static str) -> Result<(), Failure> {
    sink.write(&mut [record(text)].into())
}

fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 16 << 10];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn a_datagram_has_priority_time_host_and_tag() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let mut sink = connect(SyslogTransport::Udp(host_port(
        server.local_addr().unwrap(),
    )));
    let close = event(EventKind::Close, Protocol::Tcp);
    let broken = FlowEvent {
        error: Some("reset".to_owned()),
        ..close.clone()
    };
    let rows = [
        (
            Record::Message(message(Severity::Debug, "text")),
            31,
            "text",
        ),
        (Record::Message(message(Severity::Info, "text")), 30, "text"),
        (
            Record::Message(message(Severity::Warning, "text")),
            28,
            "text",
        ),
        (
            Record::Message(message(Severity::Error, "text")),
            27,
            "text",
        ),
        (
            Record::Flow(close),
            30,
            "listener=ssh-test proto=tcp event=close src=127.0.0.1:49500 dst=127.0.0.1:22 \
             duration=120016ms bytes_sent=1024 bytes_recv=29",
        ),
        (
            Record::Flow(broken),
            28,
            "listener=ssh-test proto=tcp event=close src=127.0.0.1:49500 dst=127.0.0.1:22 \
             duration=120016ms bytes_sent=1024 bytes_recv=29 error=\"reset\"",
        ),
    ];
    for (record, priority, text) in rows {
        sink.write(&mut [record.into()].into()).unwrap();
        assert_eq!(received(&server), format!("{}{text}\n", header(priority)));
    }
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let server = UdpSocket::bind("[::1]:0").unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    let mut sink = connect(SyslogTransport::Udp(host_port(
        server.local_addr().unwrap(),
    )));
    let mut long = message(Severity::Info, "text");
    for name in ["a", "b", "c", "d"] {
        long = long.with(name, "ö".repeat(4000));
    }
    sink.write(&mut [Record::Message(long).into()].into())
        .unwrap();
    let line = received(&server);
    assert!(
        line.len() < 8300 && line.ends_with("…\n"),
        "{} bytes",
        line.len()
    );
}

#[test]
fn refused_datagrams_are_counted_and_later_ones_arrive() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut sink = connect(SyslogTransport::Udp(host_port(address)));
    drop(server);
    // The refusal of the first arrives with one of the next.
    let failure = (0..1000)
        .find_map(|_| send(&mut sink, "lost").err())
        .unwrap();
    assert!(failure.lost >= 1);
    assert!(
        failure.error.contains("refuses datagrams"),
        "{}",
        failure.error
    );

    let server = UdpSocket::bind(address).unwrap();
    server.set_read_timeout(Some(LONG)).unwrap();
    drop(send(&mut sink, "found"));
    assert!(received(&server).ends_with(": found\n"));
}

fn accept(server: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_stream_carries_lines_and_is_made_anew_when_the_receiver_ended_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut sink = connect(SyslogTransport::Tcp(host_port(address)));
    let mut reader = accept(&server);
    sink.write(&mut [record("one"), record("two")].into())
        .unwrap();
    assert_eq!(line(&mut reader), format!("{}one\n", header(30)));
    assert_eq!(line(&mut reader), format!("{}two\n", header(30)));

    drop(reader);
    send(&mut sink, "three").unwrap();
    assert_eq!(line(&mut accept(&server)), format!("{}three\n", header(30)));
}

#[test]
fn what_cannot_be_sent_waits_for_the_receiver_to_come_back() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut sink = connect(SyslogTransport::Tcp(host_port(address)));
    drop(accept(&server));
    drop(server);
    let mut batch: Batch = [record("one"), record("two")].into();
    let failure = sink.write(&mut batch).unwrap_err();
    assert_eq!((failure.lost, batch.len()), (0, 2));
    assert!(
        failure.error.starts_with(&format!("tcp {address}: ")),
        "{}",
        failure.error
    );

    let server = TcpListener::bind(address).unwrap();
    sink.write(&mut batch).unwrap();
    let mut reader = accept(&server);
    assert!(line(&mut reader).ends_with(": one\n"));
    assert!(line(&mut reader).ends_with(": two\n"));
}

/// A line for a receiver on this machine.
fn local_line(text: &str) -> String {
    format!("<30>Jan  7 10:38:44 pony[{}]: {text}\n", std::process::id())
}

#[test]
fn a_local_datagram_socket_gets_the_short_form_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let bind = |path: &Path| {
        let server = UnixDatagram::bind(path).unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        server
    };
    let received = |server: &UnixDatagram| {
        let mut buffer = [0; 512];
        let count = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let server = bind(&path);
    let mut sink = connect(SyslogTransport::Unix(path.clone()));
    send(&mut sink, "one").unwrap();
    assert_eq!(received(&server), local_line("one"));

    drop(server);
    std::fs::remove_file(&path).unwrap();
    let mut batch: Batch = [record("two")].into();
    assert_eq!(sink.write(&mut batch).unwrap_err().lost, 0);
    let server = bind(&path);
    sink.write(&mut batch).unwrap();
    assert_eq!(received(&server), local_line("two"));
}

#[test]
fn a_local_stream_socket_is_taken_where_there_is_no_datagram_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = UnixListener::bind(&path).unwrap();
    let mut sink = connect(SyslogTransport::Unix(path));
    send(&mut sink, "one").unwrap();
    drop(sink);
    let mut text = String::new();
    server
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, local_line("one"));
}

#[test]
fn names_are_resolved_and_all_their_addresses_tried() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for host in [Host::Name("localhost".to_owned()), Host::Any] {
        let mut sink = connect(SyslogTransport::Tcp(HostPort { host, port }));
        send(&mut sink, "one").unwrap();
        assert!(line(&mut accept(&server)).ends_with(": one\n"));
    }
}
