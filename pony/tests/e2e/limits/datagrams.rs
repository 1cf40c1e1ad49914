//! Bandwidth limits of UDP clients: datagrams are dropped, sessions live.

use crate::harness::{
    Entry, Pony,
    peers::{expect_datagram, ping_udp, udp_client, udp_echo_target, udp_listener},
    wait_eq, wait_until,
};

#[test]
fn a_datagram_over_the_limit_is_dropped_in_either_direction_and_the_session_lives() {
    let (target, address) = udp_listener();
    let limits = "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h";
    let pony = Pony::start(&Entry::udp(address).limits(limits));
    let client = udp_client(pony.address("udp"));

    client.send(&[1; 400]).unwrap();
    let session = expect_datagram(&target, &[1; 400]);
    client.send(&[2; 601]).unwrap();
    wait_eq(1, || pony.drops("udp", "bandwidth_limit"));
    client.send(&[3; 100]).unwrap();
    assert_eq!(expect_datagram(&target, &[3; 100]), session);

    target.send_to(&[4; 501], session).unwrap();
    wait_eq(2, || pony.drops("udp", "bandwidth_limit"));
    target.send_to(&[5; 500], session).unwrap();
    expect_datagram(&client, &[5; 500]);

    // All 1,000 bytes are used, and an empty datagram needs none.
    client.send(b"!").unwrap();
    wait_eq(3, || pony.drops("udp", "bandwidth_limit"));
    client.send(b"").unwrap();
    assert_eq!(expect_datagram(&target, b""), session);
    assert_eq!(
        (pony.bytes("udp", "sent"), pony.bytes("udp", "received")),
        (500, 500)
    );
    assert_eq!((pony.active("udp"), pony.events("close").len()), (1, 0));
    pony.message("Packet dropped: bandwidth limit exceeded");

    // No session is opened until there is room.
    udp_client(pony.address("udp")).send(b"new").unwrap();
    wait_eq(4, || pony.drops("udp", "bandwidth_limit"));
    assert_eq!(pony.connections("udp", "accepted"), 1);
}

#[test]
fn throttling_drops_the_excess_and_goes_on() {
    let limits = "max_bandwidth_per_ip: 10KB, bandwidth_window: 300ms, \
                  action: throttle, throttle_minimum: 2KB";
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address).limits(limits));
    let client = udp_client(pony.address("udp"));
    wait_until("datagrams to be dropped", || {
        client.send(&[7; 1000]).unwrap();
        pony.drops("udp", "bandwidth_limit") > 3
    });
    let passed = pony.packets("udp", "sent");
    wait_until("more to pass", || {
        client.send(&[7; 1000]).unwrap();
        pony.packets("udp", "sent") > passed + 3
    });
    expect_datagram(&target, &[7; 1000]);
    assert_eq!(pony.connections("udp", "accepted"), 1);
}

#[test]
fn log_only_drops_nothing_and_counts_what_was_over() {
    let limits = "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h, action: log_only";
    let pony = Pony::start(&Entry::udp(udp_echo_target()).limits(limits));
    let client = udp_client(pony.address("udp"));
    ping_udp(&client, &[7; 500]);
    assert_eq!(pony.violations("udp", "bandwidth_limit"), 0);
    ping_udp(&client, &[7; 500]);
    wait_eq(2, || pony.violations("udp", "bandwidth_limit"));
    assert_eq!(pony.drops("udp", "bandwidth_limit"), 0);
}
