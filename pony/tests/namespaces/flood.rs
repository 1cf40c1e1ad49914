//! Floods from a hundred thousand sources that do not exist, while a client asks its questions.
//!
//! With the guard none of these may remain without an answer, what the guard counted says that it
//! has refused the flood, and the daemon notices little of it. How the daemon alone fares is
//! measured and printed.

mod attacker;
mod client;
mod measure;
mod sender;
mod trouble;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::{
    attacker::Attacker,
    measure::Measured,
    sender::{Kind, PAYLOAD, SOURCES},
};
use crate::{
    harness::{Launch, Pony, wait_until},
    kernel::counter,
    lab::{CLIENT_V4, Lab, TARGET_V4, report, tcp, udp},
    servers,
};

#[test]
fn denied_syns_are_refused_in_the_kernel_and_no_request_fails() {
    with_and_without_guard(Kind::Syn, Sources::Denied);
}

#[test]
fn denied_datagrams_are_refused_in_the_kernel_and_no_request_fails() {
    with_and_without_guard(Kind::Datagram, Sources::Denied);
}

#[test]
fn allowed_syns_meet_the_limit_in_the_kernel_and_no_request_fails() {
    with_and_without_guard(Kind::Syn, Sources::Limited);
}

#[test]
fn allowed_datagrams_meet_the_limit_in_the_kernel_and_no_request_fails() {
    with_and_without_guard(Kind::Datagram, Sources::Limited);
}

#[test]
fn where_no_limit_refuses_syns_the_kernels_cookies_keep_the_listener_open() {
    let Some(field) = Field::new() else { return };
    let proxy = &field.lab.proxy;
    proxy.enter(|| fs::write("/proc/sys/net/ipv4/tcp_syncookies", "1").unwrap());
    let cookies = |name| counter(proxy, "netstat", "TcpExt", name);

    let pony = field.start(Sources::Unlimited, "require");
    let measured = field.flood(&pony, Kind::Syn, "syn, unlimited, guard on");
    measured.is_harmless(LITTLE);
    assert!(cookies("SyncookiesSent") > 0, "the queue was never full");
    assert!(
        cookies("SyncookiesRecv") > 0,
        "all requests came by the queue"
    );
}

/// What the listeners say about the sources of the flood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sources {
    /// They are not on the allowlist.
    Denied,
    /// Each may make one attempt, or send one datagram, within a minute.
    Limited,
    /// They may do everything.
    Unlimited,
}

#[track_caller]
fn with_and_without_guard(kind: Kind, sources: Sources) {
    let Some(field) = Field::new() else { return };
    let alone = field.start(sources, "off");
    field.flood(&alone, kind, &format!("{kind:?}, {sources:?}, guard off"));
    drop(alone);

    let pony = field.start(sources, "require, max_clients: 262144");
    let measured = field.flood(&pony, kind, &format!("{kind:?}, {sources:?}, guard on"));
    measured.is_harmless(match (kind, sources) {
        (Kind::Datagram, Sources::Limited) => ALL_CLIENTS,
        _ => LITTLE,
    });
    field
        .lab
        .proxy
        .enter(|| was_refused(&pony, kind, sources, &measured));
}

/// What the guard refused is what arrived, but for the first of each source if that is allowed;
/// and it is part of the total of its reason.
#[track_caller]
fn was_refused(pony: &Pony, kind: Kind, sources: Sources, measured: &Measured) {
    let (sent, arrived) = (measured.sent, measured.arrived);
    let over = arrived.saturating_sub(SOURCES + arrived / FORGOTTEN);
    let (reason, least, most) = match (sources, kind) {
        (Sources::Denied, _) => ("acl", arrived, sent),
        (_, Kind::Syn) => ("attempt_limit", over, sent - SOURCES),
        (_, Kind::Datagram) => ("bandwidth_limit", over, sent - SOURCES),
    };
    let refused = || refused_by_guard(pony, kind, reason);
    wait_until("the guard to refuse the flood", || {
        refused() + OTHERS >= least
    });
    let refused = refused();
    let per_second = measured.per_second(refused);
    report(&format!(
        "  refused in the kernel: {refused} ({per_second}/s)\n"
    ));
    assert!(refused <= most, "{refused} of {sent} refused");

    let total = match sources {
        Sources::Denied => pony.count("packetpony_acl_drops_total", kind.listener(), ""),
        _ => pony.drops(kind.listener(), reason),
    };
    // Of what was let through, replies and a few datagrams are the daemon's to drop.
    let by_daemon = total.checked_sub(refused);
    assert!(
        by_daemon.is_some_and(|datagrams| datagrams <= 2 * SESSIONS),
        "{total} in the total, {refused} of the guard"
    );
}

fn refused_by_guard(pony: &Pony, kind: Kind, reason: &str) -> u64 {
    let label = format!("reason=\"{reason}\",verdict=\"drop\"");
    pony.count("packetpony_guard_packets_total", kind.listener(), &label)
}

/// A lab with an attacker.
struct Field {
    lab: Lab,
    attacker: Attacker,
    /// Two floods at a time would be half a flood each.
    _turn: MutexGuard<'static, ()>,
}

impl Field {
    fn new() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new()?;
        attacker::repair_losses(&lab);
        servers::echo(&lab.target);
        Some(Self {
            attacker: Attacker::new(&lab),
            lab,
            _turn: turn,
        })
    }

    /// Starts the proxy with a listener of each protocol.
    fn start(&self, sources: Sources, guard: &str) -> Pony {
        let target = format!("{TARGET_V4}:7");
        let tcp = tcp("tcp", PORT, &target).tcp_keys(QUIET);
        let udp = udp("udp", PORT, &target).with(&format!("udp: {{ {QUIET} }}"));
        let exempt = format!("exempt: [{}]", CLIENT_V4[0]);
        let attempts = "max_connection_attempts_per_ip: 1, attempts_window: 1m";
        let sessions = format!("max_total_connections: {SESSIONS}");
        let bytes = format!("max_bandwidth_per_ip: {PAYLOAD}B, bandwidth_window: 1m");
        let (tcp, udp) = match sources {
            Sources::Denied => (tcp.allow(CLIENTS), udp.allow(CLIENTS)),
            Sources::Limited => (
                tcp.with(&exempt).limits(attempts),
                udp.with(&exempt).limits(&format!("{sessions}, {bytes}")),
            ),
            Sources::Unlimited => (tcp, udp),
        };
        self.lab.start(Launch::new(&tcp).and(&udp).guard(guard))
    }

    /// Floods it, and says what that did.
    fn flood(&self, pony: &Pony, kind: Kind, what: &str) -> Measured {
        let measured = Measured::new(&self.lab, &self.attacker, pony, kind, PORT);
        report(&format!("{what}: {measured}"));
        measured
    }
}

const PORT: u16 = 7000;
const CLIENTS: &str = "192.0.2.0/24, \"2001:db8:1::/63\"";
/// As many sessions as all clients may have: each takes a file descriptor.
const SESSIONS: u64 = 200;
/// What is logged then is about the flood alone.
const QUIET: &str = "logging: { log_session_start: false, log_session_close: false }";
/// Packets that came with the flood: neighbours and routers who look for each other.
const OTHERS: u64 = 100;
/// One packet in so many at most is let through because the ledger has forgotten its source: with
/// room for 2.6 times as many sources, a few of its sets are full.
const FORGOTTEN: u64 = 20;
/// How much a daemon may grow that is not concerned.
const LITTLE: u64 = 16 << 20;
/// And one that remembers the 100,000 clients that it does at most.
const ALL_CLIENTS: u64 = 100 << 20;
