//! `pony doctor` names what is missing, and its commands mend it.

use super::{
    NEAR, PROXIES, at, expect_each_client_itself, near_tcp, near_udp, seen, tell_who_asks,
};
use crate::{
    harness::{Entry, Finished, Launch, peers::connect},
    lab::{Lab, TARGET_V4, TARGET_V6, tcp},
};

/// Runs it in the proxy's namespace for these listeners.
#[track_caller]
fn doctor(lab: &Lab, entries: &[&Entry]) -> Finished {
    lab.proxy.enter(|| launch(entries).finish())
}

fn launch(entries: &[&Entry]) -> Launch {
    let first = Launch::new(entries[0]).arguments(&["doctor", "-c", "FILE"]);
    entries[1..]
        .iter()
        .fold(first, |launch, entry| launch.and(entry))
}

/// Does what it says.
fn obey(lab: &Lab, finished: &Finished) {
    let lines = finished.output.lines().map(str::trim);
    for line in lines.filter(|line| line.starts_with("ip ")) {
        // Two targets share a table.
        let line = line.replace("route add", "route replace");
        lab.proxy.run(&line);
    }
}

#[test]
fn its_commands_bring_the_answers_of_targets_on_loopback_back() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let entries =
        [near_tcp().lane("splice"), near_udp()].map(|entry| entry.with("routing: manual"));
    let ill = doctor(&lab, &entries.each_ref());
    ill.expect(
        1,
        &[
            "ok       listener tcp: may use clients' addresses",
            "missing  listener tcp: answers of 127.0.0.1 port 7 to clients do not come here",
            "ip rule add from 127.0.0.1 ipproto udp sport 7 iif lo lookup 123",
            "ip -6 rule add from ::1 ipproto tcp sport 7 iif lo lookup 123",
            "ip -6 route add local default dev lo table 123",
        ],
    );
    obey(&lab, &ill);
    let well = doctor(&lab, &entries.each_ref());
    well.expect(
        0,
        &["ok       listener udp: answers of ::1 port 7 to clients come here"],
    );

    let _pony = lab.start(Launch::new(&entries[0]).and(&entries[1]));
    expect_each_client_itself(&lab);
}

#[test]
fn its_commands_bring_the_answers_of_targets_on_another_machine_back() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.target, [TARGET_V4, TARGET_V6]);
    lab.route_answers_through_the_proxy();
    let entry = tcp("far", 7000, &format!("{TARGET_V4}:7"))
        .with(&format!(
            "target_address_v6: \"{TARGET_V6}:7\", preserve_source: true"
        ))
        .lane("splice");
    let ill = doctor(&lab, &[&entry]);
    ill.expect(
        1,
        &[
            "ip rule add from 198.51.100.1 ipproto tcp sport 7 iif to-target lookup 123",
            "ip -6 rule add from 2001:db8:2::1 ipproto tcp sport 7 iif to-target lookup 123",
            "note     listener far: the host of 198.51.100.1 has to send",
        ],
    );
    obey(&lab, &ill);
    doctor(&lab, &[&entry]).expect(0, &["2001:db8:2::1 port 7 to clients come here"]);

    let _pony = lab.start(Launch::new(&entry));
    for proxy in PROXIES {
        let stream = lab.client.enter(|| connect(at(proxy, 7000)));
        assert_eq!(seen(&stream), stream.local_addr().unwrap());
    }
}

#[test]
fn what_the_daemon_does_itself_is_not_missing_unless_somebody_undid_it() {
    let Some(lab) = Lab::new() else { return };
    let entry = near_tcp().lane("splice");
    doctor(&lab, &[&entry]).expect(0, &["come here while the daemon runs (routing: auto)"]);

    let launch = Launch::new(&entry);
    let file = launch.folder().join("config.yaml");
    let arguments = ["doctor", "-c", file.to_str().unwrap()];
    let examine = || {
        let doctor = Launch::new(&entry).arguments(&arguments);
        lab.proxy.enter(|| doctor.finish())
    };
    let _pony = lab.start(launch);
    examine().expect(0, &["answers of ::1 port 7 to clients come here\n"]);
    lab.proxy.run("ip rule del priority 80");
    examine().expect(
        1,
        &["answers of 127.0.0.1 port 7 to clients do not come here: somebody has taken"],
    );
}

#[test]
fn what_an_ordinary_user_may_not_do_is_missing() {
    let Some(lab) = Lab::new() else { return };
    let many = tcp("many", 0, "127.0.0.1:7").listen("0.0.0.0:7100-7101");
    let launch = launch(&[&near_tcp(), &many]).guard("auto").by_nobody();
    let ill = lab.proxy.enter(|| launch.finish());
    ill.expect(
        1,
        &[
            "missing  guard: not permitted to use BPF",
            "missing  sockmap lane: not permitted to use BPF",
            "missing  listener tcp: preserve_source: ",
            "missing  listener many: listen_address is more than one address and port, but pony is not",
        ],
    );
}

#[test]
fn a_machine_that_has_everything_is_told_so() {
    let Some(lab) = Lab::new() else { return };
    let launch = launch(&[&tcp("tcp", 7000, "127.0.0.1:7")]).guard("auto");
    let well = lab.proxy.enter(|| launch.finish());
    well.expect(0, &["ok       guard: ", "ok       sockmap lane: "]);
    let plain = tcp("tcp", 7000, "127.0.0.1:7").lane("splice");
    doctor(&lab, &[&plain]).expect(0, &["nothing special is needed"]);
    let many = plain.listen("0.0.0.0:7100-7101");
    doctor(&lab, &[&many]).expect(
        0,
        &["ok       listener tcp: the kernel brings its many ports"],
    );
}
