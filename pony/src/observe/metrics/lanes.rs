//! The metrics of the lanes, of all listeners together.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use pony_common::layout::lane::{SLIPS, Slip};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{
    MetricsError,
    families::{counters, gauges, raise},
};
use crate::config::Lane;

/// What the lanes carry, and how flows change between them.
#[derive(Debug)]
pub struct LaneMetrics {
    /// In the order of [`Lane::ALL`].
    lanes: Vec<OneLane>,
    changes: IntCounterVec,
    available: IntGaugeVec,
    /// The last obstacle of each lane.
    said: Mutex<HashMap<Lane, String>>,
    /// In the order of [`Slip::ALL`].
    slips: Vec<IntCounter>,
}

#[derive(Debug)]
struct OneLane {
    active: IntGauge,
    bytes: IntCounter,
}

impl LaneMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let active = gauges(
            registry,
            "packetpony_flows_active",
            "TCP flows by the fastest lane that one of their directions uses",
            &["lane"],
        )?;
        let bytes = counters(
            registry,
            "packetpony_lane_bytes_total",
            "Bytes of TCP flows by the lane that moved them, both directions",
            &["lane"],
        )?;
        let changes = counters(
            registry,
            "packetpony_lane_changes_total",
            "Times that a direction of a TCP flow went over to another lane",
            &["from", "to", "reason"],
        )?;
        for (from, to, reason) in ORDINARY_CHANGES {
            changes.get_metric_with_label_values(&[from.as_str(), to.as_str(), reason])?;
        }
        let available = gauges(
            registry,
            "packetpony_lane_available",
            "1 if the lane can be used; else the reason says why not",
            &["lane", "reason"],
        )?;
        let family = counters(
            registry,
            "packetpony_lane_slips_total",
            "Pieces of TCP streams in the sockmap lane to which something out of the ordinary happened",
            &["reason"],
        )?;
        let mut slips = Vec::with_capacity(Slip::ALL.len());
        for slip in Slip::ALL {
            slips.push(family.get_metric_with_label_values(&[slip.as_str()])?);
        }
        let mut lanes = Vec::with_capacity(Lane::ALL.len());
        for lane in Lane::ALL {
            lanes.push(OneLane {
                active: active.get_metric_with_label_values(&[lane.as_str()])?,
                bytes: bytes.get_metric_with_label_values(&[lane.as_str()])?,
            });
        }
        Ok(Self {
            lanes,
            changes,
            available,
            said: Mutex::default(),
            slips,
        })
    }
}

impl LaneMetrics {
    /// Says whether a lane can be used, and if not, in a word, why.
    pub fn set_available(&self, lane: Lane, obstacle: Option<&str>) {
        let obstacle = obstacle.unwrap_or_default();
        let labels = [lane.as_str(), obstacle];
        let before = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.insert(lane, obstacle.to_owned())
        };
        if let Some(before) = before.filter(|before| before != obstacle) {
            // Only the one before says something, or it is gone already.
            drop(
                self.available
                    .remove_label_values(&[lane.as_str(), &before]),
            );
        }
        if let Ok(gauge) = self.available.get_metric_with_label_values(&labels) {
            gauge.set(i64::from(obstacle.is_empty()));
        }
    }

    /// What the kernel has counted so far, by the value of [`Slip`].
    pub fn set_slips(&self, slips: [u64; SLIPS as usize]) {
        for (counter, slips) in self.slips.iter().zip(slips) {
            raise(counter, slips);
        }
    }

    pub(in crate::observe) fn moved(&self, lane: Lane, bytes: u64) {
        if let Some(lane) = self.lanes.get(lane as usize) {
            lane.bytes.inc_by(bytes);
        }
    }

    pub(in crate::observe) fn entered(&self, lane: Lane) {
        if let Some(lane) = self.lanes.get(lane as usize) {
            lane.active.inc();
        }
    }

    pub(in crate::observe) fn left(&self, lane: Lane) {
        if let Some(lane) = self.lanes.get(lane as usize) {
            lane.active.dec();
        }
    }

    pub(in crate::observe) fn changed(&self, from: Lane, to: Lane, reason: &str) {
        let labels = [from.as_str(), to.as_str(), reason];
        if let Ok(counter) = self.changes.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }
}

/// What happens on an ordinary day is there, with 0, from the beginning.
const ORDINARY_CHANGES: [(Lane, Lane, &str); 7] = [
    (Lane::Copy, Lane::Splice, "bulk"),
    (Lane::Copy, Lane::Splice, "slow_reader"),
    (Lane::Copy, Lane::Sockmap, "conversation"),
    (Lane::Splice, Lane::Copy, "small"),
    (Lane::Sockmap, Lane::Copy, "bulk"),
    (Lane::Sockmap, Lane::Copy, "slow_reader"),
    (Lane::Sockmap, Lane::Copy, "credit"),
];
