//! Targets that are names: several addresses, none, or a resolver that does not answer.

use std::net::{SocketAddr, TcpListener};

use crate::harness::{
    Entry, Launch, NameServer, Pony,
    peers::{
        accept, connect, expect_closed, expect_datagram, tcp_listener, udp_client, udp_listener,
        unresponsive,
    },
    wait_eq, wait_until,
};

fn pony_test(target: SocketAddr) -> String {
    format!("pony.test:{}", target.port())
}

/// With a name server that says nothing until it is told to.
fn silent(launch: Launch) -> Option<(Launch, NameServer)> {
    let names = NameServer::start()?;
    Some((launch.with_name_server(&names)?, names))
}

#[test]
fn every_address_of_the_targets_name_is_tried_whether_the_others_refuse_or_are_silent() {
    // The resolver puts what is closest to our own address first, so the live one comes last.
    let live = TcpListener::bind("127.0.0.200:0").unwrap();
    let target = live.local_addr().unwrap();
    let (_silent, _fillers) = unresponsive(&format!("127.0.0.3:{}", target.port()));
    let names = "127.0.0.2 pony.test\n127.0.0.3 pony.test\n127.0.0.200 pony.test\n";
    let entry = Entry::tcp(pony_test(target)).tcp_keys("connect_timeout: 2s");
    let Some(launch) = Launch::new(&entry).with_hosts(names) else {
        return;
    };
    let pony = launch.start();
    let client = connect(pony.address("tcp"));
    drop(accept(&live));
    drop(client);
    let target = pony.closes_with("")["target_ip"].clone();
    assert_eq!(target, "pony.test", "events show it as it is configured");
    assert_eq!(pony.errors("tcp", "target_connect"), 0);
}

#[test]
fn a_name_that_does_not_exist_is_an_error_of_its_own_and_ends_the_client() {
    let pony = Pony::start(&Entry::tcp("no-such-host.invalid:80"));
    expect_closed(&connect(pony.address("tcp")));
    pony.closes_with("no-such-host.invalid");
    wait_eq(1, || pony.errors("tcp", "invalid_target"));
    assert_eq!(pony.errors("tcp", "target_connect"), 0);
}

#[test]
fn a_session_that_waits_for_the_resolver_delays_nobody_and_then_loses_nothing() {
    let (target, address) = udp_listener();
    target.set_nonblocking(true).unwrap();
    let entry = Entry::udp(pony_test(address));
    let Some((launch, names)) = silent(Launch::new(&entry).server("resolve_ttl: 0s")) else {
        return;
    };
    let pony = launch.start();
    let (open, waiting) = (
        udp_client(pony.address("udp")),
        udp_client(pony.address("udp")),
    );
    open.send(b"first").unwrap();
    wait_until("the first session to open", || {
        names.answer();
        target.recv(&mut [0; 16]).is_ok()
    });

    for number in 0..3 {
        waiting.send(&[number]).unwrap();
    }
    wait_eq(2, || pony.active("udp"));
    target.set_nonblocking(false).unwrap();
    for number in 100..120 {
        open.send(&[number]).unwrap();
        expect_datagram(&target, &[number]);
    }

    target.set_nonblocking(true).unwrap();
    let mut first = [9];
    wait_until("the second session to open", || {
        names.answer();
        target.recv(&mut first).is_ok()
    });
    target.set_nonblocking(false).unwrap();
    assert_eq!(first, [0]);
    expect_datagram(&target, &[1]);
    expect_datagram(&target, &[2]);
}

#[test]
fn the_connect_timeout_holds_for_the_resolver_too() {
    let (_target, address) = tcp_listener();
    let entry = Entry::tcp(pony_test(address)).tcp_keys("connect_timeout: 200ms");
    let Some((launch, _names)) = silent(Launch::new(&entry)) else {
        return;
    };
    let pony = launch.start();
    expect_closed(&connect(pony.address("tcp")));
    pony.closes_with("within 200ms");
}

#[test]
fn a_resolver_that_does_not_answer_does_not_keep_the_process_from_ending() {
    let (_target, address) = tcp_listener();
    let launch = Launch::new(&Entry::tcp(pony_test(address))).server("shutdown_timeout: 0s");
    let Some((launch, _names)) = silent(launch) else {
        return;
    };
    let mut pony = launch.start();
    let client = connect(pony.address("tcp"));
    wait_eq(1, || pony.active("tcp"));
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    expect_closed(&client);
    pony.closes_with("stopping");
}
