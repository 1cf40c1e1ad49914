//! What one listener reports: refusals, violations, errors, and the records of its flows.
//!
//! Every event is counted; what traffic can trigger is logged at most once a second per kind, with
//! how many lines were left out.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use pony_common::reason::Reason;
use tracing::{debug, error, info, trace, warn};

use super::{
    ErrorKind, FlowRecord, HeaderMetrics, HeaderResult, ListenerMetrics, Log, Party, Passage,
    Throttle,
};
use crate::config::{self, HostPort, Protocol, SessionLog};

/// The reporting side of one listener.
pub struct Recorder {
    pub(super) listener: Arc<str>,
    pub(super) protocol: Protocol,
    pub(super) session_log: SessionLog,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) log: Log,
    /// If it accepts PROXY headers.
    headers: Option<HeaderMetrics>,
    throttles: Throttles,
}

/// One per kind of line that traffic can trigger.
#[derive(Default)]
struct Throttles {
    denied: Throttle,
    limited: Throttle,
    violated: Throttle,
    over_bandwidth: Throttle,
    malformed: Throttle,
    banned: Throttle,
    accept: Throttle,
    connect: Throttle,
    too_long: Throttle,
    opening: Throttle,
    relay: Throttle,
    header: Throttle,
    left: Throttle,
    looked_in: Throttle,
    broken: Throttle,
}

impl Recorder {
    /// For the listener that `config` describes.
    pub fn new(config: &config::Listener, metrics: Arc<ListenerMetrics>, log: Log) -> Self {
        Self {
            listener: Arc::clone(&config.name),
            protocol: config.protocol,
            session_log: config.session_log.clone(),
            metrics,
            log,
            headers: None,
            throttles: Throttles::default(),
        }
    }

    /// Counts PROXY headers here.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMetrics) -> Self {
        self.headers = Some(headers);
        self
    }

    /// How many clients are over a limit now.
    pub fn set_limited_clients(&self, clients: usize) {
        self.metrics
            .limited_clients
            .set(i64::try_from(clients).unwrap_or(i64::MAX));
    }

    /// Begins the record of an admitted client that is forwarded to `target`, and how it came, if there
    /// is something to say about it.
    pub fn open(
        self: &Arc<Self>,
        party: Party,
        source: SocketAddr,
        target: Arc<HostPort>,
        passage: Option<Arc<Passage>>,
    ) -> FlowRecord {
        FlowRecord::open(Arc::clone(self), party, source, target, passage)
    }

    /// A client was refused.
    ///
    /// A datagram over the bandwidth counts as one that was dropped, whether or not it would have
    /// opened a session: the guard, which refuses the same, sees no sessions.
    pub fn refused(&self, client: IpAddr, reason: Reason) {
        if (self.protocol, reason) == (Protocol::Udp, Reason::BandwidthLimit) {
            return self.over_bandwidth(client);
        }
        self.metrics.refused(reason);
        let (throttle, text) = self.refusal(reason);
        if let Some(Turn { suppressed }) = turn(throttle) {
            let (listener, reason) = (&*self.listener, reason.as_str());
            info!(listener, client_ip = %client, reason, suppressed, "{text}");
        }
    }

    fn refusal(&self, reason: Reason) -> (&Throttle, &'static str) {
        match reason {
            Reason::Acl => (&self.throttles.denied, "Connection denied by ACL"),
            Reason::Banned => (
                &self.throttles.banned,
                "Connection denied: client is banned",
            ),
            Reason::Malformed => (&self.throttles.malformed, "Packet dropped: malformed"),
            _ => (&self.throttles.limited, "Connection denied by rate limit"),
        }
    }

    /// The kernel guard refused so many attempts, or dropped so many packets, of a client. The
    /// metrics have them from its counters.
    pub fn guard_refused(&self, client: IpAddr, reason: Reason, count: u64) {
        let (throttle, text) = match (self.protocol, reason) {
            (Protocol::Udp, Reason::BandwidthLimit) => (
                &self.throttles.over_bandwidth,
                over_bandwidth(Protocol::Udp),
            ),
            _ => self.refusal(reason),
        };
        if let Some(Turn { suppressed }) = turn_for(throttle, count) {
            let (listener, reason) = (&*self.listener, reason.as_str());
            info!(listener, client_ip = %client, reason, suppressed, by = "guard", "{text}");
        }
    }

    /// A client is over a limit that is only observed.
    pub fn violated(&self, client: IpAddr, reason: Reason) {
        self.metrics.violated(reason);
        if let Some(Turn { suppressed }) = turn(&self.throttles.violated) {
            let (listener, reason) = (&*self.listener, reason.as_str());
            warn!(listener, client_ip = %client, reason, suppressed, "Limit exceeded (log_only mode)");
        }
    }

    /// A client's flow was ended, or its datagram dropped, for its bandwidth.
    pub(super) fn over_bandwidth(&self, client: IpAddr) {
        self.metrics.limit_hit(Reason::BandwidthLimit);
        if let Some(Turn { suppressed }) = turn(&self.throttles.over_bandwidth) {
            let (listener, text) = (&*self.listener, over_bandwidth(self.protocol));
            info!(listener, client_ip = %client, suppressed, "{text}");
        }
    }

    /// The listening socket had no client for us, but an error.
    pub fn listen_failed(&self, error: &io::Error) {
        self.metrics.error(ErrorKind::Accept);
        if let Some(Turn { suppressed }) = turn(&self.throttles.accept) {
            let listener = &*self.listener;
            let text = match self.protocol {
                Protocol::Tcp => "Accept error",
                Protocol::Udp => "UDP read error",
            };
            warn!(listener, %error, suppressed, "{text}");
        }
    }

    /// A trusted front end has begun with this.
    pub fn header(&self, result: HeaderResult) {
        if let Some(headers) = &self.headers {
            headers.count(result);
        }
    }

    /// A trusted front end's connection has begun with this header.
    pub fn header_accepted(&self, front_end: SocketAddr, result: HeaderResult) {
        self.header(result);
        let (listener, header) = (&*self.listener, result.as_str());
        trace!(listener, %front_end, header, "PROXY header accepted");
    }

    /// A trusted front end's connection ended before anything came.
    pub fn header_awaited_in_vain(&self, front_end: SocketAddr) {
        self.header(HeaderResult::Closed);
        if let Some(Turn { suppressed }) = turn(&self.throttles.left) {
            let listener = &*self.listener;
            debug!(listener, %front_end, suppressed, "Connection ended without a byte");
        }
    }

    /// A front end's own connection has ended, without a byte from it.
    pub(super) fn looked_in(&self, front_end: SocketAddr, error: Option<&str>) {
        if let Some(Turn { suppressed }) = turn(&self.throttles.looked_in) {
            let listener = &*self.listener;
            debug!(listener, %front_end, error, suppressed, "Front end has looked whether somebody listens");
        }
    }

    /// A flow or session of which there is no close event did not end in good order.
    pub(super) fn broken(&self, client: SocketAddr, error: &str) {
        if let Some(Turn { suppressed }) = turn(&self.throttles.broken) {
            let listener = &*self.listener;
            let text = match self.protocol {
                Protocol::Tcp => "Connection broken",
                Protocol::Udp => "Session broken",
            };
            debug!(listener, %client, error, suppressed, "{text}");
        }
    }

    /// What a trusted front end has sent does not count as a PROXY header, or did not come.
    pub fn header_refused(&self, front_end: SocketAddr, result: HeaderResult, why: &dyn Display) {
        self.header(result);
        if let Some(Turn { suppressed }) = turn(&self.throttles.header) {
            let (listener, reason) = (&*self.listener, result.as_str());
            let text = match (self.protocol, result) {
                (Protocol::Tcp, HeaderResult::Destination) => {
                    "Connection closed: destination not allowed"
                }
                (Protocol::Udp, HeaderResult::Destination) => {
                    "Packet dropped: destination not allowed"
                }
                (_, HeaderResult::Ended) => "Packet dropped: its session is over",
                (Protocol::Tcp, _) => "Connection closed: no valid PROXY header",
                (Protocol::Udp, _) => "Packet dropped: no valid PROXY header",
            };
            warn!(listener, %front_end, reason, %why, suppressed, "{text}");
        }
    }

    /// One more connection, or one less, waits for its PROXY header.
    pub fn header_awaited(&self, is_one_more: bool) {
        if let Some(headers) = &self.headers {
            headers.waiting.add(if is_one_more { 1 } else { -1 });
        }
    }

    /// There is no connection to the target for this client.
    pub(super) fn connect_failed(
        &self,
        client: IpAddr,
        target: &HostPort,
        kind: ErrorKind,
        error: &dyn Display,
    ) {
        let text = match self.protocol {
            Protocol::Tcp => "Failed to connect to target",
            Protocol::Udp => "Failed to create UDP session",
        };
        self.metrics.error(kind);
        if let Some(Turn { suppressed }) = turn(&self.throttles.connect) {
            let listener = &*self.listener;
            error!(listener, %target, client_ip = %client, %error, suppressed, "{text}");
        }
    }

    /// A datagram is longer than the listener forwards.
    pub fn too_long(&self, len: usize, longest: usize) {
        self.metrics.error(ErrorKind::DatagramTooLong);
        if let Some(Turn { suppressed }) = turn(&self.throttles.too_long) {
            let listener = &*self.listener;
            warn!(
                listener,
                len, longest, suppressed, "Datagram dropped: longer than udp.buffer_size"
            );
        }
    }

    /// A client sent more than may wait while its session is being opened.
    pub(super) fn dropped_while_opening(&self, client: IpAddr) {
        self.metrics.error(ErrorKind::SessionQueueFull);
        if let Some(Turn { suppressed }) = turn(&self.throttles.opening) {
            let listener = &*self.listener;
            warn!(listener, client_ip = %client, suppressed, "Packet dropped: session is not open yet");
        }
    }

    /// A datagram could not be moved.
    pub(super) fn relay_failed(&self, client: SocketAddr, kind: ErrorKind, error: &io::Error) {
        self.metrics.error(kind);
        if let Some(Turn { suppressed }) = turn(&self.throttles.relay) {
            let listener = &*self.listener;
            let text = match kind {
                ErrorKind::TargetRead => "Failed to read from target",
                ErrorKind::TargetWrite => "Failed to write to target",
                _ => "Failed to write to client",
            };
            warn!(listener, session = %client, %error, suppressed, "{text}");
        }
    }
}

fn over_bandwidth(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "Connection dropped: bandwidth limit exceeded",
        Protocol::Udp => "Packet dropped: bandwidth limit exceeded",
    }
}

/// A line may be written.
struct Turn {
    /// For how many others it stands, if any.
    suppressed: Option<u64>,
}

fn turn(throttle: &Throttle) -> Option<Turn> {
    turn_for(throttle, 1)
}

fn turn_for(throttle: &Throttle, count: u64) -> Option<Turn> {
    let suppressed = throttle.allow_one_for(count, Instant::now())?;
    let suppressed = (suppressed > 0).then_some(suppressed);
    Some(Turn { suppressed })
}
