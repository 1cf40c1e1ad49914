//! What it takes to read the guard's counters while its ledger is full.

use std::{
    process,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use pony::{
    config::{self, GuardMode, Protocol},
    kernel::{self, By, Query},
    observe::{GuardMetrics, Metrics},
};
use pony_common::{
    addr::Addr16,
    layout::{
        ledger::{Entry, Identity, WAYS},
        stats::Slot,
    },
    names,
};

use crate::{attach::with_pair, is_root, object, rules::open_listener};

#[test]
fn a_scrape_reads_sums_and_not_clients() {
    if !is_root() {
        return;
    }
    object();
    let namespace = with_pair();
    let name = format!("scrape-{}", process::id());
    let config = config::Guard {
        mode: GuardMode::Require,
        max_clients: CLIENTS,
        instance: Some(name.clone()),
        ..config::Guard::default()
    };
    let listeners = [
        open_listener("web", Protocol::Tcp, ([0, 0, 0, 0], 80).into()),
        open_listener("dns", Protocol::Udp, ([0, 0, 0, 0], 53).into()),
    ];
    let guard = namespace.run(kernel::start(&config, &listeners, &[]));
    let guard = guard.unwrap().unwrap();
    let metrics = Metrics::new().unwrap();
    let labels = listeners.map(|listener| (listener.name, listener.rules.protocol));
    let series = GuardMetrics::register(&metrics, labels).unwrap();
    let scrape = || {
        let start = Instant::now();
        for (number, slot) in (0..2).flat_map(|number| Slot::ALL.map(|slot| (number, slot))) {
            let tally = guard.counters().tally(number, slot).unwrap();
            series.set_tally(number, slot, tally);
        }
        (metrics.render().unwrap().len(), start.elapsed())
    };

    let empty = scrape();
    fill(&name);
    let full = scrape();
    assert!(full.0.abs_diff(empty.0) < 100, "{empty:?} {full:?}");
    println!(
        "a scrape: {:?} with no client, {:?} with {CLIENTS}",
        empty.1, full.1
    );

    let query = Query {
        instance: Some(&name),
        listener: None,
        by: By::Bytes,
        limit: 10,
    };
    let (clients, took) = timed(|| kernel::clients(&query).unwrap());
    assert_eq!(clients.total, CLIENTS as usize);
    println!("the first 10 of {CLIENTS} clients: {took:?}");
}

/// Fills the ledger of this instance to the last client.
fn fill(instance: &str) {
    let mut sets = pinned::<[u64; WAYS as usize]>(instance, names::LEDGER_SETS);
    let mut entries = pinned::<Entry<u64>>(instance, names::LEDGER);
    for set in 0..sets.len() {
        sets.set(set, [1; WAYS as usize], 0).unwrap();
    }
    for index in 0..CLIENTS {
        let client = Addr16::from_v4(index.to_be_bytes());
        let entry = Entry {
            identity: Identity::new(client, 0),
            bytes_in: index.into(),
            ..Entry::<u64>::default()
        };
        entries.set(index, entry, 0).unwrap();
    }
}

fn pinned<V: aya::Pod>(instance: &str, name: &str) -> Array<MapData, V> {
    let path = format!("/sys/fs/bpf/packetpony/{instance}/{name}");
    let map = MapData::from_pin(path).unwrap();
    Map::from_map_data(map).unwrap().try_into().unwrap()
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed())
}

/// A power of two, as the ledger has room for.
const CLIENTS: u32 = 1 << 20;
