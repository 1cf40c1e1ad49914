//! `EVENTS`: what the guard reports of single clients.
//!
//! It reports the same at most once a second, with the next packet: what it counts after the last
//! report of a client that then is quiet waits in `REPORTS`, and is taken from there. So the daemon
//! knows everything within two seconds, but for what gave way to others in a flood of clients; that
//! is in the counters alone.

use std::{net::IpAddr, sync::atomic::AtomicU64};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use pony_common::{
    addr::Addr16,
    layout::{
        event::Event,
        report::{self, About, INTERVAL},
        stats::{Slot, Tally},
    },
    names,
    time::Nanos,
};

use super::{error::StartError, object};
use crate::sys::View;

/// What the guard did to one client, since it last said so about the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Report {
    /// The number of the listener.
    pub listener: u32,
    /// An IPv4 address, or the first address of an IPv6 prefix.
    pub client: IpAddr,
    /// What it did, and why.
    pub slot: Slot,
    /// To how many packets.
    pub packets: u64,
    /// How many connections or datagrams that were.
    pub attempts: u64,
}

/// The reports of the guard, oldest first. Whoever has them takes them about ten times a second.
pub struct Events {
    ring: RingBuf<MapData>,
    waiting: View<report::Report<AtomicU64>>,
    /// When to look at what is waiting.
    next_look: Nanos,
}

impl Events {
    pub(super) fn take_from(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        let waiting = object::shared(ebpf, names::REPORTS, report::SIZE)?;
        Ok(Self {
            ring: object::take(ebpf, names::EVENTS)?,
            waiting,
            next_look: Nanos::ZERO,
        })
    }

    /// The next report, if there is one.
    pub fn take(&mut self) -> Option<Report> {
        loop {
            let record = self.ring.next()?;
            if let Some(report) = read(&record) {
                return Some(report);
            }
        }
    }

    /// What waited for more than a second. Looks once a second, however often it is asked.
    pub fn overdue(&mut self, now: Nanos) -> Vec<Report> {
        if now < self.next_look {
            return Vec::new();
        }
        self.next_look = now.saturating_add(INTERVAL);
        let rows = self.waiting.elements().iter();
        rows.filter_map(|row| late(row.overdue(now)?)).collect()
    }
}

/// `None` for what no guard of this version writes.
fn late((about, told): (About, Tally)) -> Option<Report> {
    Some(Report {
        listener: about.listener,
        client: about.client.to_ip(),
        slot: Slot::from_value(about.slot)?,
        packets: told.packets,
        attempts: told.attempts,
    })
}

/// `None` for what no guard of this version writes.
fn read(record: &[u8]) -> Option<Report> {
    let mut record = Reader(record);
    let _at = record.u64()?;
    let listener = record.u32()?;
    let slot = Slot::from_value(record.u32()?)?;
    let client = Addr16(record.bytes()?).to_ip();
    let packets = record.u64()?;
    let _bytes = record.u64()?;
    let attempts = record.u64()?;
    Some(Report {
        listener,
        client,
        slot,
        packets,
        attempts,
    })
}

// The fields above are read in their order and without gaps.
const _: () = assert!(size_of::<Event>() == 8 + 4 + 4 + 16 + 8 + 8 + 8);

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use pony_common::reason::Reason;

    use super::*;

    fn record(slot: u32) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(7_u64.to_ne_bytes());
        record.extend(2_u32.to_ne_bytes());
        record.extend(slot.to_ne_bytes());
        record.extend(Addr16::from_v4([192, 0, 2, 1]).0);
        for number in [5_u64, 600, 3] {
            record.extend(number.to_ne_bytes());
        }
        record
    }

    #[test]
    fn reads_what_the_program_writes() {
        let slot = Slot::Drop(Reason::AttemptLimit);
        let record = record(slot.value());
        assert_eq!(record.len(), size_of::<Event>());
        let expected = Report {
            listener: 2,
            client: "192.0.2.1".parse().unwrap(),
            slot,
            packets: 5,
            attempts: 3,
        };
        assert_eq!(read(&record), Some(expected));
    }

    #[test]
    fn skips_what_it_does_not_know() {
        assert_eq!(read(&record(u32::MAX)), None);
        assert_eq!(read(&record(0)[..55]), None);
        assert_eq!(read(&[]), None);
    }
}
