//! What happens to the guard itself while there is a flood.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Instant,
};

use super::{
    Field, PORT, Sources,
    attacker::{Attacker, INTERFACE},
    client::Way,
    refused_by_guard,
    sender::{Kind, SOURCES},
};
use crate::{
    harness::{PATIENCE, Pony, wait_until},
    kernel::Mode,
    lab::{CLIENT_V4, PROXY_V4},
    tools,
};

#[test]
fn an_interface_that_vanishes_in_a_flood_is_guarded_again_when_it_is_back() {
    let Some(mut field) = Field::new() else {
        return;
    };
    let pony = field.start(Sources::Denied, "require");
    let start = Instant::now();
    let cut = thread::scope(|scope| {
        scope.spawn(|| {
            field.wait_until_refused(&pony, SOURCES);
            field.lab.proxy.run(&format!("ip link del {INTERFACE}"));
        });
        let patience = |_| start.elapsed() < PATIENCE;
        field.attacker.flood(Kind::Datagram, PORT, patience)
    });
    cut.expect_err("the cable is cut");
    wait_until("the guard to let go", || !field.is_guarded(&pony));
    assert_eq!(field.lab.attached(), [Some(Mode::Native); 2]);
    field.serves();

    field.attacker = Attacker::new(&field.lab);
    wait_until("the guard to be back", || field.is_guarded(&pony));
    let before = field.refused(&pony);
    let from_all = |sent| sent < SOURCES;
    field
        .attacker
        .flood(Kind::Datagram, PORT, from_all)
        .unwrap();
    field.wait_until_refused(&pony, before + SOURCES / 2);
    field.serves();
}

#[test]
fn a_guard_that_is_taken_off_in_a_flood_leaves_the_daemon_to_refuse_the_rest() {
    let Some(field) = Field::new() else { return };
    let pony = field.start(Sources::Denied, "require");
    thread::scope(|scope| {
        scope.spawn(|| {
            field.wait_until_refused(&pony, SOURCES / 10);
            field.lab.detach();
        });
        field.flood(&pony, Kind::Datagram, "Datagram, denied, guard taken off");
    });
    field.serves();
    let refused = field.refused(&pony);
    field.lab.proxy.enter(|| {
        wait_until("the daemon to refuse", || {
            pony.count("packetpony_acl_drops_total", "udp", "") > refused
        });
    });
}

#[test]
fn a_daemon_that_is_stopped_in_a_flood_ends_well_and_leaves_nothing_behind() {
    let Some(field) = Field::new() else { return };
    let mut pony = field.start(Sources::Denied, "require");
    let stopped = AtomicBool::new(false);
    let start = Instant::now();
    let go_on = |_| !stopped.load(Relaxed) && start.elapsed() < PATIENCE;
    let sent = thread::scope(|scope| {
        let flood = scope.spawn(|| field.attacker.flood(Kind::Datagram, PORT, go_on));
        field.wait_until_refused(&pony, SOURCES / 10);
        pony.signal("TERM");
        assert_eq!(pony.wait().code(), Some(0));
        stopped.store(true, Relaxed);
        flood.join().unwrap()
    });
    sent.unwrap();
    assert_eq!(field.lab.attached(), [None, None]);
}

#[test]
fn the_guard_cannot_be_taken_off_by_accident() {
    let Some(field) = Field::new() else { return };
    let _pony = field.start(Sources::Denied, "require");
    // It holds on by a link, which `ip` does not break.
    field.lab.proxy.enter(|| {
        for mode in ["xdp", "xdpdrv", "xdpgeneric"] {
            let line = format!("ip link set dev to-client {mode} off");
            drop(tools::command(&line).output().unwrap());
        }
    });
    assert_eq!(field.lab.attached(), [Some(Mode::Native); 2]);
}

impl Field {
    fn is_guarded(&self, pony: &Pony) -> bool {
        let (_, metrics) = self.lab.proxy.enter(|| pony.http("/metrics"));
        let label = format!("interface=\"{INTERFACE}\"");
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with("packetpony_guard_attached{") && line.contains(&label))
    }

    fn refused(&self, pony: &Pony) -> u64 {
        let proxy = &self.lab.proxy;
        proxy.enter(|| refused_by_guard(pony, Kind::Datagram, "acl"))
    }

    #[track_caller]
    fn wait_until_refused(&self, pony: &Pony, packets: u64) {
        wait_until("packets to be refused", || self.refused(pony) >= packets);
    }

    /// Somebody who is allowed gets an answer.
    #[track_caller]
    fn serves(&self) {
        let proxy = format!("{PROXY_V4}:{PORT}").parse().unwrap();
        self.lab.client.enter(|| {
            for way in [Way::Connections, Way::Datagrams] {
                way.ask(CLIENT_V4[0].into(), proxy)(7).unwrap();
            }
        });
    }
}
