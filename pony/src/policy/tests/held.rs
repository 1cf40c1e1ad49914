//! What others are told of clients that are held back, and what they tell.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;

const EVERYONE: usize = usize::MAX;

/// One limit each, of which `violate` makes use.
fn limits(reason: Reason) -> Limits {
    let (_, limits) = one_limit_each()
        .into_iter()
        .find(|(limit, _)| *limit == reason)
        .expect("there is one of each");
    limits
}

fn held(policy: &Policy, protocol: Protocol, now: Nanos) -> Vec<(String, Reason, Scope)> {
    let held = policy.held_back(protocol, now, EVERYONE).into_iter();
    let mut held: Vec<_> = held
        .map(|held| (held.client.to_ip().to_string(), held.reason, held.scope))
        .collect();
    held.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    held
}

fn was_notified(freed: &Notify) -> bool {
    let notified = pin!(freed.notified());
    let mut context = Context::from_waker(Waker::noop());
    notified.poll(&mut context) == Poll::Ready(())
}

#[test]
fn a_client_over_its_attempts_is_held_back_until_its_window_has_room() {
    let policy = policy(&Limits {
        attempts: Some(attempts(2)),
        ..Limits::default()
    });
    drop((admit(&policy, CLIENT, at(0)), admit(&policy, CLIENT, at(0))));
    drop(admit(&policy, OTHER, at(0)));
    assert_eq!(
        held(&policy, Protocol::Tcp, at(0)),
        [],
        "nobody was refused yet"
    );
    assert!(refusal(&policy, CLIENT, at(1)).is_some());
    let over = |scope| [(CLIENT.to_owned(), Reason::AttemptLimit, scope)];
    assert_eq!(held(&policy, Protocol::Tcp, at(2)), over(Scope::New));
    assert_eq!(held(&policy, Protocol::Udp, at(2)), over(Scope::All));
    assert_eq!(held(&policy, Protocol::Tcp, at(9_999)), over(Scope::New));
    assert_eq!(held(&policy, Protocol::Tcp, at(10_400)), []);
    assert!(
        refusal(&policy, CLIENT, at(10_400)).is_none(),
        "as was told"
    );
}

#[test]
fn a_udp_client_with_a_session_is_left_to_the_daemon() {
    let policy = policy(&Limits {
        attempts: Some(attempts(1)),
        ..Limits::default()
    });
    let session = admit(&policy, CLIENT, at(0));
    assert!(refusal(&policy, CLIENT, at(1)).is_some());
    assert_eq!(held(&policy, Protocol::Udp, at(1)), []);
    assert_eq!(held(&policy, Protocol::Tcp, at(1)).len(), 1);
    drop(session);
    assert_eq!(held(&policy, Protocol::Udp, at(1)).len(), 1);
}

#[test]
fn a_client_at_its_connection_limit_is_held_back_until_one_closes() {
    let freed = Arc::new(Notify::new());
    let limits = Limits {
        max_connections_per_ip: Some(2),
        ..Limits::default()
    };
    let policy = Policy::new(&everybody(), &limits, 1_000).notify_freed(Arc::clone(&freed));
    let policy = Arc::new(policy);
    let mut open = vec![admit(&policy, CLIENT, at(0)), admit(&policy, CLIENT, at(0))];
    drop(open.pop());
    assert!(!was_notified(&freed), "nobody was held back");
    open.push(admit(&policy, CLIENT, at(0)));
    assert!(refusal(&policy, CLIENT, at(0)).is_some());
    let over = [(CLIENT.to_owned(), Reason::ConnectionLimit, Scope::New)];
    assert_eq!(held(&policy, Protocol::Tcp, at(0)), over);
    assert_eq!(held(&policy, Protocol::Udp, at(0)), []);

    let other = admit(&policy, OTHER, at(0));
    drop(other);
    assert!(!was_notified(&freed), "that was another client");
    open.pop();
    assert!(was_notified(&freed));
    assert_eq!(held(&policy, Protocol::Tcp, at(0)), []);
    open.pop();
    assert!(!was_notified(&freed), "once is enough");
}

#[test]
fn what_was_moved_holds_tcp_clients_back_if_the_action_is_drop() {
    for (action, is_held) in [
        (Action::Drop, true),
        (Action::Throttle, false),
        (Action::LogOnly, false),
    ] {
        let policy = policy(&Limits {
            bandwidth: Some(bandwidth(100)),
            action,
            ..Limits::default()
        });
        let permit = admit(&policy, CLIENT, at(0));
        let _all = permit.charge(100, at(0));
        let _none = permit.charge(1, at(0));
        let found = held(&policy, Protocol::Tcp, at(0));
        assert_eq!(found.len(), usize::from(is_held), "{action:?}");
        assert!(found.iter().all(|found| found.1 == Reason::BandwidthLimit));
        drop(permit);
        assert_eq!(
            held(&policy, Protocol::Udp, at(0)),
            [],
            "datagrams are judged one by one"
        );
    }
}

#[test]
fn nobody_is_held_back_whom_no_limit_refuses() {
    for (reason, limits) in one_limit_each() {
        let log_only = Limits {
            action: Action::LogOnly,
            ..limits.clone()
        };
        for (policy, client) in [(policy(&log_only), CLIENT), (policy(&limits), EXEMPT)] {
            let _open: Vec<_> = (0..20)
                .map(|_| {
                    let permit = admit(&policy, client, at(0));
                    let _charge = permit.charge(1 << 20, at(0));
                    permit
                })
                .collect();
            assert_eq!(held(&policy, Protocol::Tcp, at(0)), [], "{reason} {client}");
        }
    }
    assert_eq!(held(&policy(&Limits::default()), Protocol::Tcp, at(0)), []);
}

#[test]
fn no_more_are_told_than_are_wanted() {
    let policy = policy(&Limits {
        attempts: Some(attempts(0)),
        ..Limits::default()
    });
    for n in 0..100_u8 {
        assert!(refusal(&policy, &format!("198.51.100.{n}"), at(0)).is_some());
    }
    for max in [0, 1, 99, 100, 101] {
        let held = policy.held_back(Protocol::Tcp, at(0), max);
        assert_eq!(held.len(), max.min(100));
    }
}

#[test]
fn attempts_that_were_refused_elsewhere_count_as_if_refused_here() {
    let limits = limits(Reason::AttemptLimit);
    let (alone, helped) = (policy(&limits), policy(&limits));
    let (mut refused, mut elsewhere) = (0, 0);
    for n in 0..100 {
        // Now and then it is quiet long enough to get in again.
        let now = at(n * 900 + n / 20 * 11_000);
        let refusal_alone = refusal(&alone, CLIENT, now);
        let held = helped.held_back(Protocol::Tcp, now, EVERYONE);
        let refusal_helped = match held[..] {
            [held] => {
                helped.count_refused(held.client, 1, now);
                elsewhere += 1;
                Some(held.reason)
            }
            _ => refusal(&helped, CLIENT, now),
        };
        assert_eq!(refusal_helped, refusal_alone, "attempt {n}");
        refused += usize::from(refusal_alone.is_some());
    }
    assert_eq!(refused, 95, "one of each twenty gets in");
    assert!(elsewhere >= 90, "all but the first after that: {elsewhere}");
}

#[test]
fn a_client_that_was_only_seen_elsewhere_is_known_then() {
    let policy = policy(&Limits {
        attempts: Some(attempts(3)),
        ..Limits::default()
    });
    let prefix = Addr16::from(ip("2001:db8::")).prefix(64);
    policy.count_refused(prefix, 2, at(0));
    assert_eq!(held(&policy, Protocol::Tcp, at(0)), []);
    policy.count_refused(prefix, 1, at(0));
    assert_eq!(held(&policy, Protocol::Tcp, at(0)).len(), 1);
    assert_eq!(
        refusal(&policy, "2001:db8::1234", at(1)),
        Some(Reason::AttemptLimit)
    );
    assert_eq!(
        (policy.known_clients(), policy.limited_clients(at(1))),
        (1, 1)
    );
    policy.forget_idle(at(20_000));
    assert_eq!(policy.known_clients(), 0);
}
