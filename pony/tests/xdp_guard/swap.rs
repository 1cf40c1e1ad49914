//! The policy is replaced in one step, while packets are judged by it.

use std::{
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Instant,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use pony::{
    config::{self, Access, GuardMode, IpNet, Limits, Protocol},
    kernel::{self, Guard, Rules},
};
use pony_common::names;
use pony_ebpf::{
    fixtures::{UDP_V4, rows},
    parse::Parsed,
};

use crate::{attach::with_pair, is_root, object, rules::open_listener};

#[test]
fn no_packet_is_judged_by_halves_of_two_policies() {
    if !is_root() {
        return;
    }
    object();
    let namespace = with_pair();
    let name = format!("swap-{}", process::id());
    let config = config::Guard {
        mode: GuardMode::Require,
        instance: Some(name.clone()),
        ..config::Guard::default()
    };
    let addr = (UDP_V4.addr.to_ip(), UDP_V4.port.to_host());
    let listener = open_listener("dns", Protocol::Udp, addr.into());
    let guard = namespace.run(kernel::start(&config, &[listener]));
    let guard = guard.unwrap().unwrap();
    // In both the same client is denied and the same one allowed, by tables that have nothing else
    // in common.
    let small = access(&["10.1.0.0/16"], &["10.2.0.0/16"]);
    let many: Vec<_> = (0..2_000_u32)
        .map(|n| format!("10.3.{}.{}/32", n >> 8, n & 0xff))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let large = access(
        &[&["10.1.2.0/24", "2001:db8::/32"][..], &many].concat(),
        &["10.0.0.0/32"],
    );
    replace(&guard, &small);

    let program = format!("/sys/fs/bpf/packetpony/{name}/{}", names::XDP_GUARD);
    let (is_over, judged) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        let judge = || {
            let program = Xdp::from_pin(&program, XdpAttachType::Interface).unwrap();
            while !is_over.load(Relaxed) {
                assert_eq!(verdict(&program, [10, 1, 2, 3]), PASS);
                assert_eq!(verdict(&program, [10, 2, 2, 3]), DROP);
                judged.fetch_add(2, Relaxed);
            }
        };
        let threads = [scope.spawn(judge), scope.spawn(judge)];
        for change in 0..CHANGES {
            replace(&guard, if change % 2 == 0 { &large } else { &small });
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

fn access(allow: &[&str], deny: &[&str]) -> Access {
    let nets =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    Access {
        allow: nets(allow),
        deny: nets(deny),
        exempt: Vec::new(),
    }
}

fn replace(guard: &Guard, access: &Access) {
    let rules = Rules {
        protocol: Protocol::Udp,
        access,
        limits: &Limits::default(),
        per_client: true,
    };
    guard.replace_policy(&[rules]).unwrap();
}

/// What becomes of a datagram from this client.
fn verdict(program: &Xdp, client: [u8; 4]) -> u32 {
    let mut rows = rows().into_iter();
    let row =
        rows.find(|row| matches!(row.expected, Ok(Parsed::Packet(packet)) if packet.to == UDP_V4));
    let mut frame = row.unwrap().frame;
    frame[14 + 12..14 + 16].copy_from_slice(&client);
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap().return_value
}

const PASS: u32 = 2;
const DROP: u32 = 1;
const CHANGES: u64 = 1_000;
