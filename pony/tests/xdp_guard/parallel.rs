//! `xdp_guard` on several CPUs at once.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use pony_common::{layout::policy::Rule, limit::Action};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frames::Frame,
    guard::{Guard, XDP_DROP, XDP_PASS, XDP_TX, action, rows_map},
    is_root,
    setup::{RULE, Setup, access, limited},
};

const CPUS: usize = 2;

/// Runs `work` on each CPU at the same time.
fn on_every_cpu<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let start = |cpu| {
            scope.spawn(move || {
                let mut set = CpuSet::new();
                set.set(cpu);
                // With fewer CPUs they take turns.
                let _pinned = sched_setaffinity(None, &set);
                work(cpu)
            })
        };
        let threads: Vec<_> = (0..CPUS).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn no_more_attempts_pass_than_are_allowed_and_in_flight() {
    if !is_root() {
        return;
    }
    let everybody = access(&["0.0.0.0/0"], &[], &[]);
    let (max, each) = (3_000, 5_000_u16);
    let rule = limited(max, 0, Action::Drop);
    let guard = Guard::new(&Setup::open().with(&everybody, rule));
    let program = guard.program();
    let passed: usize = on_every_cpu(|cpu| {
        let syn = |n| Frame::syn(1, n).sequence(u32::try_from(cpu).unwrap());
        (0..each)
            .filter(|n| action(program, &syn(*n).0) == XDP_PASS)
            .count()
    })
    .into_iter()
    .sum();
    let bound = max as usize..=max as usize + CPUS - 1;
    assert!(bound.contains(&passed), "{passed} of {bound:?}");
}

#[test]
fn no_more_bytes_pass_than_are_allowed_and_in_flight() {
    if !is_root() {
        return;
    }
    let everybody = access(&["0.0.0.0/0"], &[], &[]);
    let (datagram, limit) = (7, 21_000);
    let rule = limited(0, limit, Action::Drop);
    let guard = Guard::new(&Setup::open().with(&everybody, rule));
    let (program, Frame(frame)) = (guard.program(), Frame::udp(1));
    let passed: usize = on_every_cpu(|_| {
        (0..5_000)
            .filter(|_| action(program, &frame) == XDP_PASS)
            .count()
    })
    .into_iter()
    .sum();
    let bytes = passed as u64 * datagram;
    let bound = limit..=limit + datagram * (CPUS as u64 - 1);
    assert!(bound.contains(&bytes), "{bytes} of {bound:?}");
}

#[test]
fn no_packet_is_judged_by_halves_of_two_policies() {
    if !is_root() {
        return;
    }
    // Each denies what the other allows, and each refuses in its own way: a rule of one and an
    // access list of the other would answer one of the two clients in a way that neither does.
    let told = Rule {
        reset: true,
        ..RULE
    };
    let first = Setup::open().with(&access(&["192.0.2.2/32"], &[], &[]), told);
    let second = Setup::open().with(&access(&["192.0.2.1/32"], &[], &[]), RULE);
    let mut guard = Guard::new(&first);
    let images = [rows_map(&second.image(2)), rows_map(&first.image(1))];
    let frames = [1, 2].map(|client| Frame::syn(client, 1).0);
    let right = [[XDP_TX, XDP_PASS], [XDP_PASS, XDP_DROP]];

    let (program, policies) = guard.program_and_policies();
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let run = || {
            let mut seen = [[0_u64; 2]; 2];
            while !done.load(Relaxed) {
                for ((frame, right), seen) in frames.iter().zip(right).zip(&mut seen) {
                    let action = action(program, frame);
                    let which = right.iter().position(|right| *right == action);
                    seen[which.unwrap_or_else(|| panic!("{action} is neither of {right:?}"))] += 1;
                }
            }
            seen
        };
        let threads: Vec<_> = (0..CPUS).map(|_| scope.spawn(run)).collect();
        for image in images.iter().cycle().take(1_000) {
            policies.set(0, image, 0).unwrap();
        }
        done.store(true, Relaxed);
        let seen = threads.into_iter().map(|thread| thread.join().unwrap());
        seen.collect::<Vec<_>>()
    });
    for seen in seen.iter().flatten().flatten() {
        assert!(*seen > 0, "both policies were in force: {seen:?}");
    }
}
