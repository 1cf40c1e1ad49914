//! The policy is replaced in one step, while packets are judged by it.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Instant,
};

use pony::{
    config::{Access, Limits, Protocol},
    kernel::{Guard, Rules},
};
use pony_ebpf::fixtures::UDP_V4;

use crate::{
    frames::Frame,
    guard::{XDP_DROP, XDP_PASS, action},
    is_root,
    real::Real,
    rules::open_listener,
    setup::access,
};

#[test]
fn no_packet_is_judged_by_halves_of_two_policies() {
    if !is_root() {
        return;
    }
    let addr = (UDP_V4.addr.to_ip(), UDP_V4.port.to_host());
    let real = Real::start("swap", open_listener("dns", Protocol::Udp, addr.into()));
    let (guard, program) = (&real.guard, &real.program);
    // In both the same client is denied and the same one allowed, by tables that have nothing else
    // in common.
    let small = access(&["10.1.0.0/16"], &["10.2.0.0/16"], &[]);
    let many: Vec<_> = (0..2_000_u32)
        .map(|n| format!("10.3.{}.{}/32", n >> 8, n & 0xff))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let large = access(
        &[&["10.1.2.0/24", "2001:db8::/32"][..], &many].concat(),
        &["10.0.0.0/32"],
        &[],
    );
    replace(guard, &small);

    let [allowed, denied] = [1, 2].map(|net| Frame::udp(1).source([10, net, 2, 3]).0);
    let (is_over, judged) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        let judge = || {
            while !is_over.load(Relaxed) {
                assert_eq!(action(program, &allowed), XDP_PASS);
                assert_eq!(action(program, &denied), XDP_DROP);
                judged.fetch_add(2, Relaxed);
            }
        };
        let threads = [scope.spawn(judge), scope.spawn(judge)];
        for change in 0..CHANGES {
            replace(guard, if change % 2 == 0 { &large } else { &small });
            if threads.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        is_over.store(true, Relaxed);
    });
    let judged = judged.into_inner();
    println!(
        "{CHANGES} changes and {judged} packets in {:?}",
        start.elapsed()
    );
    assert_eq!(guard.generation(), 2 + CHANGES);
    assert!(judged > CHANGES);
}

fn replace(guard: &Guard, access: &Access) {
    let rules = Rules {
        protocol: Protocol::Udp,
        access,
        limits: &Limits::default(),
    };
    guard.replace_policy(&[rules]).unwrap();
}

const CHANGES: u64 = 1_000;
