//! Bans on all listeners, by the guard and without it, and the usual place of the control socket.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use pony_common::layout::block::ALL_LISTENERS;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::{
    harness::{
        Finished, Launch, PATIENCE, Pony,
        peers::{connect_from, exchange, expect_closed, expect_reset, ping_udp},
        wait_eq, wait_until,
    },
    lab::{CLIENT_V4, CLIENT_V6, Lab, PROXY_V4, PROXY_V6, TARGET_V4, tcp, udp},
    servers,
};

#[test]
fn a_ban_on_all_listeners_without_the_guard() {
    ban_on_all("off", By::Daemon, |_| {});
}

#[test]
fn a_ban_on_all_listeners_by_the_guard_in_the_driver() {
    ban_on_all("require, attach: native", By::Guard, |_| {});
}

#[test]
fn a_ban_on_all_listeners_by_the_guard_in_the_stack() {
    ban_on_all("require, attach: generic", By::Guard, |_| {});
}

#[test]
fn a_ban_on_all_listeners_when_the_guard_is_taken_away() {
    ban_on_all("require", By::Daemon, Lab::detach);
}

/// Who refuses.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    Guard,
    Daemon,
}

/// Two listeners, the first one with these limits.
fn launch(limits: &str) -> Launch {
    let target = format!("{TARGET_V4}:7");
    let web = tcp("web", 7000, &target).limits(limits);
    Launch::new(&web).and(&udp("dns", 7001, &target)).control()
}

/// Bans a client of each family. `then` is done while the bans hold, and then `by` refuses.
fn ban_on_all(guard: &str, by: By, then: fn(&Lab)) {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(launch("").guard(guard));
    let v4 = CLIENT_V4.map(IpAddr::from);
    let v6 = CLIENT_V6.map(IpAddr::from);
    let clients = [v4, v6].map(|[banned, other]| Clients::open(&lab, banned, other));

    for client in &clients {
        let address = client.banned.to_string();
        let told = ["is banned on all listeners", "2 connections and sessions"];
        pony.ask(&["ban", &address]).expect(0, &told);
        expect_reset(&client.stream);
    }
    if guard != "off" {
        let blocks = lab.blocks();
        for client in &clients {
            assert!(blocks.holds(ALL_LISTENERS, client.banned));
            assert!(!blocks.holds(0, client.banned) && !blocks.holds(1, client.banned));
        }
    }
    then(&lab);
    let before = Drops::of(&lab, &pony, guard != "off");
    for client in &clients {
        client.is_refused(&lab, &pony);
        client.others_are_served(&lab);
    }
    let after = Drops::of(&lab, &pony, guard != "off");
    let moved = after.by_guard.map(|(web, dns)| {
        let (web_before, dns_before) = before.by_guard.unwrap();
        (web > web_before, dns > dns_before)
    });
    let is_by_guard = by == By::Guard;
    let expected = (guard != "off").then_some((is_by_guard, is_by_guard));
    assert_eq!(moved, expected, "who refused");
    // A connection and a datagram of each family, whoever refused.
    assert_eq!(after.totals, before.totals.map(|total| total + 2));

    for client in &clients {
        let address = client.banned.to_string();
        pony.ask(&["unban", &address]).expect(0, &[]);
        lab.client.enter(|| {
            serves(client.banned);
            ping_udp(&client.session, b"hello");
        });
    }
    wait_eq(0, || bans(&lab, &pony));
}

fn bans(lab: &Lab, pony: &Pony) -> u64 {
    let value = lab.proxy.enter(|| pony.metric("packetpony_bans", &[]));
    format!("{value:.0}").parse().unwrap()
}

/// A client that is to be banned, with what it has open, and another one.
struct Clients {
    banned: IpAddr,
    other: IpAddr,
    stream: TcpStream,
    session: UdpSocket,
    other_stream: TcpStream,
}

impl Clients {
    fn open(lab: &Lab, banned: IpAddr, other: IpAddr) -> Self {
        lab.client.enter(|| Self {
            banned,
            other,
            stream: serves(banned),
            session: session(banned),
            other_stream: serves(other),
        })
    }

    /// One connection and one datagram.
    fn is_refused(&self, lab: &Lab, pony: &Pony) {
        let before = Drops::of(lab, pony, false).totals;
        let _asking = lab.client.enter(|| {
            self.session.send(b"hello").unwrap();
            ask_for_connection(self.banned)
        });
        wait_eq(before.map(|total| total + 1), || {
            Drops::of(lab, pony, false).totals
        });
    }

    fn others_are_served(&self, lab: &Lab) {
        lab.client.enter(|| {
            exchange(&self.other_stream, b"hello");
            serves(self.other);
        });
    }
}

fn serves(from: IpAddr) -> TcpStream {
    let stream = connect_from(&from.to_string(), proxy(from, 7000));
    exchange(&stream, b"hello");
    stream
}

fn session(from: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.connect(proxy(from, 7001)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    ping_udp(&socket, b"hello");
    socket
}

/// Does not wait for the answer: the guard gives none.
fn ask_for_connection(from: IpAddr) -> Socket {
    let to = proxy(from, 7000);
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.connect(&to.into()).unwrap_err();
    socket
}

fn proxy(client: IpAddr, port: u16) -> SocketAddr {
    let host = if client.is_ipv4() { PROXY_V4 } else { PROXY_V6 };
    format!("{host}:{port}").parse().unwrap()
}

/// What was refused for a ban at `web` and `dns`.
struct Drops {
    /// Connections and datagrams.
    totals: [u64; 2],
    /// Packets.
    by_guard: Option<(u64, u64)>,
}

impl Drops {
    fn of(lab: &Lab, pony: &Pony, is_guarded: bool) -> Self {
        const DROPPED: &str = "reason=\"banned\",verdict=\"drop\"";
        let packets = |name| pony.count("packetpony_guard_packets_total", name, DROPPED);
        lab.proxy.enter(|| Self {
            totals: ["web", "dns"].map(|name| pony.drops(name, "banned")),
            by_guard: is_guarded.then(|| (packets("web"), packets("dns"))),
        })
    }
}

#[test]
fn where_clients_are_of_different_sizes_each_listener_has_its_own() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(launch("ipv6_prefix: 48").guard("require"));
    let [banned, other] = CLIENT_V6.map(IpAddr::from);
    let address = banned.to_string();
    pony.ask(&["ban", &address])
        .expect(0, &["2001:db8:1::/48", "2001:db8:1::/64"]);
    let blocks = lab.blocks();
    assert!(blocks.holds(0, banned) && blocks.holds(1, banned));
    assert!(!blocks.holds(ALL_LISTENERS, banned));

    // All of the /48 for the one, one /64 for the other.
    lab.client.enter(|| drop(session(other)));
    let _asking = lab.client.enter(|| ask_for_connection(other));
    wait_eq([1, 0], || Drops::of(&lab, &pony, false).totals);

    let v4 = CLIENT_V4[0].to_string();
    pony.ask(&["ban", &v4]).expect(0, &[]);
    assert!(blocks.holds(ALL_LISTENERS, CLIENT_V4[0].into()));
}

#[test]
fn a_ban_ends_in_the_kernel_by_itself() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(launch("").guard("require"));
    let client = IpAddr::from(CLIENT_V4[0]);
    pony.ask(&["ban", &client.to_string(), "--for", "3s"])
        .expect(0, &[]);
    let refused = lab.client.enter(|| ask_for_connection(client));
    wait_eq([1, 0], || Drops::of(&lab, &pony, false).totals);
    assert!(refused.take_error().unwrap().is_none(), "by the guard");
    wait_until("the ban to end", || {
        let shown = pony.ask(&["bans", "--json"]).json();
        shown["bans"].as_array().unwrap().is_empty()
    });
    lab.client.enter(|| drop(serves(client)));
    wait_until("the block to go", || {
        !lab.blocks().holds(ALL_LISTENERS, client)
    });
}

#[test]
fn a_ban_holds_when_the_guard_comes_and_goes() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let pony = lab.start(launch("").guard("require"));
    let client = IpAddr::from(CLIENT_V4[0]);
    pony.ask(&["ban", &client.to_string()]).expect(0, &[]);
    lab.detach();
    lab.client.enter(|| {
        expect_closed(&connect_from(&client.to_string(), proxy(client, 7000)));
    });
}

/// `/run` of the test's own.
fn with_run(lab: &Lab) {
    lab.mounts.run("mount -t tmpfs none /run");
}

impl Lab {
    /// Runs `pony` with these arguments, as an operator of the proxy.
    #[track_caller]
    fn operator(&self, arguments: &[&str]) -> Finished {
        let nothing = tcp("unused", 1, "192.0.2.1:1");
        let launch = Launch::new(&nothing).arguments(arguments);
        launch.inside(&self.mounts.entrance()).finish()
    }
}

#[test]
fn the_control_socket_is_found_in_its_usual_place() {
    let Some(lab) = Lab::new() else { return };
    with_run(&lab);
    let entry = |port| tcp("echo", port, &format!("{TARGET_V4}:7"));
    lab.operator(&["bans"])
        .expect(1, &["no pony with a control socket runs here"]);

    let first = Launch::new(&entry(7000)).admin("");
    let name = first.instance();
    let mut first = lab.start(first);
    let socket = format!("/run/packetpony/{name}.sock");
    let modes = lab
        .mounts
        .run(&format!("stat -c %a /run/packetpony {socket}"));
    assert_eq!(modes, "700\n600\n");
    lab.operator(&["bans"]).expect(0, &["nobody is banned"]);
    let body = r#"{"address":"192.0.2.1"}"#;
    let curl = format!("curl -sS --unix-socket {socket} http://pony/bans");
    let answer = lab.mounts.run(&format!("{curl} -X PUT -d {body}"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["ban"]["clients"], serde_json::json!(["192.0.2.1"]));
    let answer = lab.mounts.run(&format!("{curl}/192.0.2.1 -X DELETE"));
    assert!(answer.contains("\"lifted\":[{"), "{answer}");

    let second = Launch::new(&entry(7001)).admin("");
    let other = second.instance();
    let mut second = lab.start(second);
    lab.operator(&["bans"])
        .expect(1, &["several instances", &name, &other]);
    lab.operator(&["ban", "192.0.2.2", "-i", &other])
        .expect(0, &["192.0.2.2"]);
    lab.operator(&["bans", "-i", &name])
        .expect(0, &["nobody is banned"]);
    lab.operator(&["bans", "-i", &other])
        .expect(0, &["192.0.2.2"]);
    lab.operator(&["bans", "-i", "nobody"])
        .expect(1, &["\"nobody\"", "--socket"]);

    // What was killed leaves its socket behind, which is not mistaken for a daemon.
    first.signal("KILL");
    first.wait();
    lab.operator(&["bans"]).expect(0, &["192.0.2.2"]);
    second.signal("TERM");
    second.wait();
    assert_eq!(
        lab.mounts.run("ls /run/packetpony"),
        format!("{name}.sock\n")
    );
}

#[test]
fn who_may_not_make_the_usual_socket_is_told_once_and_serves() {
    let Some(lab) = Lab::new() else { return };
    with_run(&lab);
    lab.mounts.run("mkdir -m 755 /run/packetpony");
    servers::echo(&lab.target);
    let entry = tcp("echo", 7000, &format!("{TARGET_V4}:7"));
    let launch = Launch::new(&entry).admin("").by_nobody();
    let pony = lab.start(launch);
    let warning = pony.message("No control socket: nobody can be banned by hand");
    assert_eq!(warning["level"], "warning", "{warning}");
    let reason = warning["reason"].as_str().unwrap();
    let remedy = "admin.socket: cannot make \"/run/packetpony/";
    assert!(
        reason.contains(remedy) && reason.contains("may write to, or off"),
        "{reason}"
    );
    lab.client.enter(|| drop(serves(CLIENT_V4[0].into())));
}
