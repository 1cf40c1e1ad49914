//! What a ban does, and how an operator makes and lifts one.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::{
    Entry, Launch, Pony,
    peers::{
        accept, connect_from, echo_target, exchange, expect_closed, expect_reset, ping_udp,
        tcp_listener, udp_client, udp_echo_target, unresponsive,
    },
    wait_eq, wait_until,
};

const BANNED: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";

fn start(entry: &Entry) -> Pony {
    Launch::new(entry).control().start()
}

fn bans(pony: &Pony) -> Vec<Value> {
    let shown = pony.ask(&["bans", "--json"]).json();
    shown["bans"].as_array().unwrap().clone()
}

#[track_caller]
fn expect_served(from: &str, address: SocketAddr) -> TcpStream {
    let stream = connect_from(from, address);
    exchange(&stream, b"hello");
    stream
}

#[test]
fn a_banned_client_is_cut_off_and_nobody_else() {
    let (target, target_address) = tcp_listener();
    let pony = start(&Entry::tcp(target_address));
    let address = pony.address("tcp");
    let client = connect_from(BANNED, address);
    let (at_target, other) = (accept(&target), connect_from(OTHER, address));
    let other_at_target = accept(&target);

    let answer = pony.ask(&["ban", BANNED, "--for", "2h"]);
    answer.expect(
        0,
        &[
            "127.0.0.2 is banned on all listeners until 2",
            "one connection",
        ],
    );
    expect_reset(&client);
    expect_reset(&at_target);
    pony.closes_with("banned by the operator");
    assert_eq!(pony.metric("packetpony_bans", &[]).to_string(), "1");
    wait_eq(1, || pony.drops("tcp", "banned"));

    expect_closed(&connect_from(BANNED, address));
    wait_eq(2, || pony.drops("tcp", "banned"));
    assert_eq!(pony.connections("tcp", "rate_limited"), 1);
    let refused = pony.message("Connection denied: client is banned");
    assert_eq!(
        (&refused["client_ip"], &refused["reason"]),
        (&BANNED.into(), &"banned".into())
    );
    exchange_with(&other, &other_at_target);

    let began = pony.message("Client banned");
    assert_eq!(
        (&began["client_ip"], &began["ended"]),
        (&BANNED.into(), &1.into())
    );
    assert_eq!(began["listener"], "all");
    pony.ask(&["unban", BANNED])
        .expect(0, &["127.0.0.2 is banned no longer on all"]);
    assert_eq!(pony.message("Ban ended")["reason"], "lifted");
    assert_eq!(pony.metric("packetpony_bans", &[]).to_string(), "0");
    let client = connect_from(BANNED, address);
    exchange_with(&client, &accept(&target));
}

/// Bytes go from one to the other.
fn exchange_with(mut client: &TcpStream, mut target: &TcpStream) {
    use std::io::{Read as _, Write as _};
    client.write_all(b"hello").unwrap();
    let mut received = [0; 5];
    target.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
}

#[test]
fn a_banned_client_loses_its_sessions_and_its_datagrams_count_as_refused() {
    let pony = start(&Entry::udp(udp_echo_target()).listen("127.0.0.1:0"));
    let client = udp_client(pony.address("udp"));
    ping_udp(&client, b"hello");
    let answer = pony.ask(&["ban", "127.0.0.1", "--listener", "udp"]);
    answer.expect(
        0,
        &[
            "127.0.0.1 is banned on udp until",
            "one connection or session",
        ],
    );
    pony.closes_with("banned by the operator");
    wait_eq(1, || pony.drops("udp", "banned"));
    for datagrams in 1..=3 {
        client.send(b"hello").unwrap();
        wait_eq(1 + datagrams, || pony.drops("udp", "banned"));
    }
    assert_eq!(pony.connections("udp", "rate_limited"), 3);
    assert_eq!((pony.active("udp"), pony.packets("udp", "sent")), (0, 1));
    pony.ask(&["unban", "127.0.0.1", "-l", "udp"])
        .expect(0, &["no longer on udp"]);
    ping_udp(&client, b"hello");
}

#[test]
fn a_ban_ends_by_itself() {
    let pony = start(&Entry::tcp(echo_target()));
    let address = pony.address("tcp");
    pony.ask(&["ban", BANNED, "--for", "4s"]).expect(0, &[]);
    expect_closed(&connect_from(BANNED, address));
    wait_until("the ban to end", || bans(&pony).is_empty());
    expect_served(BANNED, address);
    assert_eq!(pony.message("Ban ended")["reason"], "expired");
    pony.ask(&["bans"]).expect(0, &["nobody is banned"]);
}

#[test]
fn a_ban_on_one_listener_leaves_the_others_alone() {
    let target = echo_target();
    let launch = Launch::new(&Entry::tcp(target).name("web"));
    let launch = launch.and(&Entry::tcp(target).name("\"mail out\""));
    let pony = launch.control().start();
    pony.ask(&["ban", BANNED, "--listener", "mail out", "--for", "forever"])
        .expect(0, &["on mail out, until it is lifted or the daemon ends"]);
    expect_closed(&connect_from(BANNED, pony.address("mail out")));
    expect_served(BANNED, pony.address("web"));
    pony.ask(&["bans"])
        .expect(0, &["ADDRESS", "mail out", "forever"]);
    pony.ask(&["unban", BANNED, "--listener", "web"])
        .expect(1, &["is not banned there"]);
    pony.ask(&["unban", BANNED, "--listener", "mail out"])
        .expect(0, &[]);
    expect_served(BANNED, pony.address("mail out"));
}

#[test]
fn a_client_whose_target_does_not_answer_yet_is_cut_off_too() {
    let (target, _fillers) = unresponsive("127.0.0.1:0");
    let pony = start(&Entry::tcp(target.local_addr().unwrap()));
    let client = connect_from(BANNED, pony.address("tcp"));
    wait_eq(1, || pony.active("tcp"));
    pony.ask(&["ban", BANNED]).expect(0, &["one connection"]);
    expect_reset(&client);
    pony.closes_with("banned by the operator");
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn a_client_that_is_being_slowed_down_is_cut_off_too() {
    let limits = "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h, action: throttle, \
                  throttle_minimum: 1B";
    let pony = start(&Entry::tcp(echo_target()).limits(limits));
    let client = connect_from(BANNED, pony.address("tcp"));
    exchange(&client, &[7; 400]);
    std::io::Write::write_all(&mut &client, &[7; 2_000]).unwrap();
    pony.ask(&["ban", BANNED]).expect(0, &[]);
    wait_eq(0, || pony.active("tcp"));
    pony.closes_with("banned by the operator");
}

#[test]
fn bans_concern_neither_exempt_clients_nor_the_next_run() {
    let entry = Entry::tcp(echo_target()).with("exempt: [127.0.0.2]");
    let pony = start(&entry);
    let address = pony.address("tcp");
    let client = expect_served(BANNED, address);
    pony.ask(&["ban", BANNED])
        .expect(0, &["warning: 127.0.0.2 is exempt on tcp"]);
    exchange(&client, b"still here");
    expect_served(BANNED, address);
    pony.ask(&["ban", OTHER]).expect(0, &[]);
    drop(pony);

    let pony = start(&entry);
    assert_eq!(bans(&pony), Vec::<Value>::new());
    expect_served(OTHER, pony.address("tcp"));
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .admin("socket: FOLDER/control.sock, max_bans: 1")
        .start();
    pony.ask(&["ban", "pony"])
        .expect(2, &["\"pony\" is not an IP address", "192.0.2.7"]);
    pony.ask(&["ban", "192.0.2.0/24"])
        .expect(2, &["is a network", "denylist"]);
    pony.ask(&["ban", BANNED, "--for", "60"])
        .expect(2, &["without a unit", "60s"]);
    pony.ask(&["ban", BANNED, "-l", "tpc"])
        .expect(1, &["is no listener", "one of: tcp"]);
    pony.ask(&["unban", BANNED])
        .expect(1, &["is not banned", "pony bans"]);
    pony.ask(&["ban"]).expect(2, &["ADDRESS"]);
    pony.ask(&["ban", BANNED]).expect(0, &[]);
    pony.ask(&["ban", OTHER])
        .expect(1, &["there are 1 bans already", "admin.max_bans"]);
}
