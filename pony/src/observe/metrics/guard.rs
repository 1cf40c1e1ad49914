//! The metrics of the kernel guard: what it counted, and its part in the totals of the listeners.
//!
//! The guard counts in kernel maps. Whoever reads these brings the values here, right before they
//! are shown. What holds: a refusal that the guard made is once in the guard's own series and once
//! in the same total where a refusal by the daemon would be, whatever it is that reads, and however
//! often.

use std::sync::{Arc, Mutex, PoisonError};

use pony_common::{
    layout::{
        reads::{Malformed, NotOurs},
        stats::{Slot, Tally},
    },
    reason::Reason,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{
    ListenerMetrics, Metrics, MetricsError,
    families::{counters, gauges, raise},
};
use crate::config::Protocol;

/// The handles of the guard's metrics.
pub struct GuardMetrics {
    /// By listener number.
    listeners: Vec<ListenerSeries>,
    /// By slot of `READS`.
    reads: Vec<IntCounter>,
    withheld: IntCounter,
    attached: IntGaugeVec,
    /// Clients that the daemon has blocked in the kernel now.
    pub blocks: IntGauge,
    /// The generation of the policy that the kernel judges by.
    pub generation: IntGauge,
}

struct ListenerSeries {
    protocol: Protocol,
    totals: Arc<ListenerMetrics>,
    /// By slot of `STATS`.
    slots: Vec<SlotSeries>,
}

struct SlotSeries {
    packets: IntCounter,
    bytes: IntCounter,
    /// How many refused attempts the totals have already.
    attempts: Mutex<u64>,
}

impl GuardMetrics {
    /// Makes the series of these listeners, whose numbers are their places.
    pub fn register<'a>(
        metrics: &Metrics,
        listeners: impl IntoIterator<Item = (&'a str, Protocol)>,
    ) -> Result<Self, MetricsError> {
        let registry = &metrics.inner.registry;
        let labels = ["listener", "verdict", "reason"];
        let packets = counters(registry, PACKETS.0, PACKETS.1, &labels)?;
        let bytes = counters(registry, BYTES.0, BYTES.1, &labels)?;
        let others = counters(registry, OTHERS.0, OTHERS.1, &["reason"])?;
        let blocks = gauges(registry, BLOCKS.0, BLOCKS.1, &[])?;
        let generation = gauges(registry, GENERATION.0, GENERATION.1, &[])?;
        let withheld = counters(registry, WITHHELD.0, WITHHELD.1, &[])?;
        let mut series = Vec::new();
        for (name, protocol) in listeners {
            series.push(ListenerSeries {
                protocol,
                totals: metrics.listener(name, protocol)?,
                slots: slots(name, &packets, &bytes)?,
            });
        }
        let mut reads = Vec::new();
        for reason in read_reasons() {
            reads.push(others.get_metric_with_label_values(&[reason])?);
        }
        Ok(Self {
            listeners: series,
            reads,
            withheld: withheld.get_metric_with_label_values::<&str>(&[])?,
            attached: gauges(registry, ATTACHED.0, ATTACHED.1, &["interface", "mode"])?,
            blocks: blocks.get_metric_with_label_values::<&str>(&[])?,
            generation: generation.get_metric_with_label_values::<&str>(&[])?,
        })
    }

    /// How many listeners there are.
    pub fn listeners(&self) -> u32 {
        u32::try_from(self.listeners.len()).unwrap_or(u32::MAX)
    }

    /// What the kernel has counted so far in this slot of the listener with this number.
    pub fn set_tally(&self, listener: u32, slot: Slot, tally: Tally) {
        let listener = usize::try_from(listener).ok();
        let Some(listener) = listener.and_then(|number| self.listeners.get(number)) else {
            return;
        };
        let Some(series) = listener.slots.get(slot.value() as usize) else {
            return;
        };
        raise(&series.packets, tally.packets);
        raise(&series.bytes, tally.bytes);
        let mut counted = series
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new = tally.attempts.saturating_sub(*counted);
        *counted = tally.attempts.max(*counted);
        // What is only reported goes on to the daemon, which counts it.
        if let Slot::Drop(reason) = slot {
            listener.add_refusals(reason, new);
        }
    }

    /// What the kernel has counted so far in this slot of `READS`.
    pub fn set_read(&self, slot: u32, packets: u64) {
        let slot = usize::try_from(slot).ok();
        if let Some(counter) = slot.and_then(|slot| self.reads.get(slot)) {
            raise(counter, packets);
        }
    }

    /// How many reports of single clients the kernel has withheld so far.
    pub fn set_withheld(&self, reports: u64) {
        raise(&self.withheld, reports);
    }

    /// The interfaces that the guard is attached to now, with how.
    pub fn set_attached<'a>(&self, interfaces: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.attached.reset();
        for (interface, mode) in interfaces {
            self.attached.with_label_values(&[interface, mode]).set(1);
        }
    }
}

impl ListenerSeries {
    /// Counts refusals where the daemon would have counted its own.
    fn add_refusals(&self, reason: Reason, new: u64) {
        match (self.protocol, reason) {
            // The daemon never sees such packets.
            (_, Reason::Malformed) => {}
            // Datagrams of sessions that are open, as far as anybody can tell.
            (Protocol::Udp, Reason::BandwidthLimit) => self.totals.limit_hits(reason, new),
            _ => self.totals.refusals(reason, new),
        }
    }
}

fn slots(
    listener: &str,
    packets: &IntCounterVec,
    bytes: &IntCounterVec,
) -> Result<Vec<SlotSeries>, MetricsError> {
    let mut slots = Vec::with_capacity(Slot::ALL.len());
    for slot in Slot::ALL {
        let labels = [listener, slot.verdict(), slot.reason()];
        slots.push(SlotSeries {
            packets: packets.get_metric_with_label_values(&labels)?,
            bytes: bytes.get_metric_with_label_values(&labels)?,
            attempts: Mutex::default(),
        });
    }
    Ok(slots)
}

/// The names of the slots of `READS`, in their order.
fn read_reasons() -> impl Iterator<Item = &'static str> {
    let not_ours = NotOurs::ALL.into_iter().map(NotOurs::as_str);
    not_ours.chain(Malformed::ALL.into_iter().map(Malformed::as_str))
}

const PACKETS: (&str, &str) = (
    "packetpony_guard_packets_total",
    "Packets for and from a listener seen by the kernel guard, by what it did with them",
);
const BYTES: (&str, &str) = (
    "packetpony_guard_bytes_total",
    "Payload bytes for and from a listener seen by the kernel guard, by what it did with them",
);
const OTHERS: (&str, &str) = (
    "packetpony_guard_other_packets_total",
    "Packets that the kernel guard let through unjudged, by why",
);
const ATTACHED: (&str, &str) = (
    "packetpony_guard_attached",
    "1 for every interface that the kernel guard is attached to",
);
const BLOCKS: (&str, &str) = (
    "packetpony_guard_blocked_clients",
    "Clients that the daemon has told the kernel guard to refuse now",
);
const WITHHELD: (&str, &str) = (
    "packetpony_guard_reports_withheld_total",
    "Reports for the log that the kernel guard did not make because there were too many",
);
const GENERATION: (&str, &str) = (
    "packetpony_guard_policy_generation",
    "How often the policy of the kernel guard was replaced, the first one included",
);

#[cfg(test)]
mod tests;
