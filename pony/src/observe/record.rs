//! The figures and events of one flow or session, from admission to its close event.
//!
//! What holds: the gauge of active connections counts a record from `open` until it is dropped,
//! exactly once; every record has one close event.

use std::{
    convert::Infallible,
    fmt::Display,
    future::pending,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use pony_common::reason::Reason;
use tokio::time::sleep;
use tracing::trace;

use super::{ErrorKind, EventKind, FlowEvent, Passage, SessionLogger, recorder::Recorder};
use crate::config::{HostPort, Lane};

/// Which way payload goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From client to target.
    Sent,
    /// From target to client.
    Received,
}

/// Who a flow or session is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Party {
    Client,
    /// A front end that speaks for itself. As long as it says nothing that is a look whether somebody
    /// listens, and no news.
    FrontEnd,
}

/// See the module. Shared between the two directions.
pub struct FlowRecord {
    recorder: Arc<Recorder>,
    source: SocketAddr,
    passage: Option<Arc<Passage>>,
    target: Arc<HostPort>,
    opened: Instant,
    /// Its open event is due, or was.
    announced: OnceLock<()>,
    connected: OnceLock<()>,
    sent: Figures,
    received: Figures,
    lanes: Lanes,
}

/// The lanes of a TCP flow's directions, by their numbers; beyond them before it is relayed.
struct Lanes {
    sent: AtomicU8,
    received: AtomicU8,
}

#[derive(Default)]
struct Figures {
    bytes: AtomicU64,
    packets: AtomicU64,
}

impl FlowRecord {
    pub(super) fn open(
        recorder: Arc<Recorder>,
        party: Party,
        source: SocketAddr,
        target: Arc<HostPort>,
        passage: Option<Arc<Passage>>,
    ) -> Self {
        recorder.metrics.accepted.inc();
        recorder.metrics.active.inc();
        let record = Self {
            recorder,
            source,
            passage,
            target,
            opened: Instant::now(),
            announced: OnceLock::new(),
            connected: OnceLock::new(),
            sent: Figures::default(),
            received: Figures::default(),
            lanes: Lanes::default(),
        };
        if party == Party::Client {
            record.announce();
        }
        record
    }

    /// Logs that it opened, unless it is known.
    fn announce(&self) {
        self.announced.get_or_init(|| {
            if SessionLogger::new(&self.recorder.session_log).should_log_start() {
                self.log(EventKind::Open, None);
            }
        });
    }

    /// The client.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Where it is forwarded to.
    pub fn target(&self) -> &HostPort {
        &self.target
    }

    /// The target is connected: from here on it counts for the histogram of durations.
    pub fn connected(&self) {
        self.connected.get_or_init(|| {
            let (listener, client, target) = (&*self.recorder.listener, self.source, &self.target);
            trace!(listener, %client, %target, "Connected to target");
        });
    }

    /// A direction of a stream has reached its end of file, and the other peer is about to be told.
    pub fn ended(&self, direction: Direction) {
        let (listener, client, target) = (&*self.recorder.listener, self.source, &self.target);
        match direction {
            Direction::Sent => trace!(listener, %client, %target, "Client has sent everything"),
            Direction::Received => trace!(listener, %client, %target, "Target has sent everything"),
        }
    }

    /// There is no connection to the target.
    pub fn not_connected(&self, kind: ErrorKind, error: &dyn Display) {
        self.recorder
            .connect_failed(self.client(), &self.target, kind, error);
    }

    /// Bytes of a stream were taken by the receiving socket.
    pub fn moved(&self, direction: Direction, lane: Lane, bytes: u64) {
        self.recorder.metrics.lanes.moved(lane, bytes);
        self.count(direction, bytes);
    }

    /// A direction of a TCP flow uses this lane from now on, for this reason if it used another.
    pub fn set_lane(&self, direction: Direction, lane: Lane, reason: &str) {
        let metrics = &self.recorder.metrics.lanes;
        let before = self.lanes.fastest();
        let from = self.lanes.swap(direction, Some(lane));
        if let Some(from) = from.filter(|from| *from != lane) {
            metrics.changed(from, lane, reason);
        }
        let after = self.lanes.fastest();
        if before != after {
            before.inspect(|lane| metrics.left(*lane));
            after.inspect(|lane| metrics.entered(*lane));
        }
    }

    fn count(&self, direction: Direction, bytes: u64) {
        let metrics = &self.recorder.metrics;
        let (figures, counter) = match direction {
            Direction::Sent => (&self.sent, &metrics.bytes_sent),
            Direction::Received => (&self.received, &metrics.bytes_received),
        };
        figures.bytes.fetch_add(bytes, Relaxed);
        counter.inc_by(bytes);
    }

    /// A datagram was sent on.
    pub fn datagram_moved(&self, direction: Direction, bytes: u64) {
        self.count(direction, bytes);
        let metrics = &self.recorder.metrics;
        let (figures, counter) = match direction {
            Direction::Sent => (&self.sent, &metrics.packets_sent),
            Direction::Received => (&self.received, &metrics.packets_received),
        };
        figures.packets.fetch_add(1, Relaxed);
        counter.inc();
    }

    /// The client is over its bandwidth, which is only observed.
    pub fn violated(&self) {
        self.recorder
            .violated(self.client(), Reason::BandwidthLimit);
    }

    /// The flow ends, or a datagram is dropped, because the client is over its bandwidth.
    pub fn over_bandwidth(&self) {
        self.recorder.over_bandwidth(self.client());
    }

    /// It ends because its client was banned.
    pub fn banned(&self) {
        self.recorder.metrics.limit_hit(Reason::Banned);
    }

    /// A datagram of `len` bytes is longer than `longest`.
    pub fn too_long(&self, len: usize, longest: usize) {
        self.recorder.too_long(len, longest);
    }

    /// A datagram found no room to wait for the session to open.
    pub fn dropped_while_opening(&self) {
        self.recorder.dropped_while_opening(self.client());
    }

    /// A datagram could not be moved.
    pub fn failed(&self, kind: ErrorKind, error: &io::Error) {
        self.recorder.relay_failed(self.source, kind, error);
    }

    /// Logs updates when they are due, for ever. Looks once a second, so a threshold of bytes is
    /// noticed up to a second late.
    pub async fn log_updates(&self) -> Infallible {
        let rules = &self.recorder.session_log;
        if rules.interval.is_none() && rules.bytes.is_none() {
            return pending().await;
        }
        let updates = async {
            let mut logger = SessionLogger::new(rules);
            loop {
                sleep(UPDATE_CHECK).await;
                if logger.update(self.opened.elapsed(), self.bytes()) {
                    self.announce();
                    self.log(EventKind::Update, None);
                }
            }
        };
        // On the heap: few flows have any.
        Box::pin(updates).await
    }

    /// Logs the end, with what caused it unless that was ordinary.
    pub fn close(&self, error: Option<String>) {
        let duration = self.opened.elapsed();
        if self.connected.get().is_some() {
            self.recorder
                .metrics
                .duration
                .observe(duration.as_secs_f64());
        }
        if self.announced.get().is_none() && self.sent.bytes.load(Relaxed) == 0 {
            return self.recorder.looked_in(self.source, error.as_deref());
        }
        self.announce();
        let logger = SessionLogger::new(&self.recorder.session_log);
        if logger.should_log_close(duration, self.bytes()) {
            self.log(EventKind::Close, error);
        } else if let Some(error) = error {
            self.recorder.broken(self.source, &error);
        }
    }

    fn client(&self) -> IpAddr {
        self.source.ip()
    }

    fn bytes(&self) -> u64 {
        self.sent
            .bytes
            .load(Relaxed)
            .saturating_add(self.received.bytes.load(Relaxed))
    }

    fn log(&self, kind: EventKind, error: Option<String>) {
        let recorder = &self.recorder;
        let is_open = kind == EventKind::Open;
        let now = SystemTime::now();
        let opened = || now.checked_sub(self.opened.elapsed()).unwrap_or(now);
        recorder.log.flow(FlowEvent {
            at: if is_open { opened() } else { now },
            kind,
            listener: Arc::clone(&recorder.listener),
            protocol: recorder.protocol,
            source: self.source,
            passage: self.passage.clone(),
            target: Arc::clone(&self.target),
            bytes_sent: self.sent.bytes.load(Relaxed),
            bytes_received: self.received.bytes.load(Relaxed),
            packets_sent: self.sent.packets.load(Relaxed),
            packets_received: self.received.packets.load(Relaxed),
            duration: if is_open {
                Duration::ZERO
            } else {
                self.opened.elapsed()
            },
            error,
        });
    }
}

impl Lanes {
    fn swap(&self, direction: Direction, lane: Option<Lane>) -> Option<Lane> {
        let cell = match direction {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        };
        let number = lane.map_or(u8::MAX, |lane| lane as u8);
        Self::lane(cell.swap(number, Relaxed))
    }

    /// The fastest lane that a direction uses.
    fn fastest(&self) -> Option<Lane> {
        let lanes = [&self.sent, &self.received].map(|cell| Self::lane(cell.load(Relaxed)));
        lanes.into_iter().flatten().max_by_key(|lane| *lane as u8)
    }

    fn lane(number: u8) -> Option<Lane> {
        Lane::ALL.get(usize::from(number)).copied()
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            sent: AtomicU8::new(u8::MAX),
            received: AtomicU8::new(u8::MAX),
        }
    }
}

impl Drop for FlowRecord {
    fn drop(&mut self) {
        if let Some(lane) = self.lanes.fastest() {
            self.recorder.metrics.lanes.left(lane);
        }
        self.recorder.metrics.active.dec();
    }
}

/// How often a flow with update thresholds looks at its figures.
const UPDATE_CHECK: Duration = Duration::from_secs(1);
