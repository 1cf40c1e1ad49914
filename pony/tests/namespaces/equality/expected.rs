//! What the steps of a scenario come to in the metrics, whoever refuses.

use std::collections::BTreeMap;

use pony_common::reason::Reason;

use super::{
    scenario::{By, GREETING, Protocol, Step},
    totals::{Counts, Figures},
};

#[derive(Debug)]
pub(super) struct Expected {
    protocol: Protocol,
    totals: Counts,
    /// Least and most packets that the guard must have counted under a reason and verdict.
    guard: BTreeMap<String, (u64, u64)>,
}

impl Expected {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            totals: Counts::new(),
            guard: BTreeMap::new(),
        }
    }

    /// Adds what a step comes to, with or without the guard.
    pub(super) fn step(&mut self, step: &Step, is_guarded: bool) {
        match *step {
            Step::Open(_) => self.opened(),
            Step::OpenOver(_, reason) => {
                self.opened();
                self.violated(reason, 1);
                // Of a session the guard sees only bytes.
                if (self.protocol, reason) == (Protocol::Tcp, Reason::AttemptLimit) {
                    self.guard("report", reason, is_guarded, (1, 1));
                }
            }
            Step::Exchange(_, len) => self.moved(len, len),
            Step::ExchangeOver(_, len) => {
                self.moved(len, len);
                self.violated(Reason::BandwidthLimit, 2);
                // What was delivered of a stream only the daemon knows.
                if self.protocol == Protocol::Udp {
                    self.guard("report", Reason::BandwidthLimit, is_guarded, (1, 1));
                }
            }
            Step::Refuse(_, reason, by) | Step::Shun(_, reason, by) => {
                self.refused(reason);
                self.guard("drop", reason, is_guarded, packets(by));
            }
            Step::Lose(_, _, by) => {
                self.limited(Reason::BandwidthLimit);
                self.guard("drop", Reason::BandwidthLimit, is_guarded, packets(by));
            }
            Step::LoseReply(_, len) => {
                self.limited(Reason::BandwidthLimit);
                self.moved_one_way("sent", len);
            }
            Step::Cut(_, len, back) => {
                self.limited(Reason::BandwidthLimit);
                self.moved(len, back);
                self.closed(1);
            }
            Step::Ban(_, _, ended) => {
                for _ in ended {
                    self.limited(Reason::Banned);
                    self.closed(1);
                }
                // What a client of a connection still has to say.
                let rest = u64::from(self.protocol == Protocol::Tcp);
                self.guard("drop", Reason::Banned, is_guarded, (0, rest));
            }
            Step::Close(_) => self.closed(1),
            Step::Expire => self.closed(self.totals["connections_active"]),
            Step::Free(_) | Step::Forgive(_) | Step::Unban(_) | Step::Outlast(_) => {}
        }
    }

    /// Whether this and nothing else was counted.
    pub(super) fn is_met_by(&self, figures: &Figures) -> bool {
        self.totals == figures.totals && self.guard_did(&figures.guard)
    }

    fn guard_did(&self, counted: &Counts) -> bool {
        let is_known = |key: &String| key.starts_with("none ") || self.guard.contains_key(key);
        let is_within = |(key, &(least, most)): (&String, &(u64, u64))| {
            let count = counted.get(key).copied().unwrap_or(0);
            // A client that gets no answer asks again.
            let is_repeated = self.protocol == Protocol::Tcp && most > 0;
            count >= least && (count <= most || is_repeated)
        };
        counted.keys().all(is_known) && self.guard.iter().all(is_within)
    }

    fn opened(&mut self) {
        self.add("connections accepted", 1);
        self.add("connections_active", 1);
        if self.protocol == Protocol::Udp {
            self.add("sessions_active", 1);
        }
        self.moved(GREETING.len(), GREETING.len());
    }

    fn closed(&mut self, connections: u64) {
        let mut gauges = vec!["connections_active"];
        if self.protocol == Protocol::Udp {
            gauges.push("sessions_active");
        }
        for gauge in gauges {
            let left = self.totals[gauge] - connections;
            self.totals.insert(gauge.to_owned(), left);
            self.totals.retain(|_, value| *value > 0);
        }
    }

    fn moved(&mut self, sent: usize, received: usize) {
        self.moved_one_way("sent", sent);
        self.moved_one_way("received", received);
    }

    fn moved_one_way(&mut self, direction: &str, len: usize) {
        self.add(&format!("bytes_transferred {direction}"), len as u64);
        if self.protocol == Protocol::Udp {
            self.add(&format!("packets_transferred {direction}"), 1);
        }
    }

    fn refused(&mut self, reason: Reason) {
        if reason == Reason::Acl {
            self.add("connections acl_denied", 1);
            self.add("acl_drops", 1);
            return;
        }
        self.limited(reason);
        // A datagram over the bandwidth is dropped, whether or not it would open a session.
        if (self.protocol, reason) != (Protocol::Udp, Reason::BandwidthLimit) {
            self.add("connections rate_limited", 1);
        }
    }

    fn limited(&mut self, reason: Reason) {
        self.add(&format!("rate_limit_drops {reason}"), 1);
    }

    fn violated(&mut self, reason: Reason, times: u64) {
        self.add(&format!("limit_violations {reason}"), times);
    }

    fn add(&mut self, key: &str, count: u64) {
        if count > 0 {
            *self.totals.entry(key.to_owned()).or_default() += count;
        }
    }

    fn guard(&mut self, verdict: &str, reason: Reason, is_guarded: bool, packets: (u64, u64)) {
        if is_guarded {
            let range = self.guard.entry(format!("{reason} {verdict}"));
            let (least, most) = range.or_default();
            *least += packets.0;
            *most += packets.1;
        }
    }
}

/// How many packets the guard refuses, at least and at most.
fn packets(by: By) -> (u64, u64) {
    match by {
        By::Guard | By::Block => (1, 1),
        By::Either => (0, 1),
        By::Daemon => (0, 0),
    }
}
