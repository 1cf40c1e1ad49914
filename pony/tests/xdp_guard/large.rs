//! More than usual: a million prefixes, and more clients than there is room for.

use std::time::Instant;

use pony::{
    config::{Access, IpNet, Limits, Protocol},
    kernel::Rules,
};
use pony_common::{layout::ledger::WAYS, limit::Action};
use pony_ebpf::fixtures::{CLIENT_V4, UDP_V4};

use crate::{
    frames::Frame,
    guard::{Guard, XDP_DROP, XDP_PASS},
    is_root,
    real::Real,
    rules::open_listener,
    setup::{Setup, access, limited},
};

const PREFIXES: u32 = 1_000_000;
/// Every so many addresses one is allowed.
const STEP: u32 = 16;
const FIRST: u32 = 0x0a00_0000;

#[test]
fn a_million_prefixes_are_loaded_and_obeyed() {
    if !is_root() {
        return;
    }
    let addr = (UDP_V4.addr.to_ip(), UDP_V4.port.to_host());
    let real = Real::start("large", open_listener("dns", Protocol::Udp, addr.into()));
    let allowed: Vec<IpNet> = (0..PREFIXES)
        .map(|n| {
            format!("{}/32", std::net::Ipv4Addr::from(FIRST + n * STEP))
                .parse()
                .unwrap()
        })
        .collect();
    let replace = |allow: Vec<IpNet>| {
        let access = Access {
            allow,
            ..Access::default()
        };
        let rules = Rules {
            protocol: Protocol::Udp,
            access: &access,
            limits: &Limits::default(),
        };
        let start = Instant::now();
        let installed = real.guard.replace_policy(&[rules]).unwrap();
        (start.elapsed(), installed.rows)
    };
    let from = |addr: u32| Frame::udp(0).source(addr.to_be_bytes()).0;
    let cost = || {
        let mut costs: Vec<_> = (0..21)
            .map(|_| real.repeat(&from(FIRST), 10_000).1)
            .collect();
        costs.sort_unstable();
        costs[costs.len() / 2]
    };

    replace(vec!["10.0.0.0/32".parse().unwrap()]);
    let few = cost();
    let (time, rows) = replace(allowed);
    println!(
        "{PREFIXES} prefixes: {rows} rows of 64 bytes, in force after {time:?}; \
         {} ns for a packet, {few} ns with one prefix",
        cost()
    );
    for n in (0..PREFIXES).step_by(997).chain([PREFIXES - 1]) {
        let addr = FIRST + n * STEP;
        assert_eq!(real.verdict(&from(addr)), XDP_PASS, "{addr:x}");
        for other in [addr - 1, addr + 1, addr + STEP / 2] {
            assert_eq!(real.verdict(&from(other)), XDP_DROP, "{other:x}");
        }
    }
    for outside in [0, FIRST - STEP, FIRST + PREFIXES * STEP, u32::MAX] {
        assert_eq!(real.verdict(&from(outside)), XDP_DROP, "{outside:x}");
    }
}

#[test]
fn a_flood_of_clients_makes_the_guard_forget_but_not_those_who_keep_sending() {
    if !is_root() {
        return;
    }
    let everybody = access(&["0.0.0.0/0"], &[], &[]);
    let mut setup = Setup::open().with(&everybody, limited(3, 0, Action::Drop));
    setup.sets = 128;
    let room = (setup.sets * WAYS) as usize;
    let guard = Guard::new(&setup);
    let syn = |client: u8, port| guard.run(&Frame::syn(client, port).0).action;
    // One that sends all the time, and one that is quiet after it has used what it may.
    for (client, port) in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)] {
        assert_eq!(syn(client, port), XDP_PASS);
    }
    assert_eq!((syn(1, 4), syn(2, 4)), (XDP_DROP, XDP_DROP));

    let mut busy = 0;
    for source in 0..100_000_u32 {
        let [_, high, middle, low] = source.to_be_bytes();
        let spoofed = Frame::syn(0, 1).source([10, high, middle, low]);
        assert_eq!(guard.run(&spoofed.0).action, XDP_PASS);
        if source % 64 == 0 {
            guard.run(&Frame::data(1).0);
            busy += 1;
        }
    }
    let counts = guard.counts();
    assert!(
        counts.ledger.len() <= room,
        "no more than there is room for"
    );
    assert!(counts.ledger.len() > room * 99 / 100, "all of it is used");
    let mut client = [0; 16];
    client[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    assert_eq!(client[12..15], CLIENT_V4[..3]);
    let used = counts.ledger.get(&(0, client)).unwrap();
    assert_eq!((used[0], used[4]), (3 + busy, 4), "packets and attempts");

    assert_eq!(syn(1, 5), XDP_DROP, "nothing is forgotten");
    for port in 5..8 {
        assert_eq!(syn(2, port), XDP_PASS, "starts afresh");
    }
    assert_eq!(syn(2, 8), XDP_DROP);
}
