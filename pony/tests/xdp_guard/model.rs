//! The guard on the host: the code of the kernel's programs over tables in memory.

use std::{collections::HashMap, sync::atomic::AtomicU64};

use pony_common::{
    addr::Addr16,
    cell::Cell64,
    hash::LinearWords,
    layout::{
        block::{Block, BlockKey},
        ledger::{self, Entry, Identity, IdentityCell, Ledger, SetRow, WAYS},
        listener::{ListenerKey, ListenerRef},
        policy::{Row, Rows},
        reads::NotOurs,
        settings::Settings,
        stats::{Slot, Tally},
    },
    time::Nanos,
};
use pony_ebpf::{
    cursor::{Cursor, Writer},
    header::reset,
    parse::{Packet, Parsed, parse},
    syn,
    verdict::{Answer, sent, verdict},
    world::{Blocked, World},
};

use crate::{
    guard::{Counts, Run, XDP_DROP, XDP_PASS, XDP_TX},
    setup::{HASH_KEY, Setup, attempts_key},
};

/// Everything that the kernel has in maps.
pub(crate) struct Model {
    listeners: Vec<(ListenerKey, ListenerRef)>,
    settings: Settings,
    attempts_key: LinearWords,
    image: Vec<Row>,
    blocks: HashMap<BlockKey, (Block, AtomicU64)>,
    sets: Vec<SetRow<AtomicU64>>,
    entries: Vec<Entry<AtomicU64, Whose>>,
    syns: Vec<AtomicU64>,
    counts: Counts,
}

impl Model {
    pub(crate) fn new(setup: &Setup) -> Self {
        let sets = setup.sets as usize;
        let entries = sets * WAYS as usize;
        Self {
            listeners: (0..)
                .zip(&setup.listeners)
                .map(|(number, listener)| (listener.key, listener.reference(number)))
                .collect(),
            settings: setup.settings(),
            attempts_key: attempts_key(),
            image: setup.image(1),
            blocks: setup
                .block_entries()
                .map(|(key, block)| (key, (block, AtomicU64::new(0))))
                .collect(),
            sets: (0..sets).map(|_| SetRow::default()).collect(),
            entries: (0..entries).map(|_| Entry::default()).collect(),
            syns: (0..syn::SIZE).map(|_| AtomicU64::new(0)).collect(),
            counts: Counts::new(setup.listeners.len()),
        }
    }

    /// What `xdp_guard` does with a frame.
    pub(crate) fn run(&mut self, frame: &[u8], now: Nanos) -> Run {
        let whole = frame.len().try_into().unwrap();
        let pass = Run {
            action: XDP_PASS,
            frame: frame.to_vec(),
        };
        let packet = match parse(&mut Cursor::from(frame), whole) {
            Ok(Parsed::Packet(packet)) => packet,
            Ok(Parsed::NotOurs(why)) => return self.unread(why as usize, pass),
            Err(why) => return self.unread(why as usize, pass),
        };
        let Some(listener) = self.listener(packet.to) else {
            return self.unread(NotOurs::NoListener as usize, pass);
        };
        let in_connection = packet
            .tcp()
            .is_some_and(|segment| !segment.flags.is_attempt() && !segment.flags.are_bogus());
        if listener.is_shared() && in_connection {
            return self.unread(NotOurs::InConnection as usize, pass);
        }
        let listener = listener.number();
        let decision = verdict(self, &packet, listener, now);
        let tally = &mut self.counts.stats[decision.slot().index(listener) as usize];
        *tally = [*tally, tally_of(&packet, decision.attempts)]
            .into_iter()
            .sum();
        match decision.answer {
            Answer::Pass => pass,
            Answer::Drop => Run {
                action: XDP_DROP,
                ..pass
            },
            Answer::Reset => answer(&packet, pass.frame),
        }
    }

    /// What `tc_egress` does with a frame.
    pub(crate) fn send(&mut self, frame: &[u8], now: Nanos) {
        let whole = frame.len().try_into().unwrap();
        if let Ok(Parsed::Packet(packet)) = parse(&mut Cursor::from(frame), whole)
            && let Some(listener) = self.listener(packet.from)
            && (!listener.is_shared() || packet.tcp().is_none())
        {
            let listener = listener.number();
            sent(self, &packet, listener, now);
            let slot = Slot::Sent.index(listener) as usize;
            let tally = &mut self.counts.stats[slot];
            *tally = [*tally, tally_of(&packet, 0)].into_iter().sum();
        }
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        for entry in &self.entries {
            let whose = entry.identity.load();
            let used = [
                Cell64::load(&entry.packets_in),
                Cell64::load(&entry.bytes_in),
                Cell64::load(&entry.packets_out),
                Cell64::load(&entry.bytes_out),
                Cell64::load(&entry.attempts),
            ];
            if whose != Identity::default() {
                counts.ledger.insert((whose.listener, whose.client.0), used);
            }
        }
        for (key, (_, refused)) in &self.blocks {
            let key = (key.listener, key.client.0);
            counts.blocks.insert(key, Cell64::load(refused));
        }
        counts
    }

    fn unread(&mut self, slot: usize, pass: Run) -> Run {
        self.counts.reads[slot] += 1;
        pass
    }

    fn listener(&self, key: ListenerKey) -> Option<ListenerRef> {
        let find = |wanted| self.listeners.iter().find(|(key, _)| *key == wanted);
        let found = find(key).or_else(|| find(key.wildcard()));
        found.map(|(_, listener)| *listener)
    }
}

fn tally_of(packet: &Packet, attempts: u64) -> Tally {
    Tally {
        packets: 1,
        bytes: packet.payload_len.into(),
        attempts,
    }
}

fn answer(packet: &Packet, mut frame: Vec<u8>) -> Run {
    frame.truncate(reset::frame_len(packet) as usize);
    let asked = packet.tcp().unwrap();
    reset::write(&mut Writer::from(&mut frame[..]), packet, asked).unwrap();
    Run {
        action: XDP_TX,
        frame,
    }
}

/// The rows of the model's policy.
pub(crate) struct Image<'a>(&'a [Row]);

impl Rows for Image<'_> {
    fn row(&self, index: u32) -> Option<&Row> {
        self.0.get(index as usize)
    }
}

impl World for Model {
    type Cell = AtomicU64;
    type Identity = Whose;
    type AttemptsKey = LinearWords;
    type Policy<'a> = Image<'a>;

    fn policy(&self) -> Option<Image<'_>> {
        Some(Image(&self.image))
    }

    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn attempts_key(&self) -> &LinearWords {
        &self.attempts_key
    }

    fn block(&self, key: &BlockKey) -> Option<Blocked<'_, AtomicU64>> {
        let (block, refused) = self.blocks.get(key)?;
        Some(Blocked {
            until: block.until,
            reason: block.reason,
            scope: block.scope,
            refused,
        })
    }

    fn attempt(&self, index: u32) -> Option<&AtomicU64> {
        self.syns.get(index as usize)
    }

    fn client(&self, who: Identity, now: Nanos) -> Option<&Entry<AtomicU64, Whose>> {
        ledger::find(self, &HASH_KEY, who, now)
    }
}

impl Ledger for Model {
    type Cell = AtomicU64;
    type Identity = Whose;

    fn sets(&self) -> u32 {
        self.sets.len().try_into().unwrap()
    }

    fn set(&self, index: u32) -> Option<&SetRow<AtomicU64>> {
        self.sets.get(index as usize)
    }

    fn entry(&self, index: u32) -> Option<&Entry<AtomicU64, Whose>> {
        self.entries.get(index as usize)
    }
}

/// Whose an entry is.
#[derive(Default)]
pub(crate) struct Whose([AtomicU64; 3]);

impl IdentityCell for Whose {
    fn load(&self) -> Identity {
        let [upper, lower, listener] = self.0.each_ref().map(Cell64::load);
        let mut client = [0; 16];
        client[..8].copy_from_slice(&upper.to_be_bytes());
        client[8..].copy_from_slice(&lower.to_be_bytes());
        Identity::new(Addr16(client), listener.try_into().unwrap())
    }

    fn store(&self, identity: Identity) {
        let (upper, lower) = identity.client.halves();
        let words = [upper, lower, identity.listener.into()];
        for (cell, word) in self.0.iter().zip(words) {
            Cell64::store(cell, word);
        }
    }
}
