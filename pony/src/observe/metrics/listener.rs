//! The metrics of one listener, looked up once.
//!
//! Counting through these handles takes no lock and no look-up, so the data path may do it for
//! every chunk.

use std::sync::Arc;

use pony_common::reason::Reason;
use prometheus::{Histogram, IntCounter, IntGauge};

use super::LaneMetrics;

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Connections and sessions that were let in.
    pub accepted: IntCounter,
    /// See [`Self::refused`], which counts it.
    pub acl_denied: IntCounter,
    /// See [`Self::refused`], which counts it.
    pub rate_limited: IntCounter,
    /// Open connections (also while the target is dialled) or sessions.
    pub active: IntGauge,
    /// Payload bytes forwarded to the target, counted as they go.
    pub bytes_sent: IntCounter,
    /// Payload bytes forwarded to the client, counted as they go.
    pub bytes_received: IntCounter,
    /// Datagrams forwarded to the target.
    pub packets_sent: IntCounter,
    /// Datagrams forwarded to the client.
    pub packets_received: IntCounter,
    /// Lifetimes in seconds, observed at the end; not for targets that could not be reached.
    pub duration: Histogram,
    /// Clients that are over a limit now.
    pub limited_clients: IntGauge,
    /// UDP: the value of `active` under the name for sessions.
    pub(super) sessions: Option<IntGauge>,
    pub(super) acl_drops: IntCounter,
    pub(super) limit_drops: Refusals,
    pub(super) limit_violations: Refusals,
    /// In the order of [`ErrorKind::ALL`].
    pub(super) errors: Vec<IntCounter>,
    /// Those of all listeners.
    pub(in crate::observe) lanes: Arc<LaneMetrics>,
}

impl ListenerMetrics {
    /// A connection, or the datagram that would have opened a session, was refused.
    pub fn refused(&self, reason: Reason) {
        self.refusals(reason, 1);
    }

    /// So many were refused.
    pub(super) fn refusals(&self, reason: Reason, count: u64) {
        if reason == Reason::Acl {
            self.acl_denied.inc_by(count);
            self.acl_drops.inc_by(count);
        } else {
            self.rate_limited.inc_by(count);
            self.limit_drops.add(reason, count);
        }
    }

    /// A chunk or a datagram of an open connection or session was held back by a limit.
    pub fn limit_hit(&self, reason: Reason) {
        self.limit_hits(reason, 1);
    }

    /// So many were held back.
    pub(super) fn limit_hits(&self, reason: Reason, count: u64) {
        self.limit_drops.add(reason, count);
    }

    /// With `action: log_only`: something passed that a limit would have refused.
    pub fn violated(&self, reason: Reason) {
        self.limit_violations.add(reason, 1);
    }

    /// Something failed.
    pub fn error(&self, kind: ErrorKind) {
        if let Some(counter) = self.errors.get(kind as usize) {
            counter.inc();
        }
    }

    /// Brings gauges that follow others up to date, before they are shown.
    pub(super) fn refresh(&self) {
        if let Some(sessions) = &self.sessions {
            sessions.set(self.active.get());
        }
    }
}

/// A counter per reason, in the order of [`Reason::ALL`]; none for what is not a limit.
#[derive(Debug)]
pub(super) struct Refusals(pub(super) Vec<Option<IntCounter>>);

impl Refusals {
    fn add(&self, reason: Reason, count: u64) {
        if let Some(Some(counter)) = self.0.get(reason as usize) {
            counter.inc_by(count);
        }
    }
}

/// What can fail while forwarding: the `type` of `packetpony_errors_total`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// The target's name has no address.
    InvalidTarget,
    /// No connection to the target.
    TargetConnect,
    /// No UDP session could be made.
    SessionCreate,
    TargetWrite,
    TargetRead,
    ClientWrite,
    /// The listening socket failed to hand over a client or a datagram.
    Accept,
    /// A datagram was longer than `udp.buffer_size`.
    DatagramTooLong,
    /// A session had more datagrams waiting than it may.
    SessionQueueFull,
}

impl ErrorKind {
    /// Every kind, in the order of their values.
    pub const ALL: [Self; 9] = [
        Self::InvalidTarget,
        Self::TargetConnect,
        Self::SessionCreate,
        Self::TargetWrite,
        Self::TargetRead,
        Self::ClientWrite,
        Self::Accept,
        Self::DatagramTooLong,
        Self::SessionQueueFull,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTarget => "invalid_target",
            Self::TargetConnect => "target_connect",
            Self::SessionCreate => "session_create",
            Self::TargetWrite => "target_write",
            Self::TargetRead => "target_read",
            Self::ClientWrite => "client_write",
            Self::Accept => "accept",
            Self::DatagramTooLong => "datagram_too_long",
            Self::SessionQueueFull => "session_queue_full",
        }
    }
}
