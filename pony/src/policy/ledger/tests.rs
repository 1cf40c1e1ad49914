use std::collections::{HashMap, VecDeque};

use pony_common::limit::AttemptLimit;
use proptest::prelude::*;

use super::*;

const WINDOW: Nanos = Nanos::from_secs(60);
const LIMITS: ClientLimits = ClientLimits {
    attempts: Some(AttemptLimit {
        max: 1_000_000,
        window: WINDOW,
    }),
    connections: None,
    bandwidth: None,
};

fn key(n: u32) -> Addr16 {
    Addr16::from_v4(n.to_be_bytes())
}

/// Seconds after a moment long after boot.
fn at(secs: u64) -> Nanos {
    Nanos::from_secs(1_000_000 + secs)
}

/// Leaves the client `n` in the table with nothing open.
fn touch(ledger: &Ledger, n: u32, now: Nanos) {
    let full = Total::new(Some(0));
    let refused = ledger.admit(key(n), &full, Enforcement::Refuse, now);
    assert_eq!(refused.err(), Some(Reason::TotalLimit));
}

fn open(ledger: &Ledger, n: u32, now: Nanos) {
    let unlimited = Total::new(None);
    let opened = ledger.admit(key(n), &unlimited, Enforcement::Refuse, now);
    assert!(opened.is_ok());
}

fn knows(ledger: &Ledger, n: u32) -> bool {
    lock(ledger.shard(key(n))).client(key(n)).is_some()
}

#[test]
fn forgets_the_coldest_client_first() {
    let ledger = Ledger::new(LIMITS, 4);
    for n in 0..4 {
        touch(&ledger, n, at(0));
    }
    touch(&ledger, 0, at(1));
    touch(&ledger, 4, at(1));
    touch(&ledger, 5, at(1));
    let known: Vec<u32> = (0..6).filter(|n| knows(&ledger, *n)).collect();
    assert_eq!(known, [0, 3, 4, 5]);
}

#[test]
fn never_forgets_a_client_with_something_open() {
    let ledger = Ledger::new(LIMITS, 16);
    for n in 0..100 {
        open(&ledger, n, at(0));
    }
    for n in 100..1_000 {
        touch(&ledger, n, at(1));
    }
    ledger.forget_idle(at(1_000_000));
    assert!((0..100).all(|n| knows(&ledger, n)));
    assert_eq!(ledger.len(), 100, "of the others none is left");
}

#[test]
fn remembers_a_few_others_even_if_it_is_full_of_open_ones() {
    let ledger = Ledger::new(LIMITS, 80);
    for n in 0..200 {
        open(&ledger, n, at(0));
    }
    for n in 200..1_000 {
        touch(&ledger, n, at(1));
    }
    assert_eq!(ledger.len(), 200 + 80 / 8);
}

#[test]
fn a_client_is_forgotten_when_nothing_counts_any_more_and_not_before() {
    let ledger = Ledger::new(LIMITS, 100);
    open(&ledger, 2, at(0));
    touch(&ledger, 1, at(0));
    ledger.close(key(2));
    touch(&ledger, 3, at(30));

    ledger.forget_idle(at(61));
    assert!(knows(&ledger, 1) && knows(&ledger, 2) && knows(&ledger, 3));
    ledger.forget_idle(at(62));
    assert!(!knows(&ledger, 1) && !knows(&ledger, 2) && knows(&ledger, 3));
    ledger.forget_idle(at(92));
    assert_eq!(ledger.len(), 0);
}

#[test]
fn a_client_that_closes_late_does_not_outlive_those_that_became_idle_before() {
    let ledger = Ledger::new(LIMITS, 100);
    open(&ledger, 1, at(0));
    touch(&ledger, 2, at(1_000));
    ledger.close(key(1));
    ledger.forget_idle(at(1_062));
    assert_eq!(ledger.len(), 0);
}

#[test]
fn without_windows_a_client_is_forgotten_at_its_last_close() {
    let limits = ClientLimits {
        attempts: None,
        connections: Some(2),
        bandwidth: None,
    };
    let ledger = Ledger::new(limits, 100);
    open(&ledger, 1, at(0));
    open(&ledger, 1, at(0));
    touch(&ledger, 2, at(0));
    ledger.close(key(1));
    assert_eq!(ledger.len(), 1);
    ledger.close(key(1));
    assert_eq!(ledger.len(), 0);
}

#[test]
fn ten_million_sources_do_not_grow_the_table() {
    // A tenth of them here; the table has been full for long by then.
    let ledger = Ledger::new(LIMITS, 10_000);
    for n in 0..1_000_000 {
        touch(&ledger, n, at(0));
    }
    assert!(ledger.len() <= 10_000, "{} clients", ledger.len());
    assert!(
        ledger.len() > 9_000,
        "all shards are used: {} clients",
        ledger.len()
    );
    for shard in &ledger.shards {
        let shard = lock(shard);
        assert!(shard.idle.len() <= shard.capacity);
        assert_eq!(shard.active.capacity() + shard.limited.capacity(), 0);
    }
}

#[test]
fn a_forgotten_client_is_not_listed_as_limited() {
    let limits = ClientLimits {
        attempts: Some(AttemptLimit {
            max: 0,
            window: WINDOW,
        }),
        ..LIMITS
    };
    let ledger = Ledger::new(limits, 8);
    for n in 0..100 {
        let refused = ledger.admit(key(n), &Total::new(None), Enforcement::Refuse, at(0));
        assert_eq!(refused.err(), Some(Reason::AttemptLimit));
    }
    assert_eq!(ledger.limited(at(0)), 8);
    assert_eq!(
        ledger
            .shards
            .iter()
            .map(|shard| lock(shard).limited.len())
            .sum::<usize>(),
        8
    );
    ledger.forget_idle(at(1_000));
    assert!(lock(&ledger.shards[0]).limited.is_empty());
}

#[test]
fn a_close_too_many_is_harmless() {
    let ledger = Ledger::new(LIMITS, 8);
    ledger.close(key(1));
    open(&ledger, 1, at(0));
    ledger.close(key(1));
    ledger.close(key(1));
    assert_eq!(lock(ledger.shard(key(1))).find(key(1)).0, 0);
}

/// What happens to a client.
#[derive(Clone, Copy, Debug)]
enum Event {
    Touch(u32),
    Open(u32),
    Close(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let client = || 0..24_u32;
    let event = prop_oneof![
        client().prop_map(Event::Touch),
        client().prop_map(Event::Open),
        client().prop_map(Event::Close),
    ];
    prop::collection::vec(event, 1..300)
}

/// The table as one would write it without caring for time: idle clients from cold to warm.
#[derive(Default)]
struct Model {
    open: HashMap<u32, u32>,
    idle: VecDeque<u32>,
}

impl Model {
    fn step(&mut self, event: Event, capacity: usize) {
        match event {
            Event::Touch(n) if self.open.contains_key(&n) => {}
            Event::Touch(n) => self.warm(n),
            Event::Open(n) => {
                self.idle.retain(|idle| *idle != n);
                *self.open.entry(n).or_default() += 1;
            }
            Event::Close(n) => {
                let Some(open) = self.open.get_mut(&n) else {
                    return;
                };
                *open -= 1;
                if *open == 0 {
                    self.open.remove(&n);
                    self.warm(n);
                }
            }
        }
        let room = capacity
            .saturating_sub(self.open.len())
            .max(capacity / 8)
            .max(1);
        while self.idle.len() > room {
            self.idle.pop_front();
        }
    }

    fn warm(&mut self, n: u32) {
        self.idle.retain(|idle| *idle != n);
        self.idle.push_back(n);
    }
}

proptest! {
    #[test]
    fn the_table_is_what_the_model_says(events in events(), capacity in 1..20_usize) {
        let ledger = Ledger::new(LIMITS, capacity);
        let mut model = Model::default();
        for event in events {
            match event {
                Event::Touch(n) => touch(&ledger, n, at(0)),
                Event::Open(n) => open(&ledger, n, at(0)),
                Event::Close(n) => {
                    ledger.close(key(n));
                }
            }
            model.step(event, capacity);
            for n in 0..24 {
                let is_open = model.open.get(&n).copied();
                let is_known = is_open.is_some() || model.idle.contains(&n);
                prop_assert_eq!(knows(&ledger, n), is_known, "client {} after {:?}", n, event);
                let (open, _) = lock(ledger.shard(key(n))).find(key(n));
                prop_assert_eq!(open, is_open.unwrap_or(0));
            }
        }
    }
}
