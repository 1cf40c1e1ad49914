//! The families of metrics: names, help texts, labels, buckets.

use std::sync::Arc;

use pony_common::reason::Reason;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

use super::{
    LaneMetrics, MetricsError,
    headers::HeaderFamilies,
    listener::{ErrorKind, ListenerMetrics, Refusals},
};
use crate::{config::Protocol, observe::sink::SinkName};

pub(super) struct Families {
    traffic: Traffic,
    limits: Limits,
    errors: IntCounterVec,
    pub(super) log_events_dropped: IntCounterVec,
    pub(super) lanes: Arc<LaneMetrics>,
    pub(super) headers: HeaderFamilies,
}

/// What comes, goes and passes.
struct Traffic {
    connections: IntCounterVec,
    active: IntGaugeVec,
    sessions: IntGaugeVec,
    bytes: IntCounterVec,
    packets: IntCounterVec,
    duration: HistogramVec,
}

/// What the access list and the limits did.
struct Limits {
    acl_drops: IntCounterVec,
    drops: IntCounterVec,
    violations: IntCounterVec,
    limited_clients: IntGaugeVec,
}

impl Families {
    /// Makes every family and adds it to `registry`, with the series that need no listener.
    pub(super) fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let log_events_dropped = counters(
            registry,
            "packetpony_log_events_dropped_total",
            "Log events and messages that a sink lost",
            &["sink"],
        )?;
        for sink in SinkName::ALL {
            log_events_dropped.get_metric_with_label_values(&[sink.as_str()])?;
        }
        let build = gauges(
            registry,
            "packetpony_build_info",
            "The version that runs; always 1",
            &["version", "commit"],
        )?;
        build
            .get_metric_with_label_values(&[VERSION, COMMIT])?
            .set(1);
        Ok(Self {
            traffic: Traffic::register(registry)?,
            limits: Limits::register(registry)?,
            errors: counters(
                registry,
                "packetpony_errors_total",
                "Total errors encountered",
                &["listener", "type"],
            )?,
            log_events_dropped,
            lanes: Arc::new(LaneMetrics::register(registry)?),
            headers: HeaderFamilies::register(registry)?,
        })
    }

    /// Looks up, and thereby creates, every series of one listener.
    pub(super) fn listener(
        &self,
        name: &str,
        protocol: Protocol,
    ) -> Result<ListenerMetrics, MetricsError> {
        let per_protocol = [name, protocol.as_str()];
        let status = |status| {
            let labels = [name, protocol.as_str(), status];
            self.traffic
                .connections
                .get_metric_with_label_values(&labels)
        };
        let (packets, sessions) = match protocol {
            Protocol::Tcp => (None, None),
            Protocol::Udp => (Some(&self.traffic.packets), Some(&self.traffic.sessions)),
        };
        // A TCP listener counts no packets; its handle then leads nowhere.
        let packets = |direction| match packets {
            Some(family) => family.get_metric_with_label_values(&[name, direction]),
            None => IntCounter::new("unused", "not registered"),
        };
        let (traffic, limits) = (&self.traffic, &self.limits);
        Ok(ListenerMetrics {
            accepted: status("accepted")?,
            acl_denied: status("acl_denied")?,
            rate_limited: status("rate_limited")?,
            active: traffic.active.get_metric_with_label_values(&per_protocol)?,
            bytes_sent: traffic
                .bytes
                .get_metric_with_label_values(&[name, "sent"])?,
            bytes_received: traffic
                .bytes
                .get_metric_with_label_values(&[name, "received"])?,
            packets_sent: packets("sent")?,
            packets_received: packets("received")?,
            duration: traffic
                .duration
                .get_metric_with_label_values(&per_protocol)?,
            limited_clients: limits
                .limited_clients
                .get_metric_with_label_values(&[name])?,
            sessions: sessions
                .map(|family| family.get_metric_with_label_values(&[name]))
                .transpose()?,
            acl_drops: limits.acl_drops.get_metric_with_label_values(&[name])?,
            limit_drops: by_reason(&limits.drops, name, |reason| {
                reason.is_limit() || reason == Reason::Banned
            })?,
            limit_violations: by_reason(&limits.violations, name, Reason::is_limit)?,
            errors: by_error(&self.errors, name)?,
            lanes: Arc::clone(&self.lanes),
        })
    }
}

impl Traffic {
    fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let counters = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        let gauges = |name, help, labels: &[&str]| gauges(registry, name, help, labels);
        Ok(Self {
            connections: counters(
                "packetpony_connections_total",
                "Total number of connections",
                &["listener", "protocol", "status"],
            )?,
            active: gauges(
                "packetpony_connections_active",
                "Number of active connections",
                &["listener", "protocol"],
            )?,
            sessions: gauges(
                "packetpony_sessions_active",
                "Number of open UDP sessions",
                &["listener"],
            )?,
            bytes: counters(
                "packetpony_bytes_transferred_total",
                "Total bytes transferred",
                &["listener", "direction"],
            )?,
            packets: counters(
                "packetpony_packets_transferred_total",
                "Total packets transferred (UDP only)",
                &["listener", "direction"],
            )?,
            duration: durations(registry)?,
        })
    }
}

impl Limits {
    fn register(registry: &Registry) -> Result<Self, MetricsError> {
        let counters = |name, help, labels: &[&str]| counters(registry, name, help, labels);
        Ok(Self {
            acl_drops: counters(
                "packetpony_acl_drops_total",
                "Total connections dropped due to ACL",
                &["listener"],
            )?,
            drops: counters(
                "packetpony_rate_limit_drops_total",
                "Total connections dropped due to rate limiting",
                &["listener", "reason"],
            )?,
            violations: counters(
                "packetpony_limit_violations_total",
                "What a limit would have refused, had its action not been log_only",
                &["listener", "reason"],
            )?,
            limited_clients: gauges(
                registry,
                "packetpony_limited_clients",
                "Clients that are over a limit now",
                &["listener"],
            )?,
        })
    }
}

/// One counter for each reason that the family has, in the order of [`Reason::ALL`]. The access list
/// has a family of its own, and what is malformed only the guard refuses.
fn by_reason(
    family: &IntCounterVec,
    listener: &str,
    has: fn(Reason) -> bool,
) -> Result<Refusals, MetricsError> {
    let mut counters = Vec::with_capacity(Reason::ALL.len());
    for reason in Reason::ALL {
        let counter = has(reason)
            .then(|| family.get_metric_with_label_values(&[listener, reason.as_str()]))
            .transpose()?;
        counters.push(counter);
    }
    Ok(Refusals(counters))
}

/// One counter per kind, in the order of [`ErrorKind::ALL`].
fn by_error(family: &IntCounterVec, listener: &str) -> Result<Vec<IntCounter>, MetricsError> {
    let mut counters = Vec::with_capacity(ErrorKind::ALL.len());
    for kind in ErrorKind::ALL {
        counters.push(family.get_metric_with_label_values(&[listener, kind.as_str()])?);
    }
    Ok(counters)
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, MetricsError> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, MetricsError> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

/// Brings a counter up to what somebody else has counted.
pub(super) fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// 15 buckets from 1 ms to 16.384 s, each twice the one before.
fn durations(registry: &Registry) -> Result<HistogramVec, MetricsError> {
    let options = HistogramOpts::new(
        "packetpony_connection_duration_seconds",
        "Connection duration in seconds",
    )
    .buckets(exponential_buckets(0.001, 2.0, 15)?);
    let family = HistogramVec::new(options, &["listener", "protocol"])?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set by the build script.
const COMMIT: &str = env!("PONY_COMMIT");
