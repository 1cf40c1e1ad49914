//! Connecting to the target: refusals, silence, and clients that are denied.

use crate::harness::{
    Entry, Pony,
    peers::{
        closed_port, connect, connect_from, echo_target, expect_closed, has_connection, ping,
        reset, tcp_listener, unresponsive,
    },
    wait_eq,
};

#[test]
fn a_target_that_refuses_ends_the_clients_connection_at_once() {
    let target = closed_port();
    let pony = Pony::start(&Entry::tcp(target));
    expect_closed(&connect(pony.address("tcp")));
    let close = pony.closes_with(&format!("cannot connect to {target}"));
    assert_eq!(pony.events("open").len(), 1);
    assert_eq!(close["target_port"], target.port());
    assert_eq!(
        (&close["bytes_sent"], &close["bytes_received"]),
        (&0.into(), &0.into())
    );
    wait_eq(1, || pony.errors("tcp", "target_connect"));
    wait_eq(0, || pony.active("tcp"));
    assert_eq!(pony.connections("tcp", "accepted"), 1);
    let observed = pony.count("packetpony_connection_duration_seconds_count", "tcp", "");
    assert_eq!(observed, 0, "what never was connected has no duration");
    assert_eq!(
        pony.message("Failed to connect to target")["listener"],
        "tcp"
    );
}

#[test]
fn a_target_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let (listener, _fillers) = unresponsive("127.0.0.1:0");
    let entry = Entry::tcp(listener.local_addr().unwrap()).tcp_keys("connect_timeout: 200ms");
    let pony = Pony::start(&entry);
    expect_closed(&connect(pony.address("tcp")));
    pony.closes_with("within 200ms");
    wait_eq(1, || pony.errors("tcp", "target_connect"));
}

#[test]
fn a_client_that_resets_while_its_target_is_dialled_frees_its_place_at_once() {
    let (listener, _fillers) = unresponsive("127.0.0.1:0");
    let entry = Entry::tcp(listener.local_addr().unwrap()).tcp_keys("connect_timeout: 1h");
    let pony = Pony::start(&entry);
    let client = connect(pony.address("tcp"));
    wait_eq(1, || pony.active("tcp"));
    reset(client);
    pony.closes_with("client: ");
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_denied_client_costs_no_connection_to_the_target() {
    let (listener, target) = tcp_listener();
    let pony = Pony::start(&Entry::tcp(target).allow("10.0.0.0/8"));
    expect_closed(&connect(pony.address("tcp")));
    wait_eq(1, || pony.connections("tcp", "acl_denied"));
    assert_eq!(pony.count("packetpony_acl_drops_total", "tcp", ""), 1);
    assert_eq!(pony.connections("tcp", "accepted"), 0);
    assert!(!has_connection(&listener), "the target was bothered");
    let message = pony.message("Connection denied by ACL");
    assert_eq!(message["client_ip"], "127.0.0.1");
    assert!(pony.events("open").is_empty());
}

#[test]
fn the_denylist_wins_over_the_allowlist() {
    let entry = Entry::tcp(echo_target()).with("denylist: [\"127.0.0.2\"]");
    let pony = Pony::start(&entry);
    expect_closed(&connect_from("127.0.0.2", pony.address("tcp")));
    ping(
        &mut connect_from("127.0.0.3", pony.address("tcp")),
        b"hello",
    );
    assert_eq!(pony.connections("tcp", "acl_denied"), 1);
}

#[test]
fn an_empty_allowlist_denies_everybody_and_says_so_at_the_start() {
    let pony = Pony::start(&Entry::tcp(echo_target()).allow(""));
    expect_closed(&connect(pony.address("tcp")));
    pony.message_where("Configuration", |fields| {
        fields["key"] == "listeners[0].allowlist"
    });
}
