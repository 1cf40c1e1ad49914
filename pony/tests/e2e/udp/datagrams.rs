//! Each datagram goes through whole, in order and once, or is dropped and counted.

use crate::harness::{
    Entry, Pony,
    peers::{expect_datagram, pattern, ping_udp, udp_client, udp_echo_target, udp_listener},
    wait_eq,
};

#[test]
fn a_sessions_first_datagram_is_answered() {
    let pony = Pony::start(&Entry::udp(udp_echo_target()));
    // Kept, so that no two have the same port.
    let mut clients = Vec::new();
    for _ in 0..50 {
        let client = udp_client(pony.address("udp"));
        ping_udp(&client, b"first");
        clients.push(client);
    }
    assert_eq!(pony.packets("udp", "sent"), 50);
    wait_eq(50, || pony.packets("udp", "received"));
    assert_eq!(pony.bytes("udp", "sent"), 250);
    assert_eq!(pony.connections("udp", "accepted"), 50);
    assert_eq!(pony.errors("udp", "target_write"), 0);
}

#[test]
fn a_thousand_datagrams_arrive_in_order() {
    const IN_FLIGHT: u32 = 32;
    let pony = Pony::start(&Entry::udp(udp_echo_target()));
    let client = udp_client(pony.address("udp"));
    for number in 0..1000_u32 + IN_FLIGHT {
        if let Some(answered) = number.checked_sub(IN_FLIGHT) {
            expect_datagram(&client, &answered.to_be_bytes());
        }
        if number < 1000 {
            client.send(&number.to_be_bytes()).unwrap();
        }
    }
    assert_eq!(pony.active("udp"), 1);
    assert_eq!(pony.packets("udp", "sent"), 1000);
}

#[test]
fn datagrams_that_come_in_a_burst_while_the_session_opens_keep_their_order() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address));
    for _ in 0..20 {
        let client = udp_client(pony.address("udp"));
        for number in 0..30_u8 {
            client.send(&[number]).unwrap();
        }
        for number in 0..30_u8 {
            expect_datagram(&target, &[number]);
        }
    }
}

#[test]
fn empty_datagrams_go_both_ways_and_open_sessions() {
    let pony = Pony::start(&Entry::udp(udp_echo_target()));
    let client = udp_client(pony.address("udp"));
    ping_udp(&client, b"");
    ping_udp(&client, b"full");
    ping_udp(&client, b"");
    assert_eq!(pony.packets("udp", "sent"), 3);
    assert_eq!(pony.bytes("udp", "sent"), 4);
    assert_eq!(pony.active("udp"), 1);
}

#[test]
fn datagrams_of_every_length_up_to_the_longest_go_through_whole() {
    let pony = Pony::start(&Entry::udp(udp_echo_target()).with("udp: { buffer_size: 65536 }"));
    let client = udp_client(pony.address("udp"));
    for len in [1, 1471, 1472, 1473, 4096, 9000, 32_768, 65_507] {
        ping_udp(&client, &pattern(len));
    }
}

#[test]
fn a_datagram_longer_than_buffer_size_is_dropped_and_counted_and_the_session_lives() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address).with("udp: { buffer_size: 100 }"));
    let client = udp_client(pony.address("udp"));

    client.send(&[1; 101]).unwrap();
    wait_eq(1, || pony.errors("udp", "datagram_too_long"));
    assert_eq!(
        pony.active("udp"),
        0,
        "what is not forwarded opens no session"
    );

    client.send(&[2; 100]).unwrap();
    let session = expect_datagram(&target, &[2; 100]);
    client.send(&[3; 101]).unwrap();
    client.send(b"next").unwrap();
    assert_eq!(expect_datagram(&target, b"next"), session);

    target.send_to(&[4; 101], session).unwrap();
    target.send_to(&[5; 100], session).unwrap();
    expect_datagram(&client, &[5; 100]);
    assert_eq!(pony.errors("udp", "datagram_too_long"), 3);
    assert_eq!(pony.packets("udp", "sent"), 2);
    assert_eq!(pony.packets("udp", "received"), 1);
    pony.message("Datagram dropped: longer than udp.buffer_size");
}

#[test]
fn two_hundred_clients_at_once_get_their_own_answers() {
    let pony = Pony::start(&Entry::udp(udp_echo_target()));
    let address = pony.address("udp");
    let clients: Vec<_> = (0..200).map(|_| udp_client(address)).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(number.to_string().as_bytes()).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        expect_datagram(client, number.to_string().as_bytes());
    }
    assert_eq!(pony.active("udp"), 200);
    assert_eq!(pony.count("packetpony_sessions_active", "udp", ""), 200);
}

#[test]
fn a_denied_client_opens_no_session() {
    let (target, address) = udp_listener();
    let pony = Pony::start(&Entry::udp(address).allow("10.0.0.0/8"));
    udp_client(pony.address("udp")).send(b"hello").unwrap();
    wait_eq(1, || pony.connections("udp", "acl_denied"));
    assert_eq!(pony.connections("udp", "accepted"), 0);
    target.set_nonblocking(true).unwrap();
    target.recv(&mut [0; 16]).unwrap_err();
}
