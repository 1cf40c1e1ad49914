//! Attaching to interfaces, and leaving them as they were.

use pony::{
    config::{self, AttachMode, GuardMode, Interfaces, Protocol},
    kernel::{self, Guard, Mode, StartError},
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::{assert_on, is_root, namespace::Namespace, object, rules::open_listener};

#[test]
fn attaches_to_all_that_is_up_but_loopback_and_detaches_when_dropped() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    namespace.add_pair("down0", "down1");

    let guard = start(&namespace, GuardMode::Auto, Interfaces::Auto)
        .unwrap()
        .unwrap();
    assert_on(&guard, &[("a0", Mode::Native), ("b0", Mode::Native)]);
    assert_eq!(namespace.xdp("a0"), Some(Mode::Native));
    assert_eq!(namespace.xdp("b0"), Some(Mode::Native));
    assert_eq!(namespace.xdp("lo"), None);
    assert_eq!(namespace.xdp("down0"), None);

    drop(guard);
    assert_eq!(namespace.xdp("a0"), None);
    assert_eq!(namespace.xdp("b0"), None);
}

#[test]
fn a_driver_without_xdp_gets_the_guard_in_the_stack() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let guard = start(&namespace, GuardMode::Require, names(&["lo"]))
        .unwrap()
        .unwrap();
    assert_on(&guard, &[("lo", Mode::Generic)]);
    assert_eq!(namespace.xdp("lo"), Some(Mode::Generic));
    drop(guard);
    assert_eq!(namespace.xdp("lo"), None);
}

#[test]
fn the_configuration_says_where_on_an_interface_and_is_not_overruled() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let start = |interface, attach| {
        let config = config::Guard {
            mode: GuardMode::Require,
            interfaces: names(&[interface]),
            attach,
            ..config::Guard::default()
        };
        start_with(&namespace, &config)
    };
    let generic = start("a0", AttachMode::Generic).unwrap().unwrap();
    assert_on(&generic, &[("a0", Mode::Generic)]);
    assert_eq!(namespace.xdp("a0"), Some(Mode::Generic));
    drop(generic);

    let native = start("a0", AttachMode::Native).unwrap().unwrap();
    assert_eq!(namespace.xdp("a0"), Some(Mode::Native));
    drop(native);
    let text = start("lo", AttachMode::Native).err().unwrap().to_string();
    assert!(text.contains("driver cannot run XDP programs"), "{text}");
    assert_eq!(namespace.xdp("lo"), None);
}

#[test]
fn a_driver_that_could_but_not_as_it_is_set_up_gets_the_guard_in_the_stack() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    // The virtual driver wants a queue to receive for each one that the other end sends by.
    namespace.ip("link add a0 numrxqueues 1 type veth peer b0 numtxqueues 2\nlink set a0 up\n");
    namespace.run_tool("ethtool", &["-L", "b0", "tx", "2"]);
    let config = config::Guard {
        interfaces: names(&["a0"]),
        ..config::Guard::default()
    };
    let guard = start_with(&namespace, &config).unwrap().unwrap();
    assert_on(&guard, &[("a0", Mode::Generic)]);
    drop(guard);

    let config = config::Guard {
        mode: GuardMode::Require,
        attach: AttachMode::Native,
        ..config
    };
    let text = start_with(&namespace, &config).err().unwrap().to_string();
    assert!(text.contains("too few queues (`ethtool -L a0`)"), "{text}");
}

#[test]
fn a_large_mtu_does_not_keep_the_guard_out_of_the_driver() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    for name in ["a0", "b0"] {
        namespace.set_mtu(name, 9_000);
    }
    let guard = start(&namespace, GuardMode::Require, names(&["a0"]))
        .unwrap()
        .unwrap();
    assert_on(&guard, &[("a0", Mode::Native)]);
}

#[test]
fn another_program_in_the_way_is_named_with_the_remedy() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    for (interface, mode) in [("a0", Mode::Native), ("lo", Mode::Generic)] {
        let first = start(&namespace, GuardMode::Require, names(&[interface])).unwrap();
        let error = start(&namespace, GuardMode::Require, names(&[interface]))
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(text.contains("another XDP program"), "{text}");
        assert!(
            text.contains(&format!("ip link set dev {interface} xdp off")),
            "{text}"
        );
        let second = start(&namespace, GuardMode::Auto, names(&[interface]))
            .unwrap()
            .unwrap();
        assert_on(&second, &[]);

        assert_eq!(
            namespace.xdp(interface),
            Some(mode),
            "the first one is not disturbed"
        );
        drop(first);
    }
}

#[test]
fn auto_keeps_the_interfaces_that_work_and_require_wants_all() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    let interfaces = names(&["a0", "nonesuch"]);
    let guard = start(&namespace, GuardMode::Auto, interfaces.clone())
        .unwrap()
        .unwrap();
    assert_on(&guard, &[("a0", Mode::Native)]);
    drop(guard);

    let error = start(&namespace, GuardMode::Require, interfaces)
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains("no interface nonesuch") && text.contains("a0"),
        "{text}"
    );
    assert_eq!(namespace.xdp("a0"), None, "nothing is left behind");
}

#[test]
fn with_nothing_to_attach_to_auto_waits_and_require_says_so() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let guard = start(&namespace, GuardMode::Auto, Interfaces::Auto)
        .unwrap()
        .unwrap();
    assert_on(&guard, &[]);
    let error = start(&namespace, GuardMode::Require, Interfaces::Auto)
        .err()
        .unwrap();
    assert!(matches!(error, StartError::NoInterface), "{error}");
}

#[test]
fn switched_off_it_touches_nothing() {
    if !is_root() {
        return;
    }
    let namespace = with_pair();
    assert!(
        start(&namespace, GuardMode::Off, Interfaces::Auto)
            .unwrap()
            .is_none()
    );
    assert_eq!(namespace.xdp("a0"), None);
}

#[test]
fn without_privileges_auto_goes_on_and_require_says_what_is_missing() {
    if !is_root() {
        return;
    }
    object();
    let namespace = with_pair();
    let all = capabilities(None).unwrap();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        ..all
    };
    // Capabilities belong to the thread, and this one is the test's own.
    set_capabilities(None, none).unwrap();
    let auto = start(&namespace, GuardMode::Auto, Interfaces::Auto);
    let require = start(&namespace, GuardMode::Require, Interfaces::Auto);
    set_capabilities(None, all).unwrap();

    assert!(auto.unwrap().is_none());
    let error = require.err().unwrap();
    assert!(
        matches!(error, StartError::NotPermitted { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("CAP_BPF"), "{error}");
}

/// A namespace with two connected interfaces, `a0` and `b0`, both up.
pub(crate) fn with_pair() -> Namespace {
    let namespace = Namespace::new();
    namespace.add_pair("a0", "b0");
    namespace.set_up("a0");
    namespace.set_up("b0");
    namespace
}

fn start(
    namespace: &Namespace,
    mode: GuardMode,
    interfaces: Interfaces,
) -> Result<Option<Guard>, StartError> {
    let config = config::Guard {
        mode,
        interfaces,
        ..config::Guard::default()
    };
    start_with(namespace, &config)
}

pub(crate) fn start_with(
    namespace: &Namespace,
    config: &config::Guard,
) -> Result<Option<Guard>, StartError> {
    object();
    let listener = open_listener("web", Protocol::Tcp, ([0, 0, 0, 0], 80).into());
    namespace.run(kernel::start(config, &[listener], &[]))
}

pub(crate) fn names(names: &[&str]) -> Interfaces {
    Interfaces::Names(names.iter().map(|name| (*name).to_owned()).collect())
}
