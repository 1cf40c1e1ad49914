//! What `xdp_guard` decides, step by step, in the kernel and in the model alike.

use pony_common::{
    addr::Addr16,
    layout::{
        block::{ALL_LISTENERS, Scope},
        policy::Rule,
        stats::Slot,
    },
    limit::Action,
    reason::Reason,
    time::Nanos,
};
use pony_ebpf::{fixtures, syn::REPEATS};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    frames::Frame,
    guard::{Guard, XDP_DROP as DROP, XDP_PASS as PASS, XDP_TX as TX},
    is_root,
    model::Model,
    setup::{RULE, Setup, access, limited},
};

const TCP_V4: u32 = 0;
const TCP_V6: u32 = 1;
const UDP_V4: u32 = 2;
const UDP_V6: u32 = 3;

/// Frames one after the other, what becomes of each, and what is counted in the end as what.
struct Case {
    name: &'static str,
    setup: Setup,
    steps: Vec<(Frame, u32)>,
    /// Listener, slot, packets, attempts.
    counted: Vec<(u32, Slot, u64, u64)>,
}

impl Case {
    #[track_caller]
    fn check(self) {
        let Self {
            name,
            setup,
            steps,
            counted,
        } = self;
        let guard = Guard::new(&setup);
        let mut model = Model::new(&setup);
        for (step, (Frame(frame), action)) in steps.into_iter().enumerate() {
            let run = guard.run(&frame);
            assert_eq!(run.action, action, "{name}, step {step}");
            assert_eq!(
                run,
                model.run(&frame, now()),
                "{name}, step {step}: the model"
            );
        }
        let counts = guard.counts();
        assert_eq!(counts, model.counts(), "{name}: the model");
        for (listener, slot, packets, attempts) in counted {
            let tally = counts.stats[slot.index(listener) as usize];
            let found = (tally.packets, tally.attempts);
            assert_eq!(found, (packets, attempts), "{name}: {listener} {slot:?}");
        }
    }
}

pub(crate) fn now() -> Nanos {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Nanos((now.tv_sec * 1_000_000_000 + now.tv_nsec).cast_unsigned())
}

fn check(cases: impl IntoIterator<Item = Case>) {
    if is_root() {
        cases.into_iter().for_each(Case::check);
    }
}

#[test]
fn flags_that_no_connection_has_are_dropped_for_listeners_alone() {
    let strangers = Setup::of(&[fixtures::UDP_V4]);
    let bogus = [0x00, 0x03, 0x06, 0x07, 0x3f, 0x2b, 0xc0, 0xc3];
    let sane = [0x01, 0x02, 0x04, 0x10, 0x12, 0x18, 0x19, 0x29, 0x38, 0xc2];
    let steps = |action: u32| {
        let bogus = bogus.map(|flags| (Frame::data(1).flags(flags), action));
        let sane = sane.map(|flags| (Frame::data(1).flags(flags), PASS));
        bogus.into_iter().chain(sane).collect::<Vec<_>>()
    };
    let dropped = Slot::Drop(Reason::Malformed);
    check([
        Case {
            name: "for a listener",
            setup: Setup::open(),
            steps: steps(DROP),
            counted: vec![(TCP_V4, dropped, 8, 0), (TCP_V4, Slot::Pass, 10, 0)],
        },
        Case {
            name: "for nobody",
            setup: strangers,
            steps: steps(PASS),
            counted: vec![(0, dropped, 0, 0)],
        },
    ]);
}

#[test]
fn on_ports_that_others_use_too_only_what_opens_something_is_judged() {
    let lists = access(&["192.0.2.1/32", "2001:db8:1:4::/64"], &[], &[]);
    let (acl, attempts) = (Slot::Drop(Reason::Acl), Slot::Drop(Reason::AttemptLimit));
    check([Case {
        name: "shared",
        setup: Setup::open()
            .with(&lists, limited(1, 7, Action::Drop))
            .shared(),
        steps: vec![
            (Frame::syn(3, 1), DROP),
            (Frame::syn(3, 1).flags(0x12), PASS),
            (Frame::data(3), PASS),
            (Frame::data(3).flags(0), DROP),
            (Frame::udp(3), DROP),
            (Frame::syn(1, 1), PASS),
            (Frame::syn(1, 2), DROP),
            (Frame::data(1), PASS),
            (Frame::udp(1), PASS),
            (Frame::udp(1), DROP),
            (Frame::syn_v6(5, 1), DROP),
            (Frame::syn_v6(5, 1).flags(0x10), PASS),
            (Frame::udp_v6(5), DROP),
        ],
        counted: vec![
            (TCP_V4, acl, 1, 1),
            (TCP_V4, attempts, 1, 1),
            (TCP_V4, Slot::Drop(Reason::Malformed), 1, 0),
            (TCP_V4, Slot::Pass, 1, 0),
            (UDP_V4, acl, 1, 1),
            (UDP_V4, Slot::Drop(Reason::BandwidthLimit), 1, 1),
            (UDP_V4, Slot::Pass, 1, 0),
            (TCP_V6, acl, 1, 1),
            (UDP_V6, acl, 1, 1),
        ],
    }]);
}

#[test]
fn access_is_by_address_and_denial_counts_connections_once() {
    let lists = access(
        &["192.0.2.0/28", "192.0.2.200/32", "2001:db8:1:4::/62"],
        &["192.0.2.3/32", "2001:db8:1:5::/64"],
        &["192.0.2.200/32"],
    );
    let setup = || Setup::open().with(&lists, limited(1, 7, Action::Drop));
    let denied = Slot::Drop(Reason::Acl);
    check([
        Case {
            name: "IPv4",
            setup: setup(),
            steps: vec![
                (Frame::syn(1, 1), PASS),
                (Frame::syn(3, 1), DROP),
                (Frame::syn(3, 1), DROP),
                (Frame::syn(3, 2), DROP),
                (Frame::data(3), DROP),
                (Frame::syn(16, 1), DROP),
                (Frame::udp(3), DROP),
                (Frame::udp(3), DROP),
                (Frame::syn(200, 1), PASS),
                (Frame::syn(200, 2), PASS),
                (Frame::udp(200), PASS),
                (Frame::udp(200), PASS),
            ],
            counted: vec![(TCP_V4, denied, 5, 3), (UDP_V4, denied, 2, 2)],
        },
        Case {
            name: "IPv6",
            setup: setup(),
            steps: vec![
                (Frame::syn_v6(4, 1), PASS),
                (Frame::syn_v6(5, 1), DROP),
                (Frame::syn_v6(6, 1), PASS),
                (Frame::syn_v6(8, 1), DROP),
                (Frame::udp_v6(7), PASS),
                (Frame::udp_v6(8), DROP),
            ],
            counted: vec![(TCP_V6, denied, 2, 2), (UDP_V6, denied, 1, 1)],
        },
    ]);
}

#[test]
fn attempts_are_limited_per_client_and_a_repeated_syn_is_one_attempt() {
    let everybody = access(&["0.0.0.0/0", "::/0"], &[], &[]);
    let two = |action| Setup::open().with(&everybody, limited(2, 0, action));
    let over = Slot::Drop(Reason::AttemptLimit);
    let steps = |third: u32| {
        vec![
            (Frame::syn(1, 1), PASS),
            (Frame::syn(1, 1), PASS),
            (Frame::syn(1, 2), PASS),
            (Frame::syn(1, 3), third),
            (Frame::syn(1, 3), third),
            (Frame::syn(1, 3).sequence(9), third),
            (Frame::syn(1, 1), PASS),
            (Frame::data(1), PASS),
            (Frame::data(1).flags(0x12), PASS),
            (Frame::syn(2, 1), PASS),
        ]
    };
    let reported = Slot::Report(Reason::AttemptLimit);
    check([
        Case {
            name: "drop",
            setup: two(Action::Drop),
            steps: steps(DROP),
            counted: vec![(TCP_V4, over, 3, 2), (TCP_V4, Slot::Pass, 7, 0)],
        },
        Case {
            name: "throttle refuses attempts too",
            setup: two(Action::Throttle),
            steps: steps(DROP),
            counted: vec![(TCP_V4, over, 3, 2)],
        },
        Case {
            name: "log_only reports and passes",
            setup: two(Action::LogOnly),
            steps: steps(PASS),
            counted: vec![(TCP_V4, over, 0, 0), (TCP_V4, reported, 2, 2)],
        },
        Case {
            name: "an IPv6 client is a prefix",
            setup: two(Action::Drop),
            steps: (1..=4)
                .map(|n| {
                    let frame = Frame::syn_v6(1, n).edit(14 + 8 + 15, &[n.to_be_bytes()[1]]);
                    (frame, if n <= 2 { PASS } else { DROP })
                })
                .collect(),
            counted: vec![(TCP_V6, over, 2, 2)],
        },
    ]);
}

#[test]
fn one_syn_that_is_sent_for_ever_does_not_stay_one_attempt() {
    let everybody = access(&["0.0.0.0/0"], &[], &[]);
    let limited = |attempts| Setup::open().with(&everybody, limited(attempts, 0, Action::Drop));
    let over = Slot::Drop(Reason::AttemptLimit);
    let copies = |n: u64, action| (0..n).map(move |_| (Frame::syn(1, 1), action));
    check([
        Case {
            name: "let through as two attempts, and refused as one",
            setup: limited(2),
            steps: copies(2 * (1 + REPEATS), PASS)
                .chain(copies(200, DROP))
                .collect(),
            counted: vec![(TCP_V4, Slot::Pass, 66, 0), (TCP_V4, over, 200, 1)],
        },
        Case {
            name: "refused from the first one on",
            setup: limited(0),
            steps: copies(200, DROP).collect(),
            counted: vec![(TCP_V4, over, 200, 1)],
        },
        Case {
            name: "another SYN of the same client is not counted with it",
            setup: limited(2),
            steps: copies(1 + REPEATS, PASS)
                .chain([(Frame::syn(1, 2), PASS), (Frame::syn(1, 2), PASS)])
                .chain(copies(1, DROP))
                .chain([(Frame::syn(1, 2), PASS)])
                .collect(),
            counted: vec![(TCP_V4, over, 1, 1)],
        },
    ]);
}

#[test]
fn bandwidth_is_limited_for_datagrams_alone() {
    let everybody = access(&["0.0.0.0/0", "::/0"], &[], &[]);
    let twenty = |action| Setup::open().with(&everybody, limited(1_000, 20, action));
    let (over, reported) = (
        Slot::Drop(Reason::BandwidthLimit),
        Slot::Report(Reason::BandwidthLimit),
    );
    let steps = |third: u32| {
        let mut steps = vec![
            (Frame::udp(1), PASS),
            (Frame::udp(1), PASS),
            (Frame::udp(1), third),
            (Frame::udp(1), third),
            (Frame::udp(2), PASS),
            (Frame::udp_v6(1), PASS),
        ];
        steps.extend((0..10).map(|_| (Frame::data(1), PASS)));
        steps
    };
    check([
        Case {
            name: "drop",
            setup: twenty(Action::Drop),
            steps: steps(DROP),
            counted: vec![(UDP_V4, over, 2, 2), (UDP_V4, Slot::Pass, 3, 0)],
        },
        Case {
            name: "throttle is for the daemon to do",
            setup: twenty(Action::Throttle),
            steps: steps(PASS),
            counted: vec![(UDP_V4, Slot::Pass, 5, 0)],
        },
        Case {
            name: "log_only reports and passes",
            setup: twenty(Action::LogOnly),
            steps: steps(PASS),
            counted: vec![(UDP_V4, reported, 2, 2), (UDP_V4, Slot::Pass, 3, 0)],
        },
    ]);
}

#[test]
fn blocks_hold_their_client_until_they_end() {
    let v4 = Addr16::from_v4([192, 0, 2, 1]).0;
    let later = Nanos(now().0 + 600_000_000_000);
    let limit = Reason::ConnectionLimit;
    let setup = |listener, scope, until| Setup::open().block(listener, v4, (limit, scope, until));
    let blocked = Slot::Drop(limit);
    check([
        Case {
            name: "new connections of one listener",
            setup: setup(TCP_V4, Scope::New, later),
            steps: block_steps(DROP, PASS, PASS),
            counted: vec![(TCP_V4, blocked, 2, 1)],
        },
        Case {
            name: "every packet for one listener",
            setup: setup(TCP_V4, Scope::All, later),
            steps: block_steps(DROP, DROP, PASS),
            counted: vec![(TCP_V4, blocked, 3, 1)],
        },
        Case {
            name: "new connections do not concern datagrams",
            setup: setup(UDP_V4, Scope::New, later),
            steps: block_steps(PASS, PASS, PASS),
            counted: vec![(UDP_V4, blocked, 0, 0)],
        },
        Case {
            name: "every packet for all listeners",
            setup: setup(ALL_LISTENERS, Scope::All, later),
            steps: block_steps(DROP, DROP, DROP),
            counted: vec![(TCP_V4, blocked, 3, 1), (UDP_V4, blocked, 1, 1)],
        },
    ]);
}

#[test]
fn a_block_ends_and_spares_who_is_exempt_and_comes_before_access() {
    let v4 = Addr16::from_v4([192, 0, 2, 1]).0;
    let later = Nanos(now().0 + 600_000_000_000);
    let (limit, total) = (Reason::ConnectionLimit, Reason::TotalLimit);
    let setup = |listener, scope, until| Setup::open().block(listener, v4, (limit, scope, until));
    let blocked = Slot::Drop(limit);
    check([
        Case {
            name: "ended",
            setup: setup(ALL_LISTENERS, Scope::All, Nanos(1)),
            steps: block_steps(PASS, PASS, PASS),
            counted: vec![(TCP_V4, blocked, 0, 0)],
        },
        Case {
            name: "one that ended and one for all",
            setup: setup(TCP_V4, Scope::All, Nanos(1)).block(
                ALL_LISTENERS,
                v4,
                (total, Scope::All, later),
            ),
            steps: block_steps(DROP, DROP, DROP),
            counted: vec![
                (TCP_V4, Slot::Drop(total), 3, 1),
                (UDP_V4, Slot::Drop(total), 1, 1),
            ],
        },
        Case {
            name: "not who is exempt",
            setup: setup(ALL_LISTENERS, Scope::All, later)
                .with(&access(&["192.0.2.0/24"], &[], &["192.0.2.0/30"]), RULE),
            steps: block_steps(PASS, PASS, PASS),
            counted: vec![(TCP_V4, blocked, 0, 0)],
        },
        Case {
            name: "before access",
            setup: setup(TCP_V4, Scope::All, later)
                .with(&access(&["192.0.2.2/32"], &[], &[]), RULE),
            steps: block_steps(DROP, DROP, DROP),
            counted: vec![
                (TCP_V4, blocked, 3, 1),
                (UDP_V4, Slot::Drop(Reason::Acl), 1, 1),
            ],
        },
    ]);
}

/// A client that is blocked, where what is refused of it is as given; and one that is not.
fn block_steps(syn: u32, rest: u32, udp: u32) -> Vec<(Frame, u32)> {
    vec![
        (Frame::syn(1, 1), syn),
        (Frame::syn(1, 1), syn),
        (Frame::data(1), rest),
        (Frame::udp(1), udp),
        (Frame::syn(2, 1), PASS),
    ]
}

#[test]
fn a_refused_syn_is_answered_where_the_rule_says_so() {
    let nobody = access(&[], &[], &[]);
    let reset = Rule {
        reset: true,
        ..RULE
    };
    let tags = [[0x88, 0xa8, 0x60, 7], [0x81, 0, 0, 42]];
    check([Case {
        name: "reset",
        setup: Setup::open().with(&nobody, reset),
        steps: vec![
            (Frame::syn(1, 1), TX),
            (Frame::syn(1, 1), TX),
            (Frame::syn_v6(1, 1), TX),
            (Frame::syn(1, 1).tagged(&tags[1..]), TX),
            (Frame::syn(1, 1).tagged(&tags), TX),
            (Frame::syn_v6(1, 1).tagged(&tags), TX),
            (Frame::data(1), DROP),
            (Frame::data(1).flags(0x12), DROP),
            (Frame::data(1).flags(0x06), DROP),
            (Frame::udp(1), DROP),
        ],
        counted: vec![
            (TCP_V4, Slot::Drop(Reason::Acl), 6, 1),
            (TCP_V6, Slot::Drop(Reason::Acl), 2, 1),
        ],
    }]);
}

#[test]
fn what_goes_back_counts_for_the_client_and_is_never_stopped() {
    if !is_root() {
        return;
    }
    let everybody = access(&["0.0.0.0/0", "::/0"], &[], &[]);
    let setup = Setup::open().with(&everybody, limited(1, 20, Action::Drop));
    let (guard, mut model) = (Guard::new(&setup), Model::new(&setup));
    let answers = [
        Frame::udp(1).back(),
        Frame::udp(1).back(),
        Frame::udp(1).back(),
        Frame::data(1).back(),
        Frame::udp_v6(1).back(),
        Frame::udp(1),
    ];
    for Frame(frame) in answers {
        assert_eq!(guard.send(&frame), Some(-1), "whatever is next decides");
        model.send(&frame, now());
    }
    let Frame(datagram) = Frame::udp(1);
    assert_eq!(guard.run(&datagram).action, DROP, "21 bytes went back");
    assert_eq!(model.run(&datagram, now()).action, DROP);
    let counts = guard.counts();
    assert_eq!(counts, model.counts());
    assert_eq!(counts.stats[Slot::Sent.index(UDP_V4) as usize].bytes, 21);
    assert_eq!(
        counts.ledger[&(TCP_V4, Addr16::from_v4([192, 0, 2, 1]).0)],
        [0, 0, 1, 5, 0]
    );
}
