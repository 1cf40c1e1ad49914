use std::{
    collections::HashMap,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;

const KEY: HashKey = HashKey([1, 2]);

/// A table in memory.
struct Table {
    sets: Vec<SetRow<AtomicU64>>,
    entries: Vec<Entry<AtomicU64, [AtomicU64; 3]>>,
}

impl Table {
    fn new(sets: usize) -> Self {
        let ways = WAYS as usize;
        Self {
            sets: (0..sets).map(|_| SetRow::default()).collect(),
            entries: (0..sets * ways).map(|_| Entry::default()).collect(),
        }
    }

    fn find(&self, client: u32, now: Nanos) -> Option<&Entry<AtomicU64, [AtomicU64; 3]>> {
        find(self, &KEY, identity(client), now)
    }

    /// Counts a packet of a client, and answers how many of its packets were counted before.
    fn count(&self, client: u32, now: Nanos) -> u64 {
        self.find(client, now)
            .expect("nobody else is here")
            .packets_in
            .add(1)
    }

    /// Which clients are there, in order.
    fn known(&self) -> Vec<u32> {
        let ways = self.sets.iter().flat_map(|set| &set.ways);
        let taken = ways
            .zip(&self.entries)
            .filter(|(way, _)| Cell64::load(*way) != FREE);
        let mut known: Vec<u32> = taken
            .map(|(_, entry)| entry.identity.load().listener)
            .collect();
        known.sort_unstable();
        known
    }
}

impl Ledger for Table {
    type Cell = AtomicU64;
    type Identity = [AtomicU64; 3];

    fn sets(&self) -> u32 {
        u32::try_from(self.sets.len()).unwrap()
    }

    fn set(&self, index: u32) -> Option<&SetRow<AtomicU64>> {
        self.sets.get(index as usize)
    }

    fn entry(&self, index: u32) -> Option<&Entry<AtomicU64, [AtomicU64; 3]>> {
        self.entries.get(index as usize)
    }
}

impl IdentityCell for [AtomicU64; 3] {
    fn load(&self) -> Identity {
        let [upper, lower, listener] = self.each_ref().map(Cell64::load);
        let mut client = [0; 16];
        client[..8].copy_from_slice(&upper.to_be_bytes());
        client[8..].copy_from_slice(&lower.to_be_bytes());
        Identity::new(Addr16(client), low(listener))
    }

    fn store(&self, identity: Identity) {
        let (upper, lower) = identity.client.halves();
        self[0].store(upper, Relaxed);
        self[1].store(lower, Relaxed);
        self[2].store(u64::from(identity.listener), Relaxed);
    }
}

/// Numbers are easier to read; the listener is the same one.
fn identity(client: u32) -> Identity {
    Identity::new(Addr16::from_v4(client.to_be_bytes()), client)
}

/// So many ticks after a moment long after boot.
fn at(ticks: u64) -> Nanos {
    Nanos((1_000_000 + ticks) << TICK_SHIFT)
}

#[test]
fn finds_what_it_has_made() {
    let table = Table::new(16);
    for round in 0..3 {
        for client in 0..20 {
            assert_eq!(table.count(client, at(round)), round, "client {client}");
        }
    }
    assert_eq!(table.known(), (0..20).collect::<Vec<_>>());
}

#[test]
fn the_same_client_on_another_listener_is_another_one() {
    let table = Table::new(16);
    let client = Addr16::from_v4([192, 0, 2, 1]);
    for listener in [0, 1, u32::MAX] {
        let entry = find(&table, &KEY, Identity::new(client, listener), at(0)).unwrap();
        assert_eq!(entry.packets_in.add(1), 0);
        assert_eq!(entry.identity.load(), Identity::new(client, listener));
    }
}

#[test]
fn a_full_set_forgets_the_coldest_and_nothing_of_it_remains() {
    let table = Table::new(1);
    for client in 0..8 {
        let entry = table.find(client, at(u64::from(client))).unwrap();
        for cell in [&entry.packets_in, &entry.bytes_in, &entry.packets_out] {
            cell.add(7);
        }
        entry.bytes_out.add(7);
        entry.attempts.add(7);
        entry.window.add(at(0), Nanos::from_secs(60), 7);
    }
    table.find(0, at(9));
    let new = table.find(100, at(10)).unwrap();
    assert_eq!(
        table.known(),
        [0, 2, 3, 4, 5, 6, 7, 100],
        "0 was used again"
    );
    for cell in [&new.packets_in, &new.bytes_in, &new.packets_out] {
        assert_eq!(Cell64::load(cell), 0);
    }
    assert_eq!(
        Cell64::load(&new.bytes_out) + Cell64::load(&new.attempts),
        0
    );
    assert_eq!(new.window.sum(at(10), Nanos::from_secs(60)), 0);
}

#[test]
fn who_comes_again_stays_in_a_flood_of_those_who_come_once() {
    let table = Table::new(1);
    table.count(1, at(0));
    assert_eq!(table.count(1, at(0)), 1);
    let mut again = 2;
    for client in 100..400 {
        // A hundred in a tick, and a packet in half a second.
        let now = at(u64::from(client) / 100 * 7);
        assert_eq!(table.count(client, now), 0);
        if client % 100 == 50 {
            assert_eq!(table.count(1, now), again);
            again += 1;
        }
    }
    assert_eq!(table.known().len(), 8);
}

#[test]
fn a_false_match_of_the_tag_never_mixes_two_clients() {
    let table = Table::new(1);
    table.count(1, at(0));
    table.count(2, at(0));
    // As if the tag of client 3 were that of client 1.
    let tag = tag(hash(&KEY, identity(3)));
    let ways = table.sets[0].ways.iter().zip(&table.entries);
    for (way, entry) in ways {
        if entry.identity.load() == identity(1) {
            way.store(pair(tick(at(0)), tag), Relaxed);
        }
    }
    assert_eq!(table.count(3, at(1)), 0, "starts afresh");
    assert_eq!(table.known(), [2, 3], "in the place of client 1");
    assert_eq!(table.count(3, at(1)), 1);
    assert_eq!(table.count(2, at(1)), 1);
    assert_eq!(table.count(1, at(1)), 0);
}

#[test]
fn a_set_in_which_an_entry_is_handed_over_is_left_alone_for_a_moment() {
    let table = Table::new(1);
    table.count(1, at(0));
    let busy = Wanted {
        tag: 5,
        tick: tick(at(0)),
    }
    .as_busy();
    table.sets[0].ways[3].store(busy, Relaxed);
    assert!(table.find(2, at(0)).is_none(), "it may be this very client");
    assert_eq!(table.count(1, at(0)), 1, "whoever is there is found");
    // Whoever was to do it is gone.
    let later = at(u64::from(STUCK) + 1);
    assert_eq!(table.count(1, later), 2);
    for client in 2..9 {
        assert_eq!(table.count(client, later), 0);
    }
    assert_eq!(
        table.known(),
        [1, 2, 3, 4, 5, 6, 7, 8],
        "all ways are in use"
    );
}

#[test]
fn no_moment_makes_a_way_free_or_cold_by_mistake() {
    // At tick zero, and where ticks begin again, nine years after boot.
    let wrap = 1_u64 << (u32::BITS + TICK_SHIFT);
    for start in [0, 1 << 57, wrap - (2 << TICK_SHIFT), wrap] {
        let table = Table::new(1);
        for client in 0..8 {
            table.count(client, Nanos(start));
        }
        assert_eq!(table.known().len(), 8);
        // A clock that is behind does not make others old.
        table.count(0, Nanos(start + (3 << TICK_SHIFT)));
        table.count(8, Nanos(start + (1 << TICK_SHIFT)));
        assert_eq!(table.count(0, Nanos(start + (3 << TICK_SHIFT))), 2);
    }
}

proptest! {
    #[test]
    fn counts_every_client_by_itself(
        packets in prop::collection::vec((0..64_u32, 0..100_u64), 1..400),
        sets in prop::sample::select(&[1_usize, 2, 8, 64][..]),
    ) {
        let table = Table::new(sets);
        let (mut counted, mut ticks) = (HashMap::new(), 0);
        for (client, gap) in packets {
            ticks += gap;
            let before = table.count(client, at(ticks));
            let model = counted.entry(client).or_insert(0);
            prop_assert!(before == *model || before == 0, "{before} of {model}");
            *model = before + 1;
        }
        let known = table.known();
        prop_assert!(known.windows(2).all(|two| two[0] != two[1]), "nobody is there twice");
        if sets == 64 {
            prop_assert!(known.len() * 10 >= counted.len() * 9, "all sets are used");
        }
    }
}

/// Runs `each` with a number on four threads at once.
fn together<T: Send>(each: impl Fn(u32) -> T + Sync) -> [T; 4] {
    let (ready, each) = (Barrier::new(4), &each);
    thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|number| {
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                each(number)
            })
        });
        threads.map(|thread| thread.join().unwrap())
    })
}

#[test]
fn a_client_that_comes_on_all_threads_at_once_gets_one_entry() {
    for round in 0..2_000 {
        let table = Table::new(1);
        // The set is full, and all of the same age.
        for client in 100..108 {
            table.count(client, at(0));
        }
        let missed = together(|_| {
            let packets = (0..20).filter(|_| match table.find(1, at(1)) {
                Some(entry) => {
                    entry.packets_in.add(1);
                    false
                }
                None => true,
            });
            packets.count()
        });
        let missed: usize = missed.into_iter().sum();
        let known = table.known();
        assert_eq!(known.iter().filter(|client| **client == 1).count(), 1);
        let counted = table.count(1, at(1));
        assert_eq!(counted + missed as u64, 4 * 20, "round {round}");
    }
}

#[test]
fn different_clients_never_take_the_same_way() {
    for round in 0..2_000 {
        let table = Table::new(1);
        for client in 100..108 {
            table.count(client, at(0));
        }
        let found = together(|number| table.find(number, at(1)).is_some());
        let known = table.known();
        for (number, found) in (0..).zip(found) {
            assert_eq!(
                known.contains(&number),
                found,
                "{number} in round {round}: {known:?}"
            );
        }
        let old = known.iter().filter(|client| **client >= 100).count();
        let new = found.into_iter().filter(|found| *found).count();
        assert_eq!(old + new, 8, "round {round}");
        assert!(new >= 1);
    }
}

#[test]
fn many_clients_on_all_threads_are_never_counted_for_each_other() {
    // All threads count for the same clients in a table too small for them. Each client's
    // bytes are its own number, so that what is counted for another one shows.
    let table = Table::new(2);
    let lost = together(|number| {
        let mut missed = 0_u64;
        for step in 0..20_000_u64 {
            let client = 1 + (u32::try_from(step).unwrap() * 7 + number) % 24;
            match table.find(client, at(step / 100)) {
                Some(entry) => {
                    entry.bytes_in.add(u64::from(client));
                }
                None => missed += 1,
            }
        }
        missed
    });
    let missed: u64 = lost.into_iter().sum();
    assert!(missed < 8_000, "a tenth: {missed}");
    let strangers = table.entries.iter().filter(|entry| {
        let client = u64::from(entry.identity.load().listener);
        !Cell64::load(&entry.bytes_in).is_multiple_of(client)
    });
    // Only what was in flight when an entry changed hands, once per thread and entry at most.
    assert!(strangers.count() <= 4, "counted for somebody else");
}
