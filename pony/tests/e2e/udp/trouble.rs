//! Targets that are away or have no address, and clients that come while one session opens.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        connect, echo_target, expect_datagram, ping, ping_udp, udp_again, udp_client,
        udp_echo_target, udp_listener,
    },
    wait_eq, wait_until,
};

#[test]
fn a_session_survives_while_its_target_is_away_and_works_when_it_is_back() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address));
    let client = udp_client(pony.address("udp"));
    client.send(b"hello").unwrap();
    let session = expect_datagram(&target, b"hello");

    drop(target);
    let failures = || pony.errors("udp", "target_read") + pony.errors("udp", "target_write");
    wait_until("refusals to be counted", || {
        client.send(b"again").unwrap();
        failures() >= 3
    });
    assert_eq!(pony.active("udp"), 1);

    let target = udp_again(address);
    client.send(b"again").unwrap();
    assert_eq!(
        expect_datagram(&target, b"again"),
        session,
        "it is the same session"
    );
    target.send_to(b"yes", session).unwrap();
    expect_datagram(&client, b"yes");
    assert_eq!(pony.connections("udp", "accepted"), 1);
    assert!(pony.events("close").is_empty());
}

#[test]
fn refusals_are_logged_at_a_limited_rate() {
    let (target, address) = udp_listener();
    drop(target);
    let pony = Pony::start(&Entry::udp(address));
    let client = udp_client(pony.address("udp"));
    let failures = || pony.errors("udp", "target_read") + pony.errors("udp", "target_write");
    wait_until("a hundred refusals", || {
        client.send(b"anybody there?").unwrap();
        failures() >= 100
    });
    let said = pony
        .lines()
        .iter()
        .filter(|line| line.contains("Failed to"))
        .count();
    assert!(said < 50, "{said} lines for {} refusals", failures());
}

#[test]
fn a_target_without_an_address_is_counted_and_other_listeners_go_on() {
    let pony = Launch::new(&Entry::udp("no-such-host.invalid:53").name("nowhere"))
        .and(&Entry::udp(udp_echo_target()))
        .start();
    let lost = udp_client(pony.address("nowhere"));
    let served = udp_client(pony.address("udp"));
    lost.send(b"hello").unwrap();
    ping_udp(&served, b"hello");
    wait_until("the failure to be counted", || {
        pony.errors("nowhere", "session_create") > 0
    });
    pony.closes_with("no-such-host.invalid");
    wait_eq(0, || pony.active("nowhere"));
    ping_udp(&served, b"still here");
}

#[test]
fn a_flood_on_one_listener_leaves_time_for_the_others() {
    let (_sink, sink) = udp_listener();
    let pony = Launch::new(&Entry::udp(sink).name("flooded"))
        .and(&Entry::tcp(echo_target()))
        .through(&["env", "TOKIO_WORKER_THREADS=1"])
        .start();
    let address = pony.address("flooded");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let client = udp_client(address);
                while !is_over.load(Relaxed) {
                    drop(client.send(b"flood"));
                }
            });
        }
        let over = SetOnDrop(&is_over);
        wait_until("the flood to arrive", || {
            pony.packets("flooded", "sent") > 10_000
        });
        for _ in 0..20 {
            ping(&mut connect(pony.address("tcp")), b"hello");
        }
        drop(over);
    });
}

/// Ends the flood also when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
