//! `pony` as an ordinary user.

use crate::{
    harness::{
        Entry, Launch,
        peers::{connect, ping},
    },
    lab::{Lab, PROXY_V6, TARGET_V4, tcp},
    servers,
};

#[test]
fn an_ordinary_user_gets_a_proxy_without_the_guard_and_a_warning() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);

    let pony = lab.start(Launch::new(&entry()).by_nobody().guard("auto"));
    assert_eq!(lab.attached(), [None, None]);
    let mut stream = lab
        .client
        .enter(|| connect(format!("{PROXY_V6}:7000").parse().unwrap()));
    ping(&mut stream, b"through the proxy");

    let warning = pony.message("Kernel guard not started: the proxy works without it");
    assert_eq!(warning["level"], "warning", "{warning}");
    let reason = warning["reason"].as_str().unwrap();
    assert!(reason.contains(REASON), "{reason}");
}

#[test]
fn an_ordinary_user_who_requires_the_guard_is_told_what_is_missing() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&entry()).by_nobody().guard("require");
    let refused = lab.proxy.enter(|| launch.finish());
    refused.expect(1, &["guard.mode is \"require\"", REASON, "CAP_BPF"]);
    assert_eq!(lab.attached(), [None, None]);
}

fn entry() -> Entry {
    tcp("echo", 7000, &format!("{TARGET_V4}:7"))
}

const REASON: &str = "not permitted to use BPF";
