//! Interfaces come, go and change their names, and the guard follows.

use std::fmt::Write as _;

use pony::{
    config::{self, GuardMode, Interfaces},
    kernel::{Guard, Mode},
};

use crate::{
    assert_on,
    attach::{names, start_with, with_pair},
    is_root,
    namespace::Namespace,
};

#[test]
fn an_interface_that_is_added_later_is_guarded_once_it_is_up() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let guard = start(&namespace, Interfaces::Auto);
    assert_on(&guard, BOTH);
    namespace.ip("link add c0 type veth peer d0\nlink set c0 up\n");
    waits(
        &namespace,
        &guard,
        &[
            ("a0", Mode::Native),
            ("b0", Mode::Native),
            ("c0", Mode::Native),
        ],
    );
    assert_eq!(namespace.xdp("c0"), Some(Mode::Native));
    assert_eq!(namespace.xdp("d0"), None, "it is down");
    assert_eq!(gauge(&guard), ["a0 native", "b0 native", "c0 native"]);

    namespace.ip("link del c0\n");
    waits(&namespace, &guard, BOTH);
    assert_eq!(gauge(&guard), ["a0 native", "b0 native"]);

    // What is attached stays attached while its interface is down.
    namespace.ip("link set a0 down\nlink add e0 type veth peer f0\nlink set e0 up\n");
    waits(
        &namespace,
        &guard,
        &[
            ("a0", Mode::Native),
            ("b0", Mode::Native),
            ("e0", Mode::Native),
        ],
    );
    drop(guard);
    for name in ["a0", "b0", "e0"] {
        assert_eq!(namespace.xdp(name), None, "{name}");
    }
}

#[test]
fn a_name_of_the_configuration_is_waited_for_and_left_with_its_interface() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let guard = start(&namespace, names(&["later"]));
    assert_on(&guard, &[]);

    // Whatever gets the name has the guard, also if it is down.
    namespace.ip("link set a0 down\nlink set a0 name later\n");
    waits(&namespace, &guard, &[("later", Mode::Native)]);
    // Whatever loses it, has not.
    namespace.ip("link set later name sooner\n");
    waits(&namespace, &guard, &[]);
    assert_eq!(namespace.xdp("sooner"), None);
    // Two changes at once: another interface has the name.
    namespace.ip("link set sooner name later\n");
    waits(&namespace, &guard, &[("later", Mode::Native)]);
    namespace.ip("link set b0 down\nlink set later name a0\nlink set b0 name later\n");
    namespace.wait_until("the other one to be guarded", || {
        namespace.xdp_by_ip("later") && !namespace.xdp_by_ip("a0")
    });
    assert_on(&guard, &[("later", Mode::Native)]);
}

#[test]
fn an_interface_keeps_the_guard_when_it_is_renamed() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let guard = start(&namespace, Interfaces::Auto);
    let program = namespace.xdp_program("a0");
    namespace.ip("link set a0 down\nlink set a0 name z0\nlink set z0 up\n");
    waits(
        &namespace,
        &guard,
        &[("b0", Mode::Native), ("z0", Mode::Native)],
    );
    assert_eq!(gauge(&guard), ["b0 native", "z0 native"]);
    assert_eq!(namespace.xdp_program("z0"), program);
}

#[test]
fn an_interface_that_is_made_anew_is_guarded_anew_even_with_the_same_number() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    namespace.ip(&format!("{PAIR_100}link set a0 up\n"));
    let guard = start(&namespace, Interfaces::Auto);
    assert_on(&guard, &[("a0", Mode::Native)]);
    for _ in 0..3 {
        namespace.ip(&format!("link del a0\n{PAIR_100}link set a0 up\n"));
        assert!(!namespace.xdp_by_ip("a0"), "it is new");
        namespace.wait_until("the new one to be guarded", || namespace.xdp_by_ip("a0"));
        assert_on(&guard, &[("a0", Mode::Native)]);
    }
}

#[test]
fn many_interfaces_that_come_and_go_faster_than_anybody_looks_leave_the_right_ones_guarded() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let guard = start(&namespace, Interfaces::Auto);
    // Nothing reads the notifications meanwhile: there is room for some hundred of these.
    let mut lines = String::new();
    for round in 0..8 {
        for number in 0..50 {
            let (name, peer) = (format!("v{number}"), format!("w{number}"));
            writeln!(lines, "link add {name} type veth peer {peer}").unwrap();
            writeln!(lines, "link set {name} up").unwrap();
            if round < 7 || number != 7 {
                writeln!(lines, "link del {name}").unwrap();
            }
        }
    }
    namespace.ip(&lines);
    waits(&namespace, &guard, &[("v7", Mode::Native)]);
    namespace.ip("link del v7\n");
    waits(&namespace, &guard, &[]);
}

#[test]
fn an_interface_whose_slot_becomes_free_is_guarded_then() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let first = start(&namespace, names(&["a0"]));
    let second = start(&namespace, Interfaces::Auto);
    assert_on(&second, &[("b0", Mode::Native)]);
    // That a program goes is not announced.
    drop(first);
    assert_eq!(namespace.xdp("a0"), None);
    waits(&namespace, &second, BOTH);
}

#[test]
fn a_guard_that_somebody_takes_off_stays_off() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let guard = start(&namespace, Interfaces::Auto);
    namespace.take_off("a0");
    namespace.ip("link set b0 alias noticed\n");
    waits(&namespace, &guard, &[]);
    assert!(gauge(&guard).is_empty());

    namespace.ip("link add c0 type veth peer d0\nlink set c0 up\n");
    waits(&namespace, &guard, &[("c0", Mode::Native)]);
    assert!(!namespace.xdp_by_ip("a0"));
}

impl Namespace {
    /// Whether an XDP program is there, asked without letting the runtime work.
    fn xdp_by_ip(&self, name: &str) -> bool {
        self.xdp_program(name).is_some()
    }

    /// The number of the XDP program of an interface, asked without letting the runtime work.
    pub(crate) fn xdp_program(&self, name: &str) -> Option<u64> {
        let link = self.json("ip", &["-json", "link", "show", "dev", name]);
        link[0]["xdp"]["prog"]["id"].as_u64()
    }

    /// Takes the guard off its interfaces, as an operator does.
    fn take_off(&self, name: &str) {
        let program = self.xdp_program(name).unwrap();
        let links = self.json("bpftool", &["--json", "link", "show"]);
        let links = links.as_array().unwrap().iter();
        for link in links.filter(|link| link["prog_id"] == program) {
            let id = link["id"].to_string();
            self.run_tool("bpftool", &["link", "detach", "id", &id]);
        }
    }

    fn json(&self, program: &str, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run_tool(program, arguments)).unwrap()
    }
}

fn start(namespace: &Namespace, interfaces: Interfaces) -> Guard {
    let config = config::Guard {
        mode: GuardMode::Auto,
        interfaces,
        ..config::Guard::default()
    };
    start_with(namespace, &config).unwrap().unwrap()
}

#[track_caller]
fn waits(namespace: &Namespace, guard: &Guard, expected: &[(&str, Mode)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, mode)| ((*name).to_owned(), *mode))
        .collect();
    namespace.wait_until(&format!("{expected:?}"), || guard.attached() == expected);
}

/// What the metrics say, sorted.
fn gauge(guard: &Guard) -> Vec<String> {
    let attached = guard.counters().attached().into_iter();
    let mut lines: Vec<_> = attached
        .map(|(interface, mode)| format!("{interface} {mode}"))
        .collect();
    lines.sort_unstable();
    lines
}

const BOTH: &[(&str, Mode)] = &[("a0", Mode::Native), ("b0", Mode::Native)];
const PAIR_100: &str = "link add a0 index 100 type veth peer b0 index 101\n";
