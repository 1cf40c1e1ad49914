//! The rules and routes that the daemon makes, and that they are gone when it is.

use std::{fs, path::Path};

use super::{NEAR, at, near_tcp, near_udp, seen, tell_who_asks};
use crate::{
    harness::{Entry, Launch, peers::connect},
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, tcp},
    namespace::Namespace,
};

#[test]
fn rules_are_for_the_targets_answers_only_and_go_when_the_daemon_stops() {
    let Some(lab) = Lab::new() else { return };
    let before = Routing::of(&lab.proxy);
    let mut pony = lab.start(Launch::new(&near_tcp()).and(&near_udp()));
    let ours = Routing::of(&lab.proxy).without(&before);
    assert_eq!(ours.rules.len(), 4, "{ours:?}");
    for rule in &ours.rules {
        let is_narrow = ["iif lo", "ipproto", "sport 7 ", "proto 80"];
        assert!(is_narrow.iter().all(|word| rule.contains(word)), "{rule}");
        let from = ["from 127.0.0.1 ", "from ::1 "];
        assert!(from.iter().any(|from| rule.contains(from)), "{rule}");
    }
    assert_eq!(ours.routes.len(), 2, "{ours:?}");

    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    assert_eq!(Routing::of(&lab.proxy), before);
}

#[test]
fn what_a_killed_daemon_left_is_taken_over_or_taken_away_by_the_next_one() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let before = Routing::of(&lab.proxy);
    let launch = Launch::new(&near_tcp()).and(&near_udp());
    let file = launch.folder().join("config.yaml");
    let again = || Launch::new(&near_tcp()).arguments(&["run", "-c", file.to_str().unwrap()]);
    let mut killed = lab.start(launch);
    let made = Routing::of(&lab.proxy);
    killed.signal("KILL");
    killed.wait();
    assert_eq!(Routing::of(&lab.proxy), made, "nobody could take it away");

    let mut next = lab.start(again());
    assert_eq!(Routing::of(&lab.proxy), made, "neither twice nor less");
    let stream = lab.client.enter(|| connect(at(PROXY_V6, 7000)));
    assert_eq!(seen(&stream), stream.local_addr().unwrap());
    next.signal("KILL");
    next.wait();

    // One that needs none of it.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("preserve_source: true", "mark: 1")).unwrap();
    let _other = lab.start(again());
    assert_eq!(Routing::of(&lab.proxy), before);
}

#[test]
fn instances_leave_each_others_rules_alone() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let _first = lab.start(Launch::new(&near_tcp()));
    let alone = Routing::of(&lab.proxy);
    let mut second = lab.start(Launch::new(&near_tcp().listen("[::]:7001")));
    assert_eq!(Routing::of(&lab.proxy).without(&alone).rules.len(), 2);
    second.signal("TERM");
    second.wait();
    assert_eq!(Routing::of(&lab.proxy), alone);
    let stream = lab.client.enter(|| connect(at(PROXY_V4, 7000)));
    assert_eq!(seen(&stream), stream.local_addr().unwrap());
}

#[test]
fn a_second_daemon_of_the_same_name_is_refused_and_leaves_the_firsts_rules() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&near_tcp());
    let name = launch.instance();
    let file = launch.folder().join("config.yaml");
    let _first = lab.start(launch);
    let made = Routing::of(&lab.proxy);

    let other = launch_file(&file, "[::]:7000", "[::]:7001");
    let arguments = ["run", "-c", other.path().to_str().unwrap()];
    let second = Launch::new(&near_tcp()).arguments(&arguments);
    let refused = lab.proxy.enter(|| second.finish());
    refused.expect(1, &["another pony with the server.name", &name]);
    assert_eq!(Routing::of(&lab.proxy), made);
}

#[test]
fn a_target_that_is_not_on_loopback_is_warned_of() {
    let Some(lab) = Lab::new() else { return };
    let before = Routing::of(&lab.proxy);
    let entry = tcp("far", 7000, &format!("{TARGET_V4}:7")).with("preserve_source: true");
    let pony = lab.start(Launch::new(&entry));
    let warning = pony.message_where(
        "The target's answers must be routed here by hand: `routing: auto` does that for \
         addresses of loopback only (see `pony doctor`)",
        |warning| warning["listener"] == "far",
    );
    assert_eq!(warning["level"], "warning");
    assert_eq!(Routing::of(&lab.proxy), before);
}

#[test]
fn a_name_serves_both_families_or_the_one_that_the_machine_has() {
    let Some(lab) = Lab::new() else { return };
    tell_who_asks(&lab.proxy, NEAR);
    let entry = tcp("both", 7000, "both.test:7").with("preserve_source: true");
    let pony = lab.start(knowing_a_name(&entry));
    for proxy in [PROXY_V4, PROXY_V6] {
        let stream = lab.client.enter(|| connect(at(proxy, 7000)));
        assert_eq!(seen(&stream), stream.local_addr().unwrap());
    }
    drop(pony);
    lab.proxy
        .enter(|| fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
    let _pony = lab.start(knowing_a_name(&entry));
    let stream = lab.client.enter(|| connect(at(PROXY_V4, 7000)));
    assert_eq!(seen(&stream), stream.local_addr().unwrap());
}

/// With a name that is loopback in both families.
fn knowing_a_name(entry: &Entry) -> Launch {
    let launch = Launch::new(entry);
    let file = launch.folder().join("hosts");
    fs::write(&file, "127.0.0.1 both.test\n::1 both.test\n").unwrap();
    let mount = format!("mount --bind {} /etc/hosts; exec \"$@\"", file.display());
    launch.through(&["unshare", "--mount", "sh", "-ec", &mount, "sh"])
}

/// A copy of the file with another word in it.
fn launch_file(file: &Path, from: &str, to: &str) -> tempfile::NamedTempFile {
    let text = fs::read_to_string(file).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    fs::write(copy.path(), text.replace(from, to)).unwrap();
    copy
}

/// All rules, and all routes that are in no well-known table.
#[derive(Debug, Eq, PartialEq)]
struct Routing {
    rules: Vec<String>,
    routes: Vec<String>,
}

impl Routing {
    fn of(namespace: &Namespace) -> Self {
        let lines = |command: &str| -> Vec<String> {
            let families = ["-4", "-6"]
                .map(|family| namespace.run(&format!("ip -details {family} {command}")));
            let lines = families.iter().flat_map(|text| text.lines());
            lines.map(|line| format!("{} ", line.trim())).collect()
        };
        let mut routes = lines("route show table all");
        routes.retain(|route| route.contains("proto 80 "));
        Self {
            rules: lines("rule show"),
            routes,
        }
    }

    fn without(mut self, others: &Self) -> Self {
        self.rules.retain(|rule| !others.rules.contains(rule));
        self.routes.retain(|route| !others.routes.contains(route));
        self
    }
}
