//! Which lanes the bytes took, as the daemon's metrics say: so a test proves the path and not only
//! the outcome.
//!
//! The only place that knows these metrics.

use std::collections::BTreeMap;

use crate::{
    harness::{Pony, wait_eq},
    lane::Lane,
};

/// The metrics of the lanes at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    active: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
    changes: BTreeMap<String, u64>,
    slips: BTreeMap<String, u64>,
}

impl Proof {
    #[track_caller]
    pub(crate) fn of(pony: &Pony) -> Self {
        let (status, text) = pony.http("/metrics");
        assert_eq!(status, 200, "{text}");
        Self {
            active: by_label(&text, "packetpony_flows_active", "lane"),
            bytes: by_label(&text, "packetpony_lane_bytes_total", "lane"),
            changes: by_label(&text, "packetpony_lane_changes_total", "to"),
            slips: by_label(&text, "packetpony_lane_slips_total", "reason"),
        }
    }

    /// How many flows there are, in all lanes.
    pub(crate) fn active(&self) -> u64 {
        self.active.values().sum()
    }

    /// Whether bytes were moved in this lane, or for `auto` in the one that suits them. With random
    /// lanes, whether there was a change.
    pub(crate) fn has_used(&self, lane: Lane, suitable: &str) -> bool {
        match lane {
            Lane::Auto => self.bytes[suitable] > 0,
            Lane::Shuffle => self.changes.values().sum::<u64>() > 0,
            lane => self.bytes[&lane.to_string()] > 0,
        }
    }

    /// How many bytes this lane has moved.
    pub(crate) fn moved_in(&self, lane: &str) -> u64 {
        self.bytes[lane]
    }

    /// Waits until `moved` bytes since then are counted, and checks that the lane that was asked for
    /// moved them, and that nothing happened in it that must not.
    #[track_caller]
    pub(crate) fn check(pony: &Pony, before: &Self, lane: Lane, moved: u64) {
        wait_eq(moved, || Self::of(pony).moved_since(before, None));
        let after = Self::of(pony);
        for fault in FAULTS {
            assert_eq!(after.slips[fault], 0, "{fault}: {after:?}");
        }
        let taken = |lane: &str| after.moved_since(before, Some(lane));
        match lane {
            Lane::Auto => {}
            Lane::Copy => assert_eq!(taken("copy"), moved, "all in the copy lane: {after:?}"),
            Lane::Splice | Lane::Sockmap => {
                let has_moved = taken(&lane.to_string()) > 0 || moved == 0;
                assert!(has_moved, "none in lane {lane}: {after:?}");
            }
            Lane::Shuffle => {
                let changes = |proof: &Self| proof.changes.values().sum::<u64>();
                assert!(changes(&after) > changes(before), "no change: {after:?}");
            }
        }
    }

    /// The bytes in the kernel's lane since the daemon started.
    pub(crate) fn moved_by_kernel(&self) -> u64 {
        self.moved_since(&Self::default(), Some("sockmap"))
    }

    /// The bytes in this lane, or in all.
    fn moved_since(&self, before: &Self, lane: Option<&str>) -> u64 {
        let sum = |proof: &Self| -> u64 {
            let lanes = proof.bytes.iter();
            let lanes = lanes.filter(|(name, _)| lane.is_none_or(|lane| lane == *name));
            lanes.map(|(_, bytes)| bytes).sum()
        };
        sum(self) - sum(before)
    }
}

/// The values of a family, summed by one label.
fn by_label(text: &str, family: &str, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    let lines = text.lines().filter_map(|line| line.strip_prefix(family));
    for line in lines.filter(|rest| rest.starts_with('{')) {
        let begin = format!("{label}=\"");
        let value = line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        let name = line
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split_once('"'));
        let name = name.map_or("", |(name, _)| name);
        let value: u64 = format!("{value:.0}").parse().unwrap();
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

/// Slips that no network and no peer can cause. Pieces that overlap are ordinary, and a flow that was
/// reset has a piece with nowhere to go.
const FAULTS: [&str; 3] = ["unknown_socket", "no_call", "out_of_place"];

#[test]
fn bytes_are_summed_by_lane_over_all_listeners() {
    let text = "# TYPE packetpony_lane_bytes_total counter\n\
                packetpony_lane_bytes_total{lane=\"copy\",listener=\"a\"} 3\n\
                packetpony_lane_bytes_total{lane=\"copy\",listener=\"b\"} 4\n\
                packetpony_lane_bytes_total{lane=\"splice\",listener=\"a\"} 5\n\
                packetpony_lane_bytes_total_of_another{lane=\"x\"} 5\n";
    let sums = by_label(text, "packetpony_lane_bytes_total", "lane");
    assert_eq!(
        sums,
        BTreeMap::from([("copy".to_owned(), 7), ("splice".to_owned(), 5)])
    );
}
