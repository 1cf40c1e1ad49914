//! The guard's counters as metrics, read from the kernel at the moment they are asked for.

use std::sync::{Arc, Mutex, PoisonError};

use aya::{
    Ebpf,
    maps::{MapData, MapError, PerCpuArray},
};
use pony_common::{
    layout::{
        ledger::Traffic,
        reads::{Malformed, NotOurs},
    },
    names,
};
use prometheus::{
    IntCounter, IntCounterVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{attach::Attached, error::StartError, object};

/// The kernel maps that hold the counters.
pub(super) struct Counters {
    stats: PerCpuArray<MapData, Traffic>,
    reads: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        Ok(Self {
            stats: object::take(ebpf, names::STATS)?,
            reads: object::take(ebpf, names::READS)?,
        })
    }

    /// What the listener with this number was sent.
    fn listener(&self, number: u32) -> Result<Traffic, MapError> {
        Ok(self.stats.get(&number, 0)?.iter().copied().sum())
    }

    /// The packets that were let through for the reason with this slot.
    fn read(&self, slot: u32) -> Result<u64, MapError> {
        Ok(self.reads.get(&slot, 0)?.iter().sum())
    }
}

pub(super) struct GuardCollector {
    counters: Arc<Counters>,
    metrics: Vec<Box<dyn Collector>>,
    /// By listener number. Locked while the counters are brought up to date.
    series: Mutex<Series>,
}

struct Series {
    /// Packets and bytes, by listener number.
    listeners: Vec<(IntCounter, IntCounter)>,
    /// By slot of `READS`.
    reads: Vec<IntCounter>,
}

impl GuardCollector {
    pub(super) fn new(
        counters: Arc<Counters>,
        listeners: &[Arc<str>],
        attached: &[Attached],
    ) -> Result<Self, prometheus::Error> {
        let labels = ["listener", "verdict", "reason"];
        let packets = IntCounterVec::new(Opts::new(PACKETS.0, PACKETS.1), &labels)?;
        let bytes = IntCounterVec::new(Opts::new(BYTES.0, BYTES.1), &labels)?;
        let others = IntCounterVec::new(Opts::new(OTHERS.0, OTHERS.1), &["reason"])?;
        let at = IntGaugeVec::new(Opts::new(ATTACHED.0, ATTACHED.1), &["interface", "mode"])?;

        for attached in attached {
            at.with_label_values(&[attached.interface.as_str(), attached.mode.as_str()])
                .set(1);
        }
        let series = Series {
            listeners: listeners
                .iter()
                .map(|name| [&**name, "pass", "none"])
                .map(|values| {
                    (
                        packets.with_label_values(&values),
                        bytes.with_label_values(&values),
                    )
                })
                .collect(),
            reads: read_reasons()
                .map(|reason| others.with_label_values(&[reason]))
                .collect(),
        };
        Ok(Self {
            counters,
            metrics: vec![
                Box::new(packets),
                Box::new(bytes),
                Box::new(others),
                Box::new(at),
            ],
            series: Mutex::new(series),
        })
    }
}

impl Collector for GuardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics
            .iter()
            .flat_map(|metric| metric.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.update(&self.counters);
        self.metrics
            .iter()
            .flat_map(|metric| metric.collect())
            .collect()
    }
}

impl Series {
    /// Brings the counters up to what the kernel has. One that cannot be read stays as it is.
    fn update(&self, counters: &Counters) {
        for (number, (packets, bytes)) in (0..).zip(&self.listeners) {
            if let Ok(traffic) = counters.listener(number) {
                raise(packets, traffic.packets);
                raise(bytes, traffic.bytes);
            }
        }
        for (slot, packets) in (0..).zip(&self.reads) {
            if let Ok(count) = counters.read(slot) {
                raise(packets, count);
            }
        }
    }
}

fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// The names of the slots of `READS`, in their order.
fn read_reasons() -> impl Iterator<Item = &'static str> {
    let not_ours = NotOurs::ALL.into_iter().map(NotOurs::as_str);
    not_ours.chain(Malformed::ALL.into_iter().map(Malformed::as_str))
}

const PACKETS: (&str, &str) = (
    "packetpony_guard_packets_total",
    "Packets for a listener seen by the kernel guard, by what it did with them",
);
const BYTES: (&str, &str) = (
    "packetpony_guard_bytes_total",
    "Payload bytes for a listener seen by the kernel guard, by what it did with them",
);
const OTHERS: (&str, &str) = (
    "packetpony_guard_other_packets_total",
    "Packets that the kernel guard let through unjudged because they are for no listener or unreadable",
);
const ATTACHED: (&str, &str) = (
    "packetpony_guard_attached",
    "1 for every interface that the kernel guard is attached to",
);
