//! What became of PROXY headers, for the listeners that accept them.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{
    MetricsError,
    families::{counters, gauges},
};

/// What a connection or datagram began with: the `result` of `packetpony_proxy_headers_total`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeaderResult {
    /// A header of version 1 with a client.
    V1,
    /// A header of version 2 with a client.
    V2,
    /// A header without a client: the front end speaks for itself, or does not know.
    Own,
    /// No header, and none was needed.
    None,
    /// No header, where one is needed.
    Missing,
    Malformed,
    /// Its checksum is wrong.
    Checksum,
    /// It was not there in time.
    Timeout,
    /// The connection ended before it was there.
    Closed,
    /// It names a destination that is not allowed.
    Destination,
    /// It was not looked for: the datagram belongs to a session that was refused or has ended early.
    Ended,
}

impl HeaderResult {
    /// Every result, in the order of their values.
    pub const ALL: [Self; 11] = [
        Self::V1,
        Self::V2,
        Self::Own,
        Self::None,
        Self::Missing,
        Self::Malformed,
        Self::Checksum,
        Self::Timeout,
        Self::Closed,
        Self::Destination,
        Self::Ended,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Own => "own",
            Self::None => "none",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Destination => "destination",
            Self::Ended => "ended",
        }
    }
}

/// The families of all listeners.
pub(super) struct HeaderFamilies {
    results: IntCounterVec,
    waiting: IntGaugeVec,
}

impl HeaderFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, MetricsError> {
        Ok(Self {
            results: counters(
                registry,
                "packetpony_proxy_headers_total",
                "What connections and datagrams from trusted front ends began with",
                &["listener", "result"],
            )?,
            waiting: gauges(
                registry,
                "packetpony_proxy_headers_waiting",
                "Connections whose PROXY header is not there yet",
                &["listener"],
            )?,
        })
    }

    pub(super) fn listener(&self, name: &str) -> Result<HeaderMetrics, MetricsError> {
        let mut results = Vec::with_capacity(HeaderResult::ALL.len());
        for result in HeaderResult::ALL {
            let labels = [name, result.as_str()];
            results.push(self.results.get_metric_with_label_values(&labels)?);
        }
        Ok(HeaderMetrics {
            results,
            waiting: self.waiting.get_metric_with_label_values(&[name])?,
        })
    }
}

/// The handles of one listener.
#[derive(Debug)]
pub struct HeaderMetrics {
    /// In the order of [`HeaderResult::ALL`].
    results: Vec<IntCounter>,
    /// Connections whose header is not there yet.
    pub waiting: IntGauge,
}

impl HeaderMetrics {
    /// Counts one.
    pub fn count(&self, result: HeaderResult) {
        if let Some(counter) = self.results.get(result as usize) {
            counter.inc();
        }
    }
}
