//! One session: opening it, its datagrams, and its end.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ptr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use pony_common::time::Nanos;
use tokio::{net::UdpSocket, select, time::sleep};

use super::{
    super::{
        front_end::{Introduction, Peer},
        service::Service,
    },
    socket::{ClientPath, Datagram},
    table::{Key, Table},
};
use crate::{
    config::UdpHeader,
    observe::{ErrorKind, FlowRecord},
    policy::Permit,
    proxy_header::Transport,
    relay::{End, LastActivity, SessionRelay, Told},
    sys,
    target::{ConnectError, Dial},
};

/// See the module. The receive loop calls [`Session::take`]; everything that may take time is in
/// [`Session::run`].
pub(super) struct Session {
    service: Arc<Service>,
    table: Arc<Table>,
    key: Key,
    client: SocketAddr,
    permit: Permit,
    record: FlowRecord,
    path: ClientPath,
    /// What the target is told of the client, if anything.
    told: Option<Box<Told>>,
    activity: LastActivity,
    /// Connected to the target; set once, under the lock of `waiting`.
    target: OnceLock<UdpSocket>,
    /// What came before the target's socket was there; `None` once the session has ended.
    waiting: Mutex<Option<VecDeque<Bytes>>>,
}

impl Session {
    pub(super) fn new(
        service: &Arc<Service>,
        table: &Arc<Table>,
        key: Key,
        mut introduction: Introduction,
        permit: Permit,
        path: ClientPath,
    ) -> Arc<Self> {
        service.name(&mut introduction);
        let client = introduction.origin.client;
        let target = service.target(&introduction);
        let told = service.config.proxy_protocol.send.as_ref();
        let told = told.map(|send| {
            let header = introduction.header(send, Transport::Datagram);
            Box::new(Told::new(header, send.udp))
        });
        Arc::new(Self {
            service: Arc::clone(service),
            table: Arc::clone(table),
            key,
            client,
            permit,
            record: service.recorder.open(
                introduction.party,
                client,
                target,
                introduction.passage(),
            ),
            path,
            told,
            activity: LastActivity::new(sys::now()),
            target: OnceLock::new(),
            waiting: Mutex::new(Some(VecDeque::new())),
        })
    }

    /// Whether its client has been banned. It is about to end then, and takes nothing any more.
    pub(super) fn is_banned(&self) -> bool {
        self.permit.is_banned()
    }

    pub(super) fn activity(&self) -> &LastActivity {
        &self.activity
    }

    /// Forwards a datagram of the client, or keeps it for the moment when the session is open.
    pub(super) fn take(&self, datagram: &Datagram<'_>) {
        self.path.follow(datagram);
        if let Some(target) = self.target.get() {
            return self.relay(target).forward(datagram.payload);
        }
        let mut waiting = self.waiting();
        // It may have opened meanwhile, and then nobody would look at `waiting` again.
        if let Some(target) = self.target.get() {
            return self.relay(target).forward(datagram.payload);
        }
        match &mut *waiting {
            Some(waiting)
                if waiting.len() < MOST_WAITING && self.table.reserve(datagram.payload.len()) =>
            {
                waiting.push_back(Bytes::copy_from_slice(datagram.payload));
            }
            _ => self.record.dropped_while_opening(),
        }
    }

    /// Opens the session, relays until its end, and logs that.
    pub(super) async fn run(self: Arc<Self>) {
        let cut = &self.service.gates.cut;
        let error = select! {
            biased;
            () = cut.cancelled() => End::Cut.error(),
            () = self.permit.banned() => {
                self.record.banned();
                End::Banned.error()
            }
            end = self.serve() => end.err().map(|error| {
                self.record.not_connected(ErrorKind::SessionCreate, &error);
                error.to_string()
            }),
        };
        if error.is_some() && self.is_introduced_once() {
            // Before the next datagram could be taken for the first one of another session.
            self.table.silence.begin(self.key, sys::now(), self.quiet());
        }
        self.table.remove_if(self.key, |it| it.is(&self));
        self.discard_waiting();
        self.record.close(error);
    }

    async fn serve(&self) -> Result<(), ConnectError> {
        let service = &self.service;
        let dial = Dial {
            resolver: &service.resolver,
            target: self.record.target(),
            source: &service.config.source,
            claims: &service.claims,
            client: self.client,
            limit: service.config.tcp.connect_timeout,
        };
        let (target, _claim) = dial.udp().await?;
        self.record.connected();
        let target = self.flush(target);
        let relay = self.relay(target);
        select! {
            () = self.expired() => Ok(()),
            never = relay.replies(&self.path) => match never {},
            never = self.record.log_updates() => match never {},
        }
    }

    /// Sends what has waited, in order, and lets later datagrams go straight through.
    fn flush(&self, target: UdpSocket) -> &UdpSocket {
        let mut waiting = self.waiting();
        for datagram in waiting.iter_mut().flat_map(|waiting| waiting.drain(..)) {
            self.table.release(datagram.len());
            self.relay(&target).forward(&datagram);
        }
        self.target.get_or_init(|| target)
    }

    fn relay<'a>(&'a self, target: &'a UdpSocket) -> SessionRelay<'a> {
        SessionRelay {
            target,
            record: &self.record,
            permit: &self.permit,
            activity: &self.activity,
            told: self.told.as_deref(),
            longest: self.service.config.udp.buffer_size,
        }
    }

    /// Waits until nothing went either way for the session's time; by then it is out of the table.
    async fn expired(&self) {
        let stop = &self.service.gates.stop;
        loop {
            let stopping = stop.is_cancelled();
            let now = sys::now();
            let expiry = self.expiry(stopping);
            if expiry <= now {
                if self
                    .table
                    .remove_if(self.key, |it| it.is(self) && it.expiry(stopping) <= now)
                {
                    return;
                }
                continue;
            }
            select! {
                () = sleep(expiry.saturating_sub(now).to_duration()) => {}
                () = stop.cancelled(), if !stopping => {}
            }
        }
    }

    /// Whether it is a front end's, which says only once for whom it is.
    fn is_introduced_once(&self) -> bool {
        let front_ends = self.service.front_ends.as_ref();
        front_ends.is_some_and(|front_ends| {
            let is_front_end = front_ends.judge(self.key.client.ip()) == Peer::FrontEnd;
            is_front_end && front_ends.rules.udp == UdpHeader::First
        })
    }

    /// How long nothing goes either way before it ends.
    fn quiet(&self) -> Nanos {
        Nanos::from_duration(self.service.config.udp.session_timeout)
    }

    /// The client may have another session by now.
    fn is(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }

    fn expiry(&self, stopping: bool) -> Nanos {
        let quiet = if stopping {
            self.quiet().min(QUIET_WHILE_STOPPING)
        } else {
            self.quiet()
        };
        self.activity.at().saturating_add(quiet)
    }

    fn discard_waiting(&self) {
        for datagram in self.waiting().take().into_iter().flatten() {
            self.table.release(datagram.len());
            self.record.dropped_while_opening();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many datagrams wait while one session is being opened. A client that sends more before it
/// has an answer loses them, as it would to a full socket buffer.
const MOST_WAITING: usize = 64;

/// A session has no end of its own; while the daemon stops, this long without a datagram is one.
const QUIET_WHILE_STOPPING: Nanos = Nanos::from_millis(2_000);
