use std::cell::Cell;

use pony_common::addr::Addr16;

use super::*;

/// A map, and a kernel that refuses when it is told to.
#[derive(Default)]
struct Fake {
    blocks: HashMap<BlockKey, Block>,
    kinds: u32,
    looks: Cell<usize>,
    puts: usize,
    is_full: bool,
}

impl Table for Fake {
    fn get(&self, key: &BlockKey) -> Option<Block> {
        self.looks.update(|looks| looks + 1);
        self.blocks.get(key).copied()
    }

    fn put(&mut self, key: &BlockKey, block: Block) -> bool {
        assert!(
            self.kinds & kind(key) != 0,
            "the kernel does not look into the map yet"
        );
        if self.is_full {
            return false;
        }
        self.puts += 1;
        self.blocks.insert(*key, block);
        true
    }

    fn remove(&mut self, key: &BlockKey) {
        assert!(self.kinds & kind(key) != 0);
        self.blocks.remove(key);
    }

    fn set_kinds(&mut self, kinds: u32) {
        let there = self.blocks.keys().fold(0, |all, key| all | kind(key));
        assert_eq!(there & !kinds, 0, "the kernel overlooks some");
        self.kinds = kinds;
    }
}

impl Fake {
    fn refuse(&mut self, key: &BlockKey, attempts: u64) {
        self.blocks.get_mut(key).unwrap().refused += attempts;
    }
}

fn key(last: u8) -> BlockKey {
    BlockKey {
        listener: 3,
        client: Addr16::from_v4([192, 0, 2, last]),
    }
}

fn wanted(last: u8) -> Wanted {
    Wanted {
        key: key(last),
        reason: Reason::ConnectionLimit,
        scope: Scope::New,
        until: Nanos::MAX,
    }
}

fn at(millis: u64) -> Nanos {
    Nanos::from_millis(1_000_000 + millis)
}

#[test]
fn blocks_come_and_go_as_they_are_wanted() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    known.update(&mut table, [wanted(1), wanted(2)].into_iter(), at(0));
    assert_eq!(table.blocks.len(), 2);
    assert_eq!(table.kinds, BLOCKS_ONE);
    let block = table.blocks[&key(1)];
    assert_eq!(block.until, at(1_000));
    assert_eq!(block.reason, Reason::ConnectionLimit as u32);
    assert_eq!(block.scope, Scope::New as u32);

    known.update(&mut table, [wanted(2), wanted(3)].into_iter(), at(100));
    let mut left: Vec<_> = table.blocks.keys().map(|key| key.client.0[15]).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3]);

    known.update(&mut table, [].into_iter(), at(200));
    assert!(table.blocks.is_empty() && table.kinds == 0);
    assert!(known.present.is_empty());
}

#[test]
fn a_lease_is_renewed_before_it_ends_and_not_at_every_look() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    for tick in 0..50 {
        known.update(&mut table, [wanted(1)].into_iter(), at(tick * 100));
        let left = table.blocks[&key(1)].until.saturating_sub(at(tick * 100));
        assert!(left >= RENEWAL, "{tick}: {left:?}");
    }
    assert!(table.puts <= 10, "{}", table.puts);
}

#[test]
fn a_block_does_not_outlast_the_moment_when_its_client_is_free_by_itself() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    let until = |millis| Wanted {
        until: at(millis),
        ..wanted(1)
    };
    known.update(&mut table, [until(300)].into_iter(), at(0));
    assert_eq!(table.blocks[&key(1)].until, at(300));
    known.update(&mut table, [until(5_000)].into_iter(), at(100));
    assert_eq!(table.blocks[&key(1)].until, at(1_100));
    known.update(&mut table, [until(250)].into_iter(), at(200));
    assert_eq!(table.blocks[&key(1)].until, at(250), "earlier than thought");
    known.update(&mut table, [until(250)].into_iter(), at(250));
    assert!(table.blocks.is_empty(), "free");
}

#[test]
fn every_refusal_is_told_once_with_the_reason_of_its_time() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    let told = |reason, attempts| {
        vec![Refused {
            key: key(1),
            reason,
            attempts,
        }]
    };
    let other = Wanted {
        reason: Reason::BandwidthLimit,
        ..wanted(1)
    };
    assert_eq!(known.update(&mut table, [wanted(1)].into_iter(), at(0)), []);
    table.refuse(&key(1), 3);
    let refused = known.update(&mut table, [wanted(1)].into_iter(), at(100));
    assert_eq!(refused, told(Reason::ConnectionLimit, 3));
    assert_eq!(
        known.update(&mut table, [wanted(1)].into_iter(), at(700)),
        []
    );
    table.refuse(&key(1), 2);
    let refused = known.update(&mut table, [other].into_iter(), at(800));
    assert_eq!(refused, told(Reason::ConnectionLimit, 2));
    assert_eq!(
        table.blocks[&key(1)].reason,
        Reason::BandwidthLimit as u32,
        "changed at once"
    );
    table.refuse(&key(1), 7);
    let refused = known.update(&mut table, [].into_iter(), at(900));
    assert_eq!(refused, told(Reason::BandwidthLimit, 7), "at the end too");
}

#[test]
fn there_are_never_more_than_there_is_room_for() {
    let (mut known, mut table) = (Known::new(2), Fake::default());
    let all = || (1..=5).map(wanted);
    known.update(&mut table, all(), at(0));
    assert_eq!(table.blocks.len(), 2);
    known.update(&mut table, all().skip(2), at(100));
    let mut left: Vec<_> = table.blocks.keys().map(|key| key.client.0[15]).collect();
    left.sort_unstable();
    assert_eq!(left, [3, 4], "room is made first");

    let (mut known, mut table) = (Known::new(2), Fake::default());
    table.is_full = true;
    known.update(&mut table, all(), at(0));
    assert!(known.present.is_empty());
    table.is_full = false;
    known.update(&mut table, all(), at(100));
    assert_eq!(table.blocks.len(), 2, "tried again");
}

#[test]
fn a_block_that_somebody_removed_comes_back() {
    let (mut known, mut table) = (Known::new(2), Fake::default());
    known.update(&mut table, [wanted(1)].into_iter(), at(0));
    table.blocks.clear();
    known.update(&mut table, [wanted(1)].into_iter(), at(100));
    assert_eq!(table.blocks[&key(1)].refused, 0);
}

fn ban(last: u8, listener: u32) -> Wanted {
    Wanted {
        key: BlockKey {
            listener,
            client: key(last).client,
        },
        reason: Reason::Banned,
        scope: Scope::All,
        until: Nanos::MAX,
    }
}

#[test]
fn the_kernel_looks_for_the_kinds_of_blocks_that_there_are() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    let mut kinds = |wanted: &[Wanted], millis| {
        known.update(&mut table, wanted.iter().copied(), at(millis));
        table.kinds
    };
    assert_eq!(kinds(&[ban(1, ALL_LISTENERS)], 0), BLOCKS_ALL);
    let both = [ban(1, ALL_LISTENERS), ban(2, 3)];
    assert_eq!(kinds(&both, 100), BLOCKS_ONE | BLOCKS_ALL);
    assert_eq!(kinds(&both[1..], 200), BLOCKS_ONE);
    assert_eq!(kinds(&[], 300), 0);
}

#[test]
fn a_ban_is_renewed_unseen_and_its_refusals_are_nobodys_attempts() {
    let (mut known, mut table) = (Known::new(10), Fake::default());
    for tick in 0..50 {
        let refused = known.update(&mut table, [ban(1, 3)].into_iter(), at(tick * 100));
        assert_eq!(refused, []);
        table.refuse(&key(1), 5);
        let left = table.blocks[&key(1)].until.saturating_sub(at(tick * 100));
        assert!(left >= RENEWAL, "{tick}: {left:?}");
    }
    assert!(table.puts <= 10, "{}", table.puts);
    assert_eq!(known.update(&mut table, [].into_iter(), at(5_000)), []);
    assert_eq!(table.looks.get(), 0);
}
