//! That what is open is counted exactly, whoever comes and goes.

use std::{collections::HashSet, thread};

use proptest::prelude::*;

use super::*;

#[test]
fn counts_stay_exact_when_many_threads_come_and_go() {
    let limits = Limits {
        max_connections_per_ip: Some(3),
        max_total_connections: Some(10),
        attempts: Some(attempts(u32::MAX)),
        bandwidth: Some(bandwidth(u64::MAX)),
        ..Limits::default()
    };
    let policy = policy(&limits);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let policy = &policy;
            scope.spawn(move || come_and_go(policy, thread));
        }
    });
    assert_eq!(policy.open_now(), 0);
    let all: Vec<Permit> = (0..3).map(|_| admit(&policy, CLIENT, at(60_000))).collect();
    assert_eq!(
        refusal(&policy, CLIENT, at(60_000)),
        Some(Reason::ConnectionLimit)
    );
    drop(all);
}

/// Opens and closes at random, as one of a few clients, and checks the bounds all the while.
fn come_and_go(policy: &Arc<Policy>, seed: u64) {
    let mut random = seed;
    let mut held = Vec::new();
    for step in 0..5_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let client = [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.2.4",
            "192.0.2.5",
        ];
        let client = client[usize::try_from(random >> 40).unwrap() % client.len()];
        if random >> 63 == 0
            && let Ok(permit) = policy.admit(ip(client), at(step))
        {
            let _charge = permit.charge(1, at(step));
            held.push(permit);
        } else {
            held.pop();
        }
        assert!(policy.open_now() <= 10, "the total is never exceeded");
        let mine = held.iter().filter(|permit| {
            let (key, _) = permit.client.as_ref().unwrap();
            key.to_ip() == ip(client)
        });
        assert!(mine.count() <= 3, "a client never has more than its share");
        if step % 64 == 0 {
            policy.forget_idle(at(step));
            let _limited = policy.limited_clients(at(step));
        }
    }
}

proptest! {
    #[test]
    fn admits_exactly_what_the_open_counts_allow(
        steps in prop::collection::vec((0..6_u8, any::<bool>(), any::<prop::sample::Index>()), 1..200),
        per_client in 1..4_u32,
        total in 1..10_u32,
    ) {
        let limits = Limits {
            max_connections_per_ip: Some(per_client),
            max_total_connections: Some(total),
            ..Limits::default()
        };
        let policy = policy(&limits);
        let mut open: Vec<(u8, Permit)> = Vec::new();
        for (client, is_close, which) in steps {
            if is_close && !open.is_empty() {
                drop(open.swap_remove(which.index(open.len())));
                continue;
            }
            let of_client = open.iter().filter(|(other, _)| *other == client).count();
            let expected = if open.len() >= total as usize {
                Some(Reason::TotalLimit)
            } else if of_client >= per_client as usize {
                Some(Reason::ConnectionLimit)
            } else {
                None
            };
            let admitted = policy.admit(IpAddr::from([10, 0, 0, client]), at(0));
            prop_assert_eq!(admitted.as_ref().err().copied(), expected);
            open.extend(admitted.ok().map(|permit| (client, permit)));
            prop_assert_eq!(policy.open_now() as usize, open.len());
        }
        let clients: HashSet<u8> = open.iter().map(|(client, _)| *client).collect();
        prop_assert_eq!(policy.known_clients(), clients.len());
    }
}
