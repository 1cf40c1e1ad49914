//! What a ban does to clients of a listener.

use super::*;

/// A policy with number 2, and its list of bans.
fn banning(limits: &Limits) -> (Arc<Policy>, Arc<BanList>) {
    let bans = Arc::new(BanList::new(10));
    let policy = Policy::new(&everybody(), limits, 1_000).banning(Arc::clone(&bans), 2);
    (Arc::new(policy), bans)
}

fn ban(bans: &BanList, address: &str, listener: Option<u32>, until: Nanos) {
    let address = ip(address).into();
    let ban = Ban {
        address,
        listener,
        until,
    };
    bans.add(ban).unwrap();
}

#[test]
fn a_ban_comes_before_everything_and_spares_who_is_exempt() {
    let (policy, bans) = banning(&Limits {
        attempts: Some(attempts(0)),
        ..Limits::default()
    });
    assert_eq!(refusal(&policy, DENIED, at(0)), Some(Reason::Acl));
    for client in [CLIENT, DENIED, EXEMPT] {
        ban(&bans, client, None, at(5));
    }
    assert_eq!(refusal(&policy, CLIENT, at(0)), Some(Reason::Banned));
    assert_eq!(refusal(&policy, DENIED, at(0)), Some(Reason::Banned));
    assert_eq!(refusal(&policy, OTHER, at(0)), Some(Reason::AttemptLimit));
    assert_eq!(refusal(&policy, EXEMPT, at(0)), None);
    assert!(policy.is_exempt(ip(EXEMPT)) && !policy.is_exempt(ip(DENIED)));
    assert_eq!(refusal(&policy, DENIED, at(5)), Some(Reason::Acl), "over");
}

#[test]
fn a_ban_on_another_listener_is_none_here() {
    let (policy, bans) = banning(&Limits::default());
    ban(&bans, CLIENT, Some(1), Nanos::MAX);
    assert_eq!(refusal(&policy, CLIENT, at(0)), None);
    ban(&bans, CLIENT, Some(2), Nanos::MAX);
    assert_eq!(refusal(&policy, CLIENT, at(0)), Some(Reason::Banned));
}

#[test]
fn observing_limits_does_not_observe_bans() {
    let (policy, bans) = banning(&Limits {
        action: Action::LogOnly,
        attempts: Some(attempts(1)),
        ..Limits::default()
    });
    ban(&bans, CLIENT, None, Nanos::MAX);
    assert_eq!(refusal(&policy, CLIENT, at(0)), Some(Reason::Banned));
}

#[test]
fn attempts_of_a_banned_client_do_not_count() {
    let (policy, bans) = banning(&Limits {
        attempts: Some(attempts(1)),
        ..Limits::default()
    });
    ban(&bans, CLIENT, None, at(5));
    assert_eq!(refusal(&policy, CLIENT, at(0)), Some(Reason::Banned));
    assert_eq!(policy.known_clients(), 0);
    assert_eq!(refusal(&policy, CLIENT, at(5)), None);
}

#[test]
fn what_a_client_has_open_is_told_and_nobody_else_is() {
    let (policy, bans) = banning(&Limits {
        ipv6_prefix: 48,
        ..Limits::default()
    });
    let clients = ["2001:db8::1", "2001:db8:0:7::1", "2001:db8:1::1", CLIENT];
    let permits = clients.map(|client| admit(&policy, client, at(0)));
    ban(&bans, "2001:db8::2", None, Nanos::MAX);
    assert_eq!(policy.end(ip("2001:db8::2").into()), 2);
    let banned = permits.each_ref().map(Permit::is_banned);
    assert_eq!(banned, [true, true, false, false]);
    bans.lift(ip("2001:db8::2").into(), None);
    assert!(!admit(&policy, clients[0], at(1)).is_banned());
}

#[test]
fn what_an_exempt_client_has_open_goes_on() {
    let (policy, bans) = banning(&Limits::default());
    let permit = admit(&policy, EXEMPT, at(0));
    ban(&bans, EXEMPT, None, Nanos::MAX);
    assert_eq!(policy.end(ip(EXEMPT).into()), 0);
    assert!(!permit.is_banned());
}

#[test]
fn a_banned_client_is_held_back_by_no_limit() {
    let (policy, bans) = banning(&Limits {
        max_connections_per_ip: Some(1),
        ..Limits::default()
    });
    let _open = admit(&policy, CLIENT, at(0));
    assert!(refusal(&policy, CLIENT, at(0)).is_some());
    assert_eq!(policy.held_back(Protocol::Tcp, at(0), 9).len(), 1);
    ban(&bans, CLIENT, None, at(5));
    assert_eq!(policy.held_back(Protocol::Tcp, at(4), 9), []);
    assert_eq!(policy.held_back(Protocol::Tcp, at(5), 9).len(), 1);
}
