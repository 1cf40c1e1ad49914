//! Without a kernel: who comes first, whose entry it is, and what an operator is told.

use std::path::PathBuf;

use pony_common::{
    layout::ledger::Identity,
    limit::{Action, AttemptLimit, BandwidthLimit},
};

use super::*;

fn found(name: &str, is_running: bool) -> Found {
    Found {
        name: name.to_owned(),
        path: PathBuf::from(name),
        is_running,
    }
}

#[test]
fn the_instance_that_runs_is_meant_unless_another_is_named() {
    let all = || vec![found("dead", false), found("live", true)];
    assert_eq!(choose(all(), None).unwrap().name, "live");
    assert_eq!(choose(all(), Some("dead")).unwrap().name, "dead");
    let dead = vec![found("dead", false)];
    assert_eq!(choose(dead, None).unwrap().name, "dead");
}

#[test]
fn an_operator_is_told_which_instances_there_are() {
    let text = |found, wanted| choose(found, wanted).unwrap_err().to_string();
    assert!(text(vec![], None).contains("pony run"));
    let two = || vec![found("a", true), found("b", true), found("c", false)];
    let several = text(two(), None);
    assert!(
        several.contains("a, b;") && several.contains("--instance"),
        "{several}"
    );
    assert!(text(two(), Some("d")).contains("a, b, c"));
    assert!(text(vec![], Some("d")).contains("none"));
}

fn entry(client: &str, listener: u32, bytes: u64, packets: u64) -> Seen {
    let entry = Seen::default();
    let identity = Identity::new(client.parse::<IpAddr>().unwrap().into(), listener);
    let Addr16(octets) = identity.client;
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    let [a, b, c, d] = identity.listener.to_ne_bytes();
    entry.identity[0].store(word(&octets[..8]), Relaxed);
    entry.identity[1].store(word(&octets[8..]), Relaxed);
    entry.identity[2].store(word(&[a, b, c, d, 0, 0, 0, 0]), Relaxed);
    entry.bytes_in.store(bytes, Relaxed);
    entry.packets_out.store(packets, Relaxed);
    entry
}

fn listener(transport: Transport) -> Listener {
    let window = Nanos(1_000_000_000);
    Listener {
        name: "web".into(),
        ipv6_prefix: 56,
        transport: Some(transport),
        rule: Some(Rule {
            reset: false,
            action: Action::Drop,
            ipv6_prefix: 56,
            attempts: AttemptLimit { max: 10, window },
            bandwidth: BandwidthLimit {
                limit: 2_000,
                window,
                action: Action::Drop,
                throttle_minimum: 0,
            },
        }),
    }
}

#[test]
fn the_largest_come_first_and_what_is_free_is_nobodys() {
    let entries = [
        entry("192.0.2.1", 0, 10, 5),
        Seen::default(),
        entry("192.0.2.2", 0, 30, 1),
        entry("192.0.2.3", 1, 20, 9),
        entry("192.0.2.0", 0, 10, 5),
    ];
    let clients = |by, limit, wanted: &dyn Fn(u32) -> bool| {
        let mut ranked = rank(&entries, by, wanted);
        keep_first(&mut ranked, limit);
        let last_octet = |entry: &Seen| identity(entry).unwrap().0.0[15];
        ranked
            .into_iter()
            .map(|(_, entry)| last_octet(entry))
            .collect::<Vec<_>>()
    };
    assert_eq!(clients(By::Bytes, usize::MAX, &|_| true), [2, 3, 0, 1]);
    assert_eq!(clients(By::Packets, 2, &|_| true)[0], 3);
    assert_eq!(clients(By::Bytes, 2, &|_| true), [2, 3]);
    assert!(clients(By::Bytes, 0, &|_| true).is_empty());
    assert_eq!(clients(By::Bytes, 9, &|listener| listener == 1), [3]);
}

#[test]
fn a_client_is_shown_with_the_limit_that_the_guard_judges() {
    let now = Nanos(50_000_000_000);
    let window = Nanos(1_000_000_000);
    let entry = entry("2001:db8:0:100::", 0, 7, 8);
    entry.window.add(now, window, 3);

    let tcp = describe(&entry, &[listener(Transport::Tcp)], now).unwrap();
    assert_eq!(tcp.client.to_string(), "2001:db8:0:100::/56");
    assert_eq!(
        (&*tcp.listener, tcp.bytes_in, tcp.packets_out),
        ("web", 7, 8)
    );
    let recent = |unit, limit| {
        Some(Recent {
            unit,
            used: 3,
            limit,
            window: Duration::from_secs(1),
        })
    };
    assert_eq!(tcp.recent, recent(Unit::Attempts, 10));
    let udp = describe(&entry, &[listener(Transport::Udp)], now).unwrap();
    assert_eq!(udp.recent, recent(Unit::Bytes, 2_000));

    let mut unlimited = listener(Transport::Tcp);
    unlimited.rule.as_mut().unwrap().attempts.window = Nanos::ZERO;
    assert_eq!(describe(&entry, &[unlimited], now).unwrap().recent, None);
    assert_eq!(
        describe(&entry, &[], now),
        None,
        "a listener without a name"
    );
}
