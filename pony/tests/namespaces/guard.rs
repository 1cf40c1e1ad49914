//! The guard comes, goes, and is taken away, and the proxy does its work all the same.

use std::net::{Shutdown, UdpSocket};

use crate::{
    harness::{
        Launch, PATIENCE, Pony,
        peers::{connect, exchange, pattern, ping, ping_udp, read_to_end},
        wait_eq, wait_until,
    },
    kernel::Mode,
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp, udp},
    servers,
};

#[test]
fn a_daemon_that_is_killed_leaves_no_program_behind_and_one_that_stops_detaches() {
    let Some(lab) = Lab::new() else { return };
    let launch = || Launch::new(&tcp("echo", 7000, &format!("{TARGET_V4}:7"))).guard("require");

    let mut killed = lab.start(launch());
    assert_eq!(lab.attached(), [Some(Mode::Native); 2]);
    let programs = lab.programs();
    assert_eq!(
        lab.links_of(&programs).len(),
        4,
        "two interfaces, in and out"
    );
    killed.signal("KILL");
    killed.wait();
    wait_until("the kernel to clear away", || {
        lab.attached() == [None, None] && lab.links_of(&programs).is_empty()
    });

    let mut stopped = lab.start(launch());
    assert_eq!(lab.attached(), [Some(Mode::Native); 2]);
    stopped.signal("TERM");
    assert_eq!(stopped.wait().code(), Some(0));
    assert_eq!(lab.attached(), [None, None]);
}

#[test]
fn an_interface_with_another_program_is_left_alone_and_the_log_says_why() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let entry = |port| tcp("echo", port, &format!("{TARGET_V4}:7"));
    let occupant = Launch::new(&entry(7000)).guard("require, interfaces: [to-client]");
    let _occupant = lab.start(occupant);
    assert_eq!(lab.attached(), [Some(Mode::Native), None]);

    // The other interface is free.
    let pony = lab.start(Launch::new(&entry(7001)).guard("auto"));
    assert_eq!(lab.attached(), [Some(Mode::Native); 2]);
    serves(&lab, 7001);
    let warning = pony.message("Kernel guard goes on without this interface");
    says_who_is_there(&warning);

    // Now none is.
    let pony = lab.start(Launch::new(&entry(7002)).guard("auto"));
    serves(&lab, 7002);
    says_who_is_there(&pony.message("Kernel guard goes on without this interface"));
    let warning = pony.message(
        "Kernel guard is on no interface yet: the proxy works without it until there is one",
    );
    assert_eq!(warning["level"], "warning", "{warning}");

    let launch = Launch::new(&entry(7003)).guard("require");
    let refused = lab.proxy.enter(|| launch.finish());
    refused.expect(
        1,
        &["guard.mode is \"require\"", "another XDP program is there"],
    );
}

#[test]
fn clients_see_the_same_with_the_guard_off_on_and_taken_away_half_way() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let launch = || {
        Launch::new(&tcp("tcp", 7000, &format!("{TARGET_V6}:7"))).and(&udp(
            "udp",
            7000,
            &format!("{TARGET_V4}:7"),
        ))
    };
    let mut expected = vec![LEN; 2];
    expected.extend([DATAGRAMS, DATAGRAM_BYTES, DATAGRAMS, DATAGRAM_BYTES]);

    for (mode, meanwhile) in [("off", false), ("require", false), ("require", true)] {
        let mut pony = lab.start(launch().guard(mode));
        let half_way = || {
            if meanwhile {
                lab.detach();
            }
        };
        let counted = counted(&lab, &pony, half_way);
        assert_eq!(counted, expected, "guard {mode}, taken away: {meanwhile}");
        pony.signal("TERM");
        assert_eq!(pony.wait().code(), Some(0));
    }
}

/// A connection and a session, both open while something happens `half_way`; returns what the
/// daemon counted.
fn counted(lab: &Lab, pony: &Pony, half_way: impl FnOnce()) -> Vec<u64> {
    let (stream, session) = lab.client.enter(|| {
        let stream = connect(format!("{PROXY_V4}:7000").parse().unwrap());
        let session = UdpSocket::bind("[::]:0").unwrap();
        session.connect(format!("{PROXY_V6}:7000")).unwrap();
        (stream, session)
    });
    session.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = pattern(usize::try_from(LEN).unwrap());
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let datagrams = |from: u64, to| (from..to).for_each(|_| ping_udp(&session, &[7; 100]));

    exchange(&stream, first);
    datagrams(0, DATAGRAMS / 2);
    half_way();
    datagrams(DATAGRAMS / 2, DATAGRAMS);
    exchange(&stream, second);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&stream), b"");

    lab.proxy.enter(|| {
        wait_eq(0, || pony.active("tcp"));
        let mut counted = vec![pony.bytes("tcp", "sent"), pony.bytes("tcp", "received")];
        for direction in ["sent", "received"] {
            counted.push(pony.packets("udp", direction));
            counted.push(pony.bytes("udp", direction));
        }
        counted
    })
}

fn serves(lab: &Lab, port: u16) {
    let address = format!("{PROXY_V4}:{port}").parse().unwrap();
    let mut stream = lab.client.enter(|| connect(address));
    ping(&mut stream, b"through the proxy");
}

#[track_caller]
fn says_who_is_there(warning: &serde_json::Value) {
    let reason = warning["reason"].as_str().unwrap();
    for words in [
        "to-client",
        "another XDP program is there",
        "ip link set dev to-client xdp off",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
}

const LEN: u64 = 16 << 20;
const DATAGRAMS: u64 = 40;
const DATAGRAM_BYTES: u64 = 100 * DATAGRAMS;
