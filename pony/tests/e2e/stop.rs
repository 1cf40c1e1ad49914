//! The stop: nothing is lost that can end by itself, and nothing keeps the process for ever.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
};

use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        accept, closed_port, connect, echo_target, expect_closed, expect_datagram, ping, ping_udp,
        tcp_listener, udp_client, udp_echo_target, udp_listener, unresponsive,
    },
    wait_until,
};

#[test]
fn with_nothing_open_the_process_ends_well_on_either_signal() {
    for (signal, name) in [("TERM", "terminated"), ("INT", "interrupt")] {
        let mut pony = Launch::new(&Entry::tcp(echo_target()))
            .and(&Entry::udp(udp_echo_target()))
            .server("shutdown_timeout: 1h")
            .start();
        pony.signal(signal);
        assert_eq!(pony.wait().code(), Some(0));
        assert_eq!(pony.message("Received shutdown signal")["signal"], name);
        pony.message("PacketPony stopped gracefully");
    }
}

#[test]
fn a_scraper_that_keeps_its_connection_does_not_keep_the_process() {
    let mut pony = Pony::start(&Entry::tcp(echo_target()));
    let mut scraper = connect(pony.metrics_address());
    scraper
        .write_all(b"GET /ready HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    std::io::Read::read_exact(&mut scraper, &mut [0; 16]).unwrap();
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
}

#[test]
fn an_open_flow_goes_on_until_it_ends_and_no_new_one_begins() {
    let mut pony = Launch::new(&Entry::tcp(echo_target()))
        .server("shutdown_timeout: 1h")
        .start();
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, b"before");
    pony.signal("TERM");
    wait_until("the listener to be closed", || {
        TcpStream::connect(pony.address("tcp")).is_err()
    });
    for _ in 0..10 {
        ping(&mut client, &[7; 10_000]);
    }
    drop(client);
    assert_eq!(pony.wait().code(), Some(0));
    let closes = pony.events("close");
    let close = closes
        .iter()
        .find(|close| close["bytes_sent"] == 100_006)
        .unwrap();
    assert!(close.get("error").is_none(), "{close}");
}

#[test]
fn an_open_session_goes_on_while_stopping_and_no_new_one_begins() {
    let (target, address) = udp_listener();
    let mut pony = Launch::new(&Entry::udp(address))
        .server("shutdown_timeout: 1h")
        .start();
    let (client, late) = (
        udp_client(pony.address("udp")),
        udp_client(pony.address("udp")),
    );
    client.send(b"before").unwrap();
    let session = expect_datagram(&target, b"before");
    pony.signal("TERM");
    wait_until("not to be ready", || pony.http("/ready").0 == 503);
    for _ in 0..10 {
        late.send(b"too late").unwrap();
        client.send(b"still here").unwrap();
        assert_eq!(expect_datagram(&target, b"still here"), session);
        target.send_to(b"me too", session).unwrap();
        expect_datagram(&client, b"me too");
    }
    assert_eq!(pony.connections("udp", "accepted"), 1);
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    assert_eq!(pony.events("close").len(), 1);
}

#[test]
fn what_is_still_open_at_the_shutdown_timeout_is_cut_and_logged() {
    let mut pony = Launch::new(&Entry::tcp(echo_target()))
        .and(&Entry::udp(udp_echo_target()))
        .server("shutdown_timeout: 300ms")
        .start();
    let mut clients: Vec<_> = (0..5).map(|_| connect(pony.address("tcp"))).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    ping_udp(&udp_client(pony.address("udp")), b"hello");
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    for client in &clients {
        expect_closed(client);
    }
    let closes = pony.events("close");
    assert_eq!(closes.len(), 6);
    for close in closes {
        assert!(
            close["error"].as_str().unwrap().contains("stopping"),
            "{close}"
        );
    }
    pony.message("Graceful shutdown timeout exceeded");
}

#[test]
fn a_second_signal_cuts_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut pony = Launch::new(&Entry::tcp(echo_target()))
            .and(&Entry::udp(udp_echo_target()))
            .server("shutdown_timeout: 1h")
            .start();
        let mut client = connect(pony.address("tcp"));
        ping(&mut client, b"hello");
        ping_udp(&udp_client(pony.address("udp")), b"hello");
        pony.signal(first);
        pony.message("Starting graceful shutdown");
        pony.signal(second);
        assert_eq!(pony.wait().code(), Some(0));
        expect_closed(&client);
        assert_eq!(pony.events("close").len(), 2);
    }
}

#[test]
fn a_flow_that_still_waits_for_its_target_is_cut_with_a_close_event() {
    let (listener, _fillers) = unresponsive("127.0.0.1:0");
    let mut pony = Launch::new(&Entry::tcp(listener.local_addr().unwrap()))
        .server("shutdown_timeout: 0s")
        .start();
    let client = connect(pony.address("tcp"));
    wait_until("the client to be accepted", || pony.active("tcp") == 1);
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    expect_closed(&client);
    pony.closes_with("stopping");
}

#[test]
fn flows_that_are_stalled_or_throttled_are_cut_all_the_same() {
    let (listener, target) = tcp_listener();
    let limits = "max_bandwidth_per_ip: 1KB, bandwidth_window: 1h, \
                  action: throttle, throttle_minimum: 1B";
    let mut pony = Launch::new(&Entry::tcp(target).name("stalled"))
        .and(&Entry::tcp(target).name("paced").limits(limits))
        .server("shutdown_timeout: 0s")
        .start();
    let stalled = connect(pony.address("stalled"));
    let _stalled_target = accept(&listener);
    let paced = connect(pony.address("paced"));
    let _paced_target = accept(&listener);
    crate::harness::peers::fill(&stalled);
    crate::harness::peers::fill(&paced);
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    assert_eq!(pony.events("close").len(), 2);
}

#[test]
fn a_client_that_was_cut_for_its_bandwidth_does_not_delay_the_stop() {
    let (listener, target) = tcp_listener();
    let limits = "max_bandwidth_per_ip: 10B, bandwidth_window: 1h";
    let mut pony = Launch::new(&Entry::tcp(target).limits(limits))
        .server("shutdown_timeout: 0s")
        .start();
    let mut client = connect(pony.address("tcp"));
    let _target = accept(&listener);
    client.write_all(&[7; 100]).unwrap();
    expect_closed(&client);
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    pony.closes_with("bandwidth limit");
    let lines = pony.lines();
    assert!(
        !lines.iter().any(|line| line.contains("did not end")),
        "{lines:#?}"
    );
}

#[test]
fn a_taken_port_is_a_failed_start_that_names_the_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    Launch::new(&Entry::tcp(echo_target()).name("web").listen(address))
        .finish()
        .expect(1, &["web", &address.to_string(), "in use", "ss -lntup"]);

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    Launch::new(&Entry::udp(closed_port()).name("dns").listen(address))
        .finish()
        .expect(1, &["dns", &address.to_string(), "in use"]);
}
