//! Every metric of the daemon, and the registry that holds them.
//!
//! Owns names, help texts, labels and buckets. Labels are names from the configuration or of our
//! own enums. All series of a listener exist, with 0, as soon as its handle does, so that a rate
//! over them is right from the first event on.

mod families;
mod guard;
mod headers;
mod lanes;
mod listener;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{
    Encoder as _, IntCounter, IntGauge, Registry, TextEncoder, process_collector::ProcessCollector,
};

use self::families::Families;
pub use self::guard::GuardMetrics;
pub use self::headers::{HeaderMetrics, HeaderResult};
pub use self::lanes::LaneMetrics;
pub use self::listener::{ErrorKind, ListenerMetrics};
use crate::config::Protocol;

/// A metric could not be made or registered; only a name that is taken twice can do that.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics")]
pub struct MetricsError(#[from] prometheus::Error);

/// All metrics of the daemon. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    families: Families,
    loaded_at: IntGauge,
    bans: IntGauge,
    tcp_memory: IntGauge,
    tcp_memory_limit: IntGauge,
    listeners: Mutex<Listeners>,
    refresh: Mutex<Vec<Refresh>>,
}

/// Brings metrics up to date that somebody else counts.
type Refresh = Box<dyn Fn() + Send + Sync>;

/// The handles that were given out. A name that comes back gets the same ones.
type Listeners = BTreeMap<(String, Protocol), Arc<ListenerMetrics>>;

impl Metrics {
    /// A registry of its own with everything that does not belong to a listener.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        let loaded_at = IntGauge::new(
            "packetpony_config_reload_timestamp_seconds",
            "Unix time of the last successful load of the configuration",
        )?;
        registry.register(Box::new(loaded_at.clone()))?;
        let bans = IntGauge::new("packetpony_bans", "Bans by hand that hold now")?;
        registry.register(Box::new(bans.clone()))?;
        let tcp_memory = IntGauge::new(
            "packetpony_tcp_memory_bytes",
            "What TCP flows were allowed to pin until their readers keep up",
        )?;
        registry.register(Box::new(tcp_memory.clone()))?;
        let tcp_memory_limit = IntGauge::new(
            "packetpony_tcp_memory_limit_bytes",
            "What TCP flows may be allowed to pin, all together",
        )?;
        registry.register(Box::new(tcp_memory_limit.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let inner = Inner {
            registry,
            families,
            loaded_at,
            bans,
            tcp_memory,
            tcp_memory_limit,
            listeners: Mutex::default(),
            refresh: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The handles of one listener, all series at 0 unless they are there already.
    pub fn listener(
        &self,
        name: &str,
        protocol: Protocol,
    ) -> Result<Arc<ListenerMetrics>, MetricsError> {
        let mut listeners = self.inner.listeners();
        let key = (name.to_owned(), protocol);
        if let Some(listener) = listeners.get(&key) {
            return Ok(Arc::clone(listener));
        }
        let listener = Arc::new(self.inner.families.listener(name, protocol)?);
        listeners.insert(key, Arc::clone(&listener));
        Ok(listener)
    }

    /// The handles for the PROXY headers of one listener, at 0 unless they are there already.
    pub fn headers(&self, name: &str) -> Result<HeaderMetrics, MetricsError> {
        self.inner.families.headers.listener(name)
    }

    /// Has `refresh` called before anything is shown, for metrics that are counted elsewhere.
    pub fn refresh_with(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.inner.refresh().push(Box::new(refresh));
    }

    /// Has `count` say how many bans there are, whenever that is asked for.
    pub fn count_bans_with(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        let bans = self.inner.bans.clone();
        self.refresh_with(move || bans.set(i64::try_from(count()).unwrap_or(i64::MAX)));
    }

    /// Has `given` say how many bytes TCP flows may pin now, of so many, whenever that is asked for.
    pub fn show_tcp_memory(&self, limit: u64, given: impl Fn() -> u64 + Send + Sync + 'static) {
        let value = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.inner.tcp_memory_limit.set(value(limit));
        let gauge = self.inner.tcp_memory.clone();
        self.refresh_with(move || gauge.set(value(given())));
    }

    /// The handles of the lanes.
    pub fn lanes(&self) -> Arc<LaneMetrics> {
        Arc::clone(&self.inner.families.lanes)
    }

    /// The configuration was loaded at this time.
    pub fn set_config_loaded(&self, at: SystemTime) {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.inner
            .loaded_at
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// The counter of what this sink of the log has lost.
    pub(super) fn log_events_dropped(&self, sink: &str) -> Result<IntCounter, MetricsError> {
        let dropped = &self.inner.families.log_events_dropped;
        Ok(dropped.get_metric_with_label_values(&[sink])?)
    }

    /// Everything in Prometheus' text form, version 0.0.4. Reads `/proc`, so it may take a while.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        for refresh in self.inner.refresh().iter() {
            refresh();
        }
        for listener in self.inner.listeners().values() {
            listener.refresh();
        }
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.inner.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Inner {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self) -> MutexGuard<'_, Vec<Refresh>> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
