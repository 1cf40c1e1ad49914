mod bans;
mod counts;
mod credit;
mod held;

use std::time::Duration;

use pony_common::limit::{BandwidthLimit, Charge, DatagramCharge};

use super::*;
use crate::config::AttemptLimit;

const CLIENT: &str = "192.0.2.1";
const OTHER: &str = "198.51.100.7";
const EXEMPT: &str = "203.0.113.1";
const DENIED: &str = "192.0.2.66";

/// Milliseconds after a moment long after boot.
fn at(millis: u64) -> Nanos {
    Nanos::from_millis(1_000_000_000 + millis)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn policy(limits: &Limits) -> Arc<Policy> {
    Arc::new(Policy::new(&everybody(), limits, 1_000))
}

fn everybody() -> Access {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Access {
        allow: nets(&["0.0.0.0/0", "::/0"]),
        deny: nets(&["192.0.2.66/32"]),
        exempt: nets(&["203.0.113.0/24", "192.0.2.66/32"]),
    }
}

fn attempts(max: u32) -> AttemptLimit {
    let window = Duration::from_secs(10);
    AttemptLimit { max, window }
}

fn bandwidth(limit: u64) -> BandwidthLimit {
    BandwidthLimit {
        limit,
        window: Nanos::from_secs(10),
        // The listener's action is what counts.
        action: Action::Drop,
        throttle_minimum: 100,
    }
}

fn refusal(policy: &Arc<Policy>, client: &str, now: Nanos) -> Option<Reason> {
    policy.admit(ip(client), now).err()
}

fn admit(policy: &Arc<Policy>, client: &str, now: Nanos) -> Permit {
    policy
        .admit(ip(client), now)
        .unwrap_or_else(|reason| panic!("{client}: {reason}"))
}

#[test]
fn the_first_limit_in_order_is_the_reason() {
    let everything = Limits {
        attempts: Some(attempts(1)),
        max_total_connections: Some(1),
        max_connections_per_ip: Some(1),
        bandwidth: Some(bandwidth(10)),
        ..Limits::default()
    };
    // One more limit out of the way in each row, and what then refuses the second connection.
    let no_attempts = Limits {
        attempts: None,
        ..everything.clone()
    };
    let no_total = Limits {
        max_total_connections: None,
        ..no_attempts.clone()
    };
    let no_count = Limits {
        max_connections_per_ip: None,
        ..no_total.clone()
    };
    let none = Limits {
        bandwidth: None,
        ..no_count.clone()
    };
    for (limits, expected) in [
        (everything, Some(Reason::AttemptLimit)),
        (no_attempts, Some(Reason::TotalLimit)),
        (no_total, Some(Reason::ConnectionLimit)),
        (no_count, Some(Reason::BandwidthLimit)),
        (none, None),
    ] {
        for action in [Action::Drop, Action::LogOnly] {
            let limits = Limits {
                action,
                ..limits.clone()
            };
            let policy = policy(&limits);
            let expected = match (action, expected) {
                (Action::Drop, Some(reason)) => Err(reason),
                (_, reason) => Ok(reason),
            };
            assert_eq!(second_connection(&policy, CLIENT), expected);
            assert_eq!(refusal(&policy, DENIED, at(2)), Some(Reason::Acl));
        }
    }
}

/// One limit alone, which a second connection violates once the first has moved ten bytes.
fn one_limit_each() -> [(Reason, Limits); 4] {
    let none = Limits::default;
    let attempts = Limits {
        attempts: Some(attempts(1)),
        ..none()
    };
    let total = Limits {
        max_total_connections: Some(1),
        ..none()
    };
    let connections = Limits {
        max_connections_per_ip: Some(1),
        ..none()
    };
    let bandwidth = Limits {
        bandwidth: Some(bandwidth(10)),
        ..none()
    };
    [
        (Reason::AttemptLimit, attempts),
        (Reason::TotalLimit, total),
        (Reason::ConnectionLimit, connections),
        (Reason::BandwidthLimit, bandwidth),
    ]
}

/// Why a second connection of `client` is refused, and if it is not, what it reports.
fn second_connection(policy: &Arc<Policy>, client: &str) -> Result<Option<Reason>, Reason> {
    let first = admit(policy, client, at(0));
    assert_eq!(first.violation(), None);
    let _charge = first.charge(10, at(0));
    let second = policy.admit(ip(client), at(1))?;
    Ok(second.violation())
}

#[test]
fn what_each_action_does_about_each_limit() {
    for (reason, limits) in one_limit_each() {
        for action in [Action::Drop, Action::Throttle, Action::LogOnly] {
            let expected = match (action, reason) {
                (Action::LogOnly, _) => Ok(Some(reason)),
                (Action::Throttle, Reason::BandwidthLimit) => Ok(None),
                (Action::Drop | Action::Throttle, _) => Err(reason),
            };
            let policy = policy(&Limits {
                action,
                ..limits.clone()
            });
            assert_eq!(
                second_connection(&policy, CLIENT),
                expected,
                "{reason} {action:?}"
            );
        }
    }
}

#[test]
fn no_limit_holds_an_exempt_client_back() {
    for (reason, limits) in one_limit_each() {
        for action in [Action::Drop, Action::Throttle, Action::LogOnly] {
            let policy = policy(&Limits {
                action,
                ..limits.clone()
            });
            assert_eq!(
                second_connection(&policy, EXEMPT),
                Ok(None),
                "{reason} {action:?}"
            );
            let permit = admit(&policy, EXEMPT, at(2));
            assert_eq!(permit.charge(9_999, at(2)), Charge::Grant(9_999));
            assert_eq!(permit.charge_datagram(9_999, at(2)), DatagramCharge::Pass);
            assert_eq!(policy.limited_clients(at(2)), 0, "{reason} {action:?}");
        }
    }
}

#[test]
fn what_each_action_does_about_bytes() {
    for (action, partial, over, datagram) in [
        (
            Action::Drop,
            Charge::Grant(4),
            Charge::Over,
            DatagramCharge::Drop,
        ),
        (
            Action::Throttle,
            Charge::Grant(4),
            Charge::Grant(1),
            DatagramCharge::Drop,
        ),
        (
            Action::LogOnly,
            Charge::GrantOver(8),
            Charge::GrantOver(8),
            DatagramCharge::PassOver,
        ),
    ] {
        let policy = policy(&Limits {
            action,
            bandwidth: Some(bandwidth(10)),
            ..Limits::default()
        });
        let (one, two) = (admit(&policy, CLIENT, at(0)), admit(&policy, CLIENT, at(0)));
        assert!(one.is_metered());
        assert_eq!(one.charge(6, at(0)), Charge::Grant(6), "{action:?}");
        assert_eq!(policy.limited_clients(at(0)), 0);
        assert_eq!(two.charge(8, at(0)), partial, "{action:?}");
        assert_eq!(one.charge(8, at(0)), over, "{action:?}");
        assert_eq!(two.charge_datagram(1, at(0)), datagram, "{action:?}");
        assert_eq!(policy.limited_clients(at(0)), 1, "{action:?}");
        assert_eq!(
            policy.limited_clients(at(10_400)),
            0,
            "{action:?}: forgiven"
        );
        assert_eq!(two.charge(10, at(10_400)), Charge::Grant(10), "{action:?}");

        let other = admit(&policy, OTHER, at(0));
        assert_eq!(
            other.charge(10, at(0)),
            Charge::Grant(10),
            "other clients have their own"
        );
    }
}

#[test]
fn without_a_limit_for_clients_nobody_is_remembered() {
    let policy = policy(&Limits {
        max_total_connections: Some(2),
        ..Limits::default()
    });
    let permit = admit(&policy, CLIENT, at(0));
    assert!(!permit.is_metered());
    assert_eq!(permit.charge(u64::MAX, at(0)), Charge::Grant(u64::MAX));
    assert_eq!(
        permit.charge_datagram(u64::MAX, at(0)),
        DatagramCharge::Pass
    );
    assert!(policy.ledger.is_none());
    assert_eq!((policy.known_clients(), policy.open_now()), (0, 1));
    let _second = admit(&policy, OTHER, at(0));
    assert_eq!(refusal(&policy, OTHER, at(0)), Some(Reason::TotalLimit));
}

#[test]
fn a_place_comes_back_at_close_and_not_by_age() {
    let policy = policy(&Limits {
        max_connections_per_ip: Some(2),
        ..Limits::default()
    });
    let first = admit(&policy, CLIENT, at(0));
    let second = admit(&policy, CLIENT, at(0));
    assert_eq!(
        refusal(&policy, CLIENT, at(3_600_000)),
        Some(Reason::ConnectionLimit)
    );
    drop(first);
    let third = admit(&policy, CLIENT, at(3_600_001));
    assert_eq!(
        refusal(&policy, CLIENT, at(3_600_002)),
        Some(Reason::ConnectionLimit)
    );
    drop((second, third));
    assert_eq!((policy.open_now(), policy.known_clients()), (0, 0));
}

#[test]
fn every_attempt_counts_also_those_that_another_limit_refuses() {
    let limits = Limits {
        attempts: Some(attempts(3)),
        max_connections_per_ip: Some(1),
        ..Limits::default()
    };
    let policy = policy(&limits);
    let _open = admit(&policy, CLIENT, at(0));
    assert_eq!(
        refusal(&policy, CLIENT, at(1)),
        Some(Reason::ConnectionLimit)
    );
    assert_eq!(
        refusal(&policy, CLIENT, at(2)),
        Some(Reason::ConnectionLimit)
    );
    for n in 0..40 {
        let now = at(3 + n * 1_000);
        assert_eq!(
            refusal(&policy, CLIENT, now),
            Some(Reason::AttemptLimit),
            "keeps trying"
        );
    }
    assert_eq!(
        refusal(&policy, CLIENT, at(60_000)),
        Some(Reason::ConnectionLimit),
        "was quiet"
    );
}

#[test]
fn a_denied_client_uses_up_no_attempts() {
    let policy = policy(&Limits {
        attempts: Some(attempts(1)),
        ..Limits::default()
    });
    for n in 0..10 {
        assert_eq!(refusal(&policy, DENIED, at(n)), Some(Reason::Acl));
    }
    assert_eq!(policy.known_clients(), 0);
}

#[test]
fn an_exempt_client_is_counted_in_the_total() {
    let policy = policy(&Limits {
        max_total_connections: Some(1),
        ..Limits::default()
    });
    let (_one, _two) = (admit(&policy, EXEMPT, at(0)), admit(&policy, EXEMPT, at(0)));
    assert_eq!(policy.open_now(), 2);
    assert_eq!(refusal(&policy, CLIENT, at(0)), Some(Reason::TotalLimit));
}

#[test]
fn mapped_addresses_are_ipv4_clients() {
    let policy = policy(&Limits {
        max_connections_per_ip: Some(1),
        ..Limits::default()
    });
    let _open = admit(&policy, "::ffff:192.0.2.1", at(0));
    assert_eq!(
        refusal(&policy, CLIENT, at(0)),
        Some(Reason::ConnectionLimit)
    );
    assert_eq!(
        refusal(&policy, "::ffff:192.0.2.66", at(0)),
        Some(Reason::Acl)
    );
    let _other = admit(&policy, "::ffff:192.0.2.2", at(0));
}

#[test]
fn an_ipv6_client_is_a_prefix() {
    for (ipv6_prefix, same, other) in [
        (64, "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        (48, "2001:db8:0:2::1", "2001:db8:1::1"),
        (128, "2001:db8:0:1::1", "2001:db8:0:1::2"),
    ] {
        let limits = Limits {
            max_connections_per_ip: Some(1),
            ipv6_prefix,
            ..Limits::default()
        };
        let policy = policy(&limits);
        let _open = admit(&policy, "2001:db8:0:1::1", at(0));
        assert_eq!(
            refusal(&policy, same, at(0)),
            Some(Reason::ConnectionLimit),
            "/{ipv6_prefix}"
        );
        let _other = admit(&policy, other, at(0));
    }
}

#[test]
fn limited_clients_are_those_that_a_limit_holds_back_now() {
    let limits = Limits {
        attempts: Some(attempts(2)),
        max_connections_per_ip: Some(1),
        ..Limits::default()
    };
    let policy = policy(&limits);
    let open = admit(&policy, CLIENT, at(0));
    assert_eq!(policy.limited_clients(at(0)), 0, "nothing was refused yet");
    assert!(refusal(&policy, CLIENT, at(1)).is_some());
    assert_eq!(policy.limited_clients(at(1)), 1);
    drop(open);
    assert_eq!(policy.limited_clients(at(2)), 1, "it may not try again yet");
    assert_eq!(policy.limited_clients(at(10_400)), 0);
    policy.forget_idle(at(20_000));
    assert_eq!(policy.known_clients(), 0);
}

#[test]
fn a_permit_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Permit>();
    is_shared::<Policy>();
}
