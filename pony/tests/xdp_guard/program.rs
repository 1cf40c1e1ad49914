//! Runs `xdp_guard` on fixtures with `BPF_PROG_TEST_RUN`, and compares with the parser on the host.

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use pony_common::{
    addr::{Addr16, Be16},
    layout::{
        ledger::{LedgerKey, Traffic},
        listener::{ANY_V4, ANY_V6, ListenerEntry, ListenerKey, Transport},
        reads::{Malformed, NotOurs, SLOTS},
    },
    names,
};
use pony_ebpf::{
    cursor::Cursor,
    fixtures::{self, Row, rows},
    parse::{Parsed, parse},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{is_root, object};

#[test]
fn passes_every_fixture_and_counts_it_as_what_it_is() {
    if !is_root() {
        return;
    }
    let guard = Loaded::new(&exact_listeners());
    for Row {
        name,
        frame,
        expected,
    } in rows()
    {
        if frame.len() >= SHORTEST {
            guard.case(name, &frame, expected);
        }
    }
}

#[test]
fn the_kernel_and_the_host_agree_on_damaged_packets() {
    if !is_root() {
        return;
    }
    let guard = Loaded::new(&exact_listeners());
    let edits = prop::collection::vec((12..90usize, any::<u8>()), 0..5);
    let damaged = (0..rows().len(), edits, SHORTEST..200usize);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&damaged, |(row, edits, len)| {
        let mut frame = rows().swap_remove(row).frame;
        for (at, byte) in edits {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if len < 160 {
            frame.resize(len, 0);
        }
        frame.resize(frame.len().max(SHORTEST), 0);
        let seen = u32::try_from(frame.len()).expect("a short frame");
        let expected = parse(&mut Cursor::from(&frame[..]), seen);
        guard.case("damaged", &frame, expected);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn counts_the_frame_that_is_in_several_buffers() {
    if !is_root() {
        return;
    }
    let guard = Loaded::new(&exact_listeners());
    let mut frame = rows().swap_remove(0).frame;
    let payload = 30_000;
    frame.resize(14 + 20 + 20 + payload, 7);
    let total_len = u16::try_from(frame.len() - 14).unwrap().to_be_bytes();
    frame[16..18].copy_from_slice(&total_len);
    let expected = parse(
        &mut Cursor::from(&frame[..]),
        frame.len().try_into().unwrap(),
    );
    assert!(matches!(expected, Ok(Parsed::Packet(packet)) if packet.payload_len == 30_000));
    guard.case("30,000 bytes", &frame, expected);
}

#[test]
fn finds_the_exact_listener_first_and_then_that_on_all_addresses() {
    if !is_root() {
        return;
    }
    let tcp = |addr| ListenerKey::new(Transport::Tcp, addr, Be16::from_host(fixtures::TCP_PORT));
    let (v4, v6) = (fixtures::TCP_V4, fixtures::TCP_V6);
    let [frame_v4, frame_v6] = [0, 2].map(|row| rows().swap_remove(row).frame);

    for (name, listeners, frame, found) in [
        (
            "exact before wildcard",
            vec![tcp(ANY_V4), v4],
            &frame_v4,
            Some(1),
        ),
        ("wildcard", vec![tcp(ANY_V4)], &frame_v4, Some(0)),
        (
            "not the other family's wildcard",
            vec![tcp(ANY_V6)],
            &frame_v4,
            None,
        ),
        (
            "exact before wildcard, IPv6",
            vec![v6, tcp(ANY_V6)],
            &frame_v6,
            Some(0),
        ),
        (
            "wildcard of IPv6",
            vec![v4, tcp(ANY_V6)],
            &frame_v6,
            Some(1),
        ),
        (
            "not the wildcard of IPv4",
            vec![tcp(ANY_V4)],
            &frame_v6,
            None,
        ),
        (
            "not the other protocol",
            vec![fixtures::UDP_V4],
            &frame_v4,
            None,
        ),
        ("none", vec![], &frame_v4, None),
    ] {
        let guard = Loaded::new(&listeners);
        guard.run(frame);
        let numbers = 0..listeners.len();
        let hit: Vec<_> = numbers
            .filter(|number| guard.stats(*number).packets > 0)
            .collect();
        assert_eq!(hit, Vec::from_iter(found), "{name}");
        let missed = guard.read(NotOurs::NoListener as u32);
        assert_eq!(missed, u64::from(found.is_none()), "{name}");
    }
}

#[test]
fn ipv6_clients_of_one_prefix_share_an_entry_in_the_ledger() {
    if !is_root() {
        return;
    }
    let guard = Loaded::new(&exact_listeners());
    let mut frame = rows().swap_remove(2).frame;
    for last in 0..10 {
        frame[14 + 8 + 15] = last;
        guard.run(&frame);
    }
    let entries: Vec<_> = guard.ledger.iter().map(Result::unwrap).collect();
    let [(key, traffic)] = entries[..] else {
        panic!("one client, not {entries:?}");
    };
    assert_eq!(
        key.client,
        Addr16::from_v6(fixtures::CLIENT_V6).prefix(PREFIX)
    );
    assert_eq!(
        traffic,
        Traffic {
            packets: 10,
            bytes: 50
        }
    );
}

#[test]
fn forgets_the_coldest_client_when_the_ledger_is_full() {
    if !is_root() {
        return;
    }
    let guard = Loaded::new(&exact_listeners());
    let mut frame = rows().swap_remove(0).frame;
    for client in 0..4 * LEDGER_SIZE {
        frame[14 + 12..14 + 16].copy_from_slice(&client.to_be_bytes());
        guard.run(&frame);
    }
    let remembered = guard.ledger.keys().filter_map(Result::ok).count();
    assert!(remembered <= LEDGER_SIZE as usize, "{remembered}");
    assert_eq!(
        guard.stats(0).packets,
        u64::from(4 * LEDGER_SIZE),
        "nothing is lost here"
    );
}

/// The program, loaded but not attached, with its maps.
struct Loaded {
    ebpf: Ebpf,
    listeners: Vec<ListenerKey>,
    stats: PerCpuArray<MapData, Traffic>,
    reads: PerCpuArray<MapData, u64>,
    ledger: HashMap<MapData, LedgerKey, Traffic>,
}

impl Loaded {
    fn new(listeners: &[ListenerKey]) -> Self {
        let size = u32::try_from(listeners.len()).unwrap().max(1);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::LISTENERS, size)
            .map_max_entries(names::STATS, size)
            .map_max_entries(names::LEDGER, LEDGER_SIZE)
            .load(object())
            .unwrap();
        let mut map: HashMap<_, ListenerKey, _> =
            HashMap::try_from(ebpf.map_mut(names::LISTENERS).unwrap()).unwrap();
        for (number, key) in (0..).zip(listeners) {
            map.insert(key, ListenerEntry::new(number, PREFIX), 0)
                .unwrap();
        }
        let program: &mut Xdp = ebpf
            .program_mut(names::XDP_GUARD)
            .unwrap()
            .try_into()
            .unwrap();
        program.load().unwrap();
        Self {
            listeners: listeners.to_vec(),
            stats: ebpf.take_map(names::STATS).unwrap().try_into().unwrap(),
            reads: ebpf.take_map(names::READS).unwrap().try_into().unwrap(),
            ledger: ebpf.take_map(names::LEDGER).unwrap().try_into().unwrap(),
            ebpf,
        }
    }

    /// Runs one frame and checks that it passed, and that exactly what it is was counted.
    #[track_caller]
    fn case(&self, name: &str, frame: &[u8], expected: Result<Parsed, Malformed>) {
        let before = self.counts();
        assert_eq!(self.run(frame), XDP_PASS, "{name}");
        let mut after = before;
        match expected {
            Ok(Parsed::Packet(packet)) => {
                match self
                    .listeners
                    .iter()
                    .position(|listener| *listener == packet.to)
                {
                    None => after.reads[NotOurs::NoListener as usize] += 1,
                    Some(number) => {
                        after.stats[number].packets += 1;
                        after.stats[number].bytes += u64::from(packet.payload_len);
                    }
                }
            }
            Ok(Parsed::NotOurs(why)) => after.reads[why as usize] += 1,
            Err(why) => after.reads[why as usize] += 1,
        }
        assert_eq!(self.counts(), after, "{name}: {expected:?}");
    }

    fn run(&self, frame: &[u8]) -> u32 {
        let program: &Xdp = self
            .ebpf
            .program(names::XDP_GUARD)
            .unwrap()
            .try_into()
            .unwrap();
        let options = TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::default()
        };
        program.test_run(options).unwrap().return_value
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for number in 0..self.listeners.len() {
            counts.stats[number] = self.stats(number);
        }
        for slot in 0..SLOTS {
            counts.reads[slot as usize] = self.read(slot);
        }
        for (key, traffic) in self.ledger.iter().map(Result::unwrap) {
            assert!(usize::try_from(key.listener).unwrap() < self.listeners.len());
            counts.ledger.packets += traffic.packets;
            counts.ledger.bytes += traffic.bytes;
        }
        let listeners: Traffic = counts.stats.iter().copied().sum();
        assert_eq!(counts.ledger, listeners, "the ledger and the sums agree");
        counts.ledger = Traffic::default();
        counts
    }

    fn stats(&self, number: usize) -> Traffic {
        let values = self.stats.get(&u32::try_from(number).unwrap(), 0).unwrap();
        values.iter().copied().sum()
    }

    fn read(&self, slot: u32) -> u64 {
        self.reads.get(&slot, 0).unwrap().iter().sum()
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    stats: [Traffic; 4],
    reads: [u64; SLOTS as usize],
    ledger: Traffic,
}

fn exact_listeners() -> [ListenerKey; 4] {
    [
        fixtures::TCP_V4,
        fixtures::TCP_V6,
        fixtures::UDP_V4,
        fixtures::UDP_V6,
    ]
}

const XDP_PASS: u32 = 2;
const PREFIX: u8 = 64;
const LEDGER_SIZE: u32 = 16_384;
/// `BPF_PROG_TEST_RUN` takes no frame shorter than an Ethernet header.
const SHORTEST: usize = 14;
