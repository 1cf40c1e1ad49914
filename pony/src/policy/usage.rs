//! What one client has used lately, and which of its limits that violates.

use std::sync::atomic::AtomicU64;

use pony_common::{
    limit::{
        Action, AttemptLimit, Attempts, Bandwidth, BandwidthLimit, Charge, DatagramCharge, SLOTS,
        until_next_slot,
    },
    reason::Reason,
    time::Nanos,
};
use tokio_util::sync::CancellationToken;

use super::credit;
use crate::config::Limits;

/// The limits that concern one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) attempts: Option<AttemptLimit>,
    pub(super) connections: Option<u32>,
    pub(super) bandwidth: Option<BandwidthLimit>,
}

impl ClientLimits {
    /// `None` if no limit concerns single clients.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let this = Self {
            attempts: limits.attempts.map(|limit| AttemptLimit {
                max: limit.max,
                window: limit.window.into(),
            }),
            connections: limits.max_connections_per_ip,
            bandwidth: limits.bandwidth.map(|limit| BandwidthLimit {
                action: limits.action,
                ..limit
            }),
        };
        let is_any = this.attempts.is_some() || this.connections.is_some();
        (is_any || this.bandwidth.is_some()).then_some(this)
    }

    /// How long after its last use a client has nothing left that could be held against it.
    pub(super) fn memory(&self) -> Nanos {
        let attempts = self.attempts.map_or(Nanos::ZERO, |limit| limit.window);
        let bandwidth = self.bandwidth.map_or(Nanos::ZERO, |limit| limit.window);
        let longest = attempts.max(bandwidth);
        let slot = longest.0.div_ceil(SLOTS as u64 - 1);
        longest.saturating_add(Nanos(slot))
    }

    /// When a window may next become emptier by itself, if one is the reason.
    pub(super) fn forgiven(&self, reason: Reason, now: Nanos) -> Nanos {
        let window = match reason {
            Reason::AttemptLimit => self.attempts.map(|limit| limit.window),
            Reason::BandwidthLimit => self.bandwidth.map(|limit| limit.window),
            _ => None,
        };
        window.map_or(Nanos::MAX, |window| {
            now.saturating_add(until_next_slot(now, window))
        })
    }
}

/// The recent past of one client.
#[derive(Debug, Default)]
pub(super) struct Usage {
    attempts: Attempts<AtomicU64>,
    bandwidth: Bandwidth<AtomicU64>,
    /// Bytes that may move at any time, and are counted only then. With what is counted in the
    /// window they are never more than the limit, unless bytes are counted that nobody was asked
    /// about, or for which a throttled client has waited.
    pub(super) lent: u64,
    /// Those to whom they were lent have it. Cancelled: they must give them back.
    recall: Option<CancellationToken>,
    /// When something was last counted.
    last: Nanos,
    /// Whether the ledger lists the client as limited. Only the ledger changes it.
    pub(super) is_listed: bool,
}

// About 700 bytes per client with its places in the tables; `Ledger` documents what that sums to.
const _: () = assert!(size_of::<Usage>() == 280 + 288 + 8 + 8 + 8 + 8);

impl Usage {
    /// Counts an attempt of a client that has `open` connections, and answers which of its
    /// limits the new one would violate.
    pub(super) fn attempt(
        &mut self,
        limits: &ClientLimits,
        open: u32,
        now: Nanos,
    ) -> Option<Reason> {
        self.touch(now);
        if let Some(limit) = &limits.attempts
            && !self.attempts.admit(limit, now)
        {
            return Some(Reason::AttemptLimit);
        }
        self.over(limits, open, now)
    }

    /// The limit that an attempt would violate now.
    pub(super) fn refusal(&self, limits: &ClientLimits, open: u32, now: Nanos) -> Option<Reason> {
        if let Some(limit) = &limits.attempts
            && !self.attempts.has_room(limit, now)
        {
            return Some(Reason::AttemptLimit);
        }
        self.over(limits, open, now)
    }

    /// The limit that a connection more would violate, attempts aside.
    fn over(&self, limits: &ClientLimits, open: u32, now: Nanos) -> Option<Reason> {
        if limits.connections.is_some_and(|max| open >= max) {
            return Some(Reason::ConnectionLimit);
        }
        if let Some(limit) = &limits.bandwidth
            && limit.action != Action::Throttle
            && !self.bandwidth.has_room(limit, now)
        {
            return Some(Reason::BandwidthLimit);
        }
        None
    }

    /// Counts attempts that were refused before they came here.
    pub(super) fn record_attempts(&mut self, limit: &AttemptLimit, attempts: u64, now: Nanos) {
        self.touch(now);
        self.attempts.record(limit, now, attempts);
    }

    /// Counts up to `want` bytes of a stream. `None` if what they would need is lent: it is called
    /// back then.
    pub(super) fn charge(
        &mut self,
        limit: &BandwidthLimit,
        want: u64,
        now: Nanos,
    ) -> Option<Charge> {
        self.touch(now);
        let rest = self.rest_of(limit);
        let least = match limit.action {
            Action::LogOnly => want,
            Action::Drop | Action::Throttle => want.min(1),
        };
        if self.lent > 0 && self.bandwidth.room(&rest, now) < least {
            if let Some(recall) = self.recall.take() {
                recall.cancel();
            }
            return None;
        }
        Some(self.bandwidth.charge(&rest, now, want))
    }

    /// Lends bytes to one who has `held` already, so that it has up to `most`. Answers how many it
    /// has now, and where they are called back; `None` if it gets none, as the limit is too near.
    pub(super) fn lend(
        &mut self,
        limit: &BandwidthLimit,
        held: u64,
        most: u64,
        now: Nanos,
    ) -> Option<(u64, CancellationToken)> {
        self.touch(now);
        let room = self.bandwidth.room(&self.rest_of(limit), now);
        let share = most.min(room.saturating_add(held) / credit::PARTS);
        if share < credit::LEAST {
            return None;
        }
        // What it has already may be more than its share, now that there is less.
        let more = share.saturating_sub(held).min(room);
        self.lent += more;
        let recall = self.recall.get_or_insert_default().clone();
        Some((held + more, recall))
    }

    /// Counts bytes that were lent.
    pub(super) fn spend(&mut self, limit: &BandwidthLimit, bytes: u64, now: Nanos) {
        self.lent = self.lent.saturating_sub(bytes);
        self.record(limit, bytes, now);
    }

    /// Takes back bytes that were lent and have not moved.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.lent = self.lent.saturating_sub(bytes);
    }

    /// The limit for what is not lent.
    fn rest_of(&self, limit: &BandwidthLimit) -> BandwidthLimit {
        BandwidthLimit {
            limit: limit.limit.saturating_sub(self.lent),
            ..*limit
        }
    }

    pub(super) fn charge_datagram(
        &mut self,
        limit: &BandwidthLimit,
        len: u64,
        now: Nanos,
    ) -> DatagramCharge {
        self.touch(now);
        self.bandwidth.charge_datagram(limit, now, len)
    }

    /// Counts bytes without asking.
    pub(super) fn record(&mut self, limit: &BandwidthLimit, bytes: u64, now: Nanos) {
        self.touch(now);
        self.bandwidth.record(limit, now, bytes);
    }

    /// Whether a limit holds the client back now.
    pub(super) fn is_limited(&self, limits: &ClientLimits, open: u32, now: Nanos) -> bool {
        let has_attempts =
            (limits.attempts.as_ref()).is_none_or(|limit| self.attempts.has_room(limit, now));
        let has_bytes =
            (limits.bandwidth.as_ref()).is_none_or(|limit| self.bandwidth.has_room(limit, now));
        !has_attempts || !has_bytes || limits.connections.is_some_and(|max| open >= max)
    }

    pub(super) fn last_used(&self) -> Nanos {
        self.last
    }

    fn touch(&mut self, now: Nanos) {
        self.last = self.last.max(now);
    }
}
