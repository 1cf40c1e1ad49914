//! What the kernel programs say themselves.

use std::net::UdpSocket;

use crate::{
    harness::{Entry, Launch, wait_for, wait_until},
    lab::{Lab, PROXY_V4, TARGET_V4, udp},
};

#[test]
fn the_programs_say_what_they_did_when_they_are_asked() {
    let Some(lab) = Lab::new() else { return };
    let said = |level: &str, expected: &str| {
        let arguments = ["run", "-c", "FILE", "--kernel-log", level];
        let launch = launch().guard("require").arguments(&arguments);
        let pony = lab.start(launch);
        send(&lab);
        wait_for(expected, || {
            let mut lines = pony.json().into_iter();
            lines.find(|line| {
                let text = line["message"].as_str().unwrap_or_default();
                text.starts_with(expected) && line["module"] == "pony_ebpf::log"
            })
        })
    };
    let start = "listener 1: drop of 5 bytes from ::ffff:192.0.2.1 port ";
    let refused = said("debug", start);
    assert_eq!(refused["level"], "debug");
    let text = refused["message"].as_str().unwrap();
    assert!(text.ends_with(": acl"), "{refused}");
    said(
        "trace",
        "listener 0: pass of 5 bytes from ::ffff:192.0.2.1 port ",
    );
}

#[test]
fn what_they_said_last_is_not_lost_at_the_end() {
    let Some(lab) = Lab::new() else { return };
    let arguments = ["run", "-c", "FILE", "--kernel-log", "trace"];
    let mut pony = lab.start(launch().guard("require").arguments(&arguments));
    send(&lab);
    let seen = |listener, verdict: &str| {
        let name = "packetpony_guard_packets_total";
        pony.count(name, listener, &format!("verdict=\"{verdict}\""))
    };
    wait_until("the guard to have seen both", || {
        lab.proxy
            .enter(|| seen("open", "pass") == 1 && seen("denied", "drop") == 1)
    });
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    let said = pony
        .json()
        .into_iter()
        .filter(|line| line["module"] == "pony_ebpf::log");
    assert_eq!(said.count(), 2);
}

#[test]
fn programs_that_are_not_asked_have_nothing_left_to_say_it_with() {
    let Some(lab) = Lab::new() else { return };
    let uses_buffer = |arguments: &[&str]| {
        let launch = launch().guard("require");
        let directory = format!("/sys/fs/bpf/packetpony/{}", launch.instance());
        let _pony = lab.start(launch.arguments(&[&["run", "-c", "FILE"], arguments].concat()));
        let entrance = lab.mounts.entrance().join(" ");
        let program = format!("bpftool prog dump xlated pinned {directory}/xdp_guard");
        let program = lab.proxy.run(&format!("{entrance} {program}"));
        program.contains("ringbuf_reserve")
    };
    assert!(uses_buffer(&["--kernel-log", "trace"]));
    assert!(!uses_buffer(&[]));
}

/// A listener that everybody may use, and one that the client may not.
fn launch() -> Launch {
    let target = format!("{TARGET_V4}:7");
    let denied: Entry = udp("denied", 7001, &target).allow("198.51.100.0/24");
    Launch::new(&udp("open", 7000, &target)).and(&denied)
}

fn send(lab: &Lab) {
    let socket = lab.client.enter(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    for port in [7000, 7001] {
        socket
            .send_to(b"hello", format!("{PROXY_V4}:{port}"))
            .unwrap();
    }
}
