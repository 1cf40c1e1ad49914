//! What the guard reports, from the program to the daemon.

use std::{
    iter, thread,
    time::{Duration, Instant},
};

use pony::{
    config::{AttemptLimit, Limits, Protocol},
    kernel::{Events, GuardListener, Report},
    sys,
};
use pony_common::{
    layout::{budget, stats::Slot},
    reason::Reason,
};
use pony_ebpf::fixtures::TCP_V4;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frames::Frame,
    guard::{XDP_DROP, XDP_PASS},
    is_root,
    real::Real,
    rules::open_listener,
};

fn listener() -> GuardListener<'static> {
    let addr = (TCP_V4.addr.to_ip(), TCP_V4.port.to_host());
    open_listener("web", Protocol::Tcp, addr.into())
}

fn told(events: &mut Events) -> Vec<Report> {
    iter::from_fn(|| events.take()).collect()
}

#[test]
fn a_refused_client_is_reported_once_a_second_and_nothing_of_it_is_lost() {
    if !is_root() {
        return;
    }
    let mut limited = listener();
    let limits = Limits {
        attempts: Some(AttemptLimit {
            max: 3,
            window: Duration::from_mins(10),
        }),
        ..Limits::default()
    };
    limited.rules.limits = &limits;
    let mut real = Real::start("reports", limited);
    let mut events = real.guard.take_events().unwrap();

    let start = Instant::now();
    for port in 0..3 {
        assert_eq!(real.verdict(&Frame::syn(1, port).0), XDP_PASS);
    }
    for port in 3..1_003 {
        assert_eq!(real.verdict(&Frame::syn(1, port).0), XDP_DROP);
    }
    for _again in 0..5 {
        assert_eq!(real.verdict(&Frame::syn(1, 7).0), XDP_DROP);
    }
    assert_eq!(real.verdict(&Frame::syn(2, 7).0), XDP_PASS);
    let mut reports = told(&mut events);
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    let at_once = reports.len();
    assert!(
        (1..=1 + seconds).contains(&at_once),
        "{at_once} in {seconds} s"
    );
    assert_eq!((reports[0].packets, reports[0].attempts), (1, 1));
    assert!(
        events.overdue(sys::now()).is_empty() || seconds > 0,
        "too early"
    );

    // The client is quiet now.
    let sums = |reports: &[Report]| {
        let packets: u64 = reports.iter().map(|report| report.packets).sum();
        let attempts: u64 = reports.iter().map(|report| report.attempts).sum();
        (packets, attempts)
    };
    let quiet = Instant::now();
    while sums(&reports).0 < 1_005 && quiet.elapsed() < PATIENCE {
        reports.extend(told(&mut events));
        reports.extend(events.overdue(sys::now()));
        thread::sleep(POLL);
    }
    assert_eq!(sums(&reports), (1_005, 1_000), "{reports:?}");
    assert!(reports.len() <= at_once + 2, "{reports:?}");
    for report in reports {
        assert_eq!(report.listener, 0);
        assert_eq!(report.client.to_string(), "192.0.2.1");
        assert_eq!(report.slot, Slot::Drop(Reason::AttemptLimit));
    }
}

#[test]
fn many_clients_do_not_make_more_reports_than_a_cpu_may() {
    if !is_root() {
        return;
    }
    let mut closed = listener();
    let nobody = crate::setup::access(&[], &[], &[]);
    closed.rules.access = &nobody;
    let mut real = Real::start("budget", closed);
    let mut events = real.guard.take_events().unwrap();
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).unwrap();

    let start = Instant::now();
    let mut reports = Vec::new();
    for client in 0..10_000_u16 {
        let [high, low] = client.to_be_bytes();
        let frame = Frame::syn(0, 1).source([10, 1, high, low]);
        assert_eq!(real.verdict(&frame.0), XDP_DROP);
        if client % 1_000 == 0 {
            reports.extend(told(&mut events));
        }
    }
    // Whoever runs the programs counts in units of 2³⁰ ns, and may begin within one.
    let most = (start.elapsed().as_secs() + 2) * budget::PER_SECOND;
    reports.extend(told(&mut events));
    let made = reports.len() as u64;
    assert!((1..=most).contains(&made), "{made} of {most}");
    let withheld = real.guard.counters().withheld().unwrap();
    assert_eq!(made + withheld, 10_000, "each is told or withheld");
    let tally = real.guard.counters().tally(0, Slot::Drop(Reason::Acl));
    assert_eq!(tally.unwrap().attempts, 10_000, "and counted anyway");
}

/// How long a report may take that is due after a second.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
