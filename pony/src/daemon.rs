//! Life of the process: start, serve, stop.
//!
//! Puts the parts together and takes them apart in the right order. Decides nothing about traffic.
//!
//! What always holds: `/ready` is true only while every listener is bound and the daemon is not
//! stopping; after [`Daemon::stop`] every flow and session has had its close event.

mod controlling;
mod guarding;
mod laning;
mod returning;
mod scraping;
mod steering;
mod workers;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    select,
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{field::display, info, warn};

use self::{
    controlling::Controlling,
    guarding::Guarding,
    laning::{Board, Laning},
    scraping::{Endpoint, Scraping},
    workers::Workers,
};

use crate::{
    admin::{self, Desk, Post},
    config::{self, Config, Protocol},
    kernel::{
        self, At, GuardListener, Rules,
        ports::{Ports, PortsError},
    },
    listen::{
        BindError, FrontEnds, Gates, ListenSocket, Place, Reach, Service, bind_tcp_group, bind_udp,
        serve_tcp, serve_udp,
    },
    observe::{Health, Log, Metrics, MetricsError, Recorder},
    policy::{BanList, Policy},
    relay::{Memory, Whims},
    sys,
    target::{self, Claims, Resolver, Routes, Targets, UniqueIds},
};

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address, or that of the metrics, cannot be had.
    #[error("{what}: {source}")]
    Bind {
        /// Which listener.
        what: String,
        /// What the kernel said.
        source: BindError,
    },
    /// A bound socket cannot be used.
    #[error("{what}: cannot set up its socket: {source}")]
    Socket {
        /// Which listener.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its targets cannot be reached as the configuration says.
    #[error("{what}: {source}")]
    Source {
        /// Which listener.
        what: String,
        /// Which key, and what the kernel said.
        source: target::SourceError,
    },
    /// Targets' answers to their clients' addresses would not come here.
    #[error(transparent)]
    Routing(#[from] target::RoutingError),
    /// A listener cannot have more than one address and port.
    #[error("{what}: {}", .source.explain())]
    Ports {
        /// Which listener.
        what: String,
        /// What is missing.
        source: PortsError,
    },
    /// There are no threads for TCP clients.
    #[error(
        "cannot start a thread for TCP clients: {0}; lower server.threads, or allow pony more (TasksMax=)"
    )]
    Threads(io::Error),
    /// The control socket cannot be had.
    #[error(transparent)]
    Control(#[from] admin::SocketError),
    /// The metrics' registry refused a metric.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The kernel programs are required and cannot be had.
    #[error("guard.mode is \"require\", but {0}")]
    Kernel(#[from] kernel::StartError),
}

/// A running daemon.
pub struct Daemon {
    gates: Gates,
    health: Arc<Health>,
    guarding: Option<Guarding>,
    addresses: Vec<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    scraping: Option<Scraping>,
    controlling: Option<Controlling>,
    workers: Workers,
    _laning: Laning,
    /// As long as there are flows.
    routes: Option<Routes>,
    _ports: Option<Ports>,
    shutdown_timeout: Duration,
}

/// A bound listener whose loop does not run yet.
struct Bound {
    service: Arc<Service>,
    socket: BoundSocket,
    address: SocketAddr,
}

enum BoundSocket {
    /// One for each worker.
    Tcp(Vec<TcpListener>),
    Udp(ListenSocket),
}

impl Daemon {
    /// Binds every socket, attaches the kernel programs, and serves.
    ///
    /// If it fails, nothing is left behind. Needs a tokio runtime.
    pub async fn start(mut config: Config, log: Log, metrics: Metrics) -> Result<Self, StartError> {
        let laning = Laning::start(&config.listeners, &metrics).await;
        let shared = Shared::new(&config, log, metrics.clone(), laning.board());
        let names = config
            .listeners
            .iter()
            .map(|listener| Arc::clone(&listener.name));
        let health = Arc::new(Health::new(names));

        let endpoint = config.metrics.as_ref().map(Endpoint::bind).transpose()?;
        let control = admin::bind(&config.admin, &config.server.name)?;
        let workers = Workers::start(config.server.threads).map_err(StartError::Threads)?;
        steering::warn_of_neighbours(&config.listeners);
        let bound = shared.bind_all(config.listeners, &workers)?;
        let metrics_address = endpoint.as_ref().and_then(Endpoint::address);
        let sk_ports = steering::start(&bound, metrics_address)?;
        let Shared {
            freed, bans, gates, ..
        } = shared;
        let routes = returning::start(&config.server.name, &bound).await?;
        config.guard.instance = Some(config.server.name);
        let guard = &config.guard;
        let guarding =
            Guarding::start(guard, &bound, &metrics, freed, &bans, metrics_address).await?;
        let controlling = control.map(|control| {
            let posts = bound.iter().map(Bound::post).collect();
            let rounds = guarding.as_ref().map(Guarding::rounds);
            Controlling::start(control, Desk::new(Arc::clone(&bans), posts, rounds))
        });
        metrics.count_bans_with(move || bans.len(sys::now()));

        let scraping = endpoint
            .map(|endpoint| Scraping::start(endpoint, metrics.clone(), Arc::clone(&health)));
        metrics.set_config_loaded(SystemTime::now());
        let addresses = bound.iter().map(|bound| bound.address).collect();
        tokio::spawn(keep_house(
            bound.iter().map(Bound::service).collect(),
            gates.cut.clone(),
        ));
        for bound in bound {
            health.set_bound(&bound.service.config.name);
            bound.serve(&gates, &workers);
        }
        Ok(Self {
            gates,
            health,
            guarding,
            addresses,
            metrics_address,
            scraping,
            controlling,
            workers,
            _laning: laning,
            routes,
            _ports: sk_ports,
            shutdown_timeout: config.server.shutdown_timeout,
        })
    }

    /// Where the listeners listen, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and health are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Stops: no new clients, the open ones have `server.shutdown_timeout` to end by themselves,
    /// or until `hurry` is ready; then the rest is cut.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.health.set_stopping();
        info!(timeout = ?self.shutdown_timeout, "Starting graceful shutdown");
        self.gates.stop.cancel();
        self.gates.tasks.close();
        select! {
            biased;
            () = self.gates.tasks.wait() => {}
            () = hurry => warn!(open = self.gates.tasks.len(), "Cutting what is still open: second signal"),
            () = sleep(self.shutdown_timeout) => {
                warn!(open = self.gates.tasks.len(), "Graceful shutdown timeout exceeded");
            }
        }
        self.gates.cut.cancel();
        if timeout(CUT_TIME, self.gates.tasks.wait()).await.is_err() {
            warn!(
                open = self.gates.tasks.len(),
                "Some connections did not end when they were cut"
            );
        }
        drop(self.routes);
        if let Some(controlling) = self.controlling {
            controlling.stop().await;
        }
        if let Some(guarding) = self.guarding {
            guarding.stop().await;
        }
        drop(self.workers);
        if let Some(scraping) = self.scraping {
            scraping.stop().await;
        }
        info!("PacketPony stopped gracefully");
    }
}

impl Bound {
    fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    fn post(&self) -> Post {
        Post {
            name: Arc::clone(&self.service.config.name),
            policy: Arc::clone(&self.service.policy),
        }
    }

    fn serve(self, gates: &Gates, workers: &Workers) {
        let config = &self.service.config;
        let (listener, target) = (&*config.name, &config.target);
        let target_v6 = config.target_v6.as_ref().map(display);
        let address = config
            .span
            .as_ref()
            .map_or_else(|| self.address.to_string(), ToString::to_string);
        match self.socket {
            BoundSocket::Tcp(sockets) => {
                info!(listener, address, %target, target_v6, "TCP listener started");
                for (socket, runtime) in sockets.into_iter().zip(workers.runtimes()) {
                    let task = serve_tcp(Arc::clone(&self.service), socket);
                    gates.tasks.spawn_on(task, runtime);
                }
            }
            BoundSocket::Udp(socket) => {
                info!(listener, address, %target, target_v6, "UDP listener started");
                gates.tasks.spawn(serve_udp(self.service, socket));
            }
        }
    }

    fn guard_listener(&self) -> GuardListener<'_> {
        let config = &self.service.config;
        let (access, limits) = match &self.service.front_ends {
            Some(front_ends) => front_ends.rules_for_packets(),
            None => (&config.access, &config.limits),
        };
        GuardListener {
            name: &config.name,
            at: config
                .span
                .as_ref()
                .map_or(At::Socket(self.address), At::Span),
            v6_only: config.v6_only,
            rules: Rules {
                protocol: config.protocol,
                access,
                limits,
            },
        }
    }
}

/// What all listeners have in common.
struct Shared {
    log: Log,
    metrics: Metrics,
    board: Board,
    whims: Option<Arc<Whims>>,
    memory: Arc<Memory>,
    claims: Arc<Claims>,
    resolver: Arc<Resolver>,
    ids: Arc<UniqueIds>,
    gates: Gates,
    freed: Arc<Notify>,
    bans: Arc<BanList>,
}

impl Shared {
    fn new(config: &Config, log: Log, metrics: Metrics, board: Board) -> Self {
        let memory = Arc::new(Memory::new(config.tcp.memory));
        let given = Arc::clone(&memory);
        metrics.show_tcp_memory(memory.total(), move || given.given());
        let most_bans = usize::try_from(config.admin.max_bans).unwrap_or(usize::MAX);
        Self {
            log,
            metrics,
            board,
            whims: Whims::from_environment().map(Arc::new),
            memory,
            claims: Arc::default(),
            resolver: Arc::new(Resolver::new(config.server.resolve_ttl)),
            ids: Arc::default(),
            gates: Gates::default(),
            freed: Arc::default(),
            bans: Arc::new(BanList::new(most_bans)),
        }
    }

    /// In the order of the configuration.
    fn bind_all(
        &self,
        listeners: Vec<config::Listener>,
        workers: &Workers,
    ) -> Result<Vec<Bound>, StartError> {
        // Who has many ports to choose from comes last, and leaves the others theirs.
        let (spans, singles): (Vec<_>, Vec<_>) = (0..)
            .zip(listeners)
            .partition(|(_, listener)| listener.span.is_some());
        let mut bound = Vec::with_capacity(spans.len() + singles.len());
        for (number, listener) in singles.into_iter().chain(spans) {
            bound.push((number, self.bind(listener, number, workers)?));
        }
        bound.sort_by_key(|(number, _)| *number);
        Ok(bound.into_iter().map(|(_, bound)| bound).collect())
    }

    fn bind(
        &self,
        config: config::Listener,
        number: u32,
        workers: &Workers,
    ) -> Result<Bound, StartError> {
        let what = format!("listener {}", config.name);
        target::try_out(&config).map_err(|source| StartError::Source {
            what: what.clone(),
            source,
        })?;
        let (socket, address) = open_socket(&config, &what, workers)?;
        let metrics = self.metrics.listener(&config.name, config.protocol)?;
        let policy = Policy::new(&config.access, &config.limits, MOST_CLIENTS)
            .notify_freed(Arc::clone(&self.freed))
            .banning(Arc::clone(&self.bans), number);
        let mut recorder = Recorder::new(&config, metrics, self.log.clone());
        let front_ends = FrontEnds::of(&config);
        if front_ends.is_some() {
            recorder = recorder.with_headers(self.metrics.headers(&config.name)?);
        }
        let service = Service {
            policy: Arc::new(policy),
            recorder: Arc::new(recorder),
            targets: Targets::new(&config),
            config,
            board: Arc::clone(&self.board),
            whims: self.whims.clone(),
            memory: Arc::clone(&self.memory),
            claims: Arc::clone(&self.claims),
            resolver: Arc::clone(&self.resolver),
            front_ends,
            ids: Arc::clone(&self.ids),
            gates: self.gates.clone(),
        };
        Ok(Bound {
            service: Arc::new(service),
            socket,
            address,
        })
    }
}

fn open_socket(
    config: &config::Listener,
    what: &str,
    workers: &Workers,
) -> Result<(BoundSocket, SocketAddr), StartError> {
    let bind_error = |source| StartError::Bind {
        what: what.to_owned(),
        source,
    };
    let socket_error = |source| StartError::Socket {
        what: what.to_owned(),
        source,
    };
    match config.protocol {
        Protocol::Tcp => {
            let group = bind_tcp_group(Place::of(config), config.tcp.keepalive, workers.len());
            let mut sockets = Vec::with_capacity(workers.len());
            let mut address = None;
            for (socket, runtime) in group
                .map_err(bind_error)?
                .into_iter()
                .zip(workers.runtimes())
            {
                let _there = runtime.enter();
                address = Some(socket.local_addr().map_err(socket_error)?);
                sockets.push(TcpListener::from_std(socket).map_err(socket_error)?);
            }
            let address =
                address.ok_or_else(|| socket_error(io::ErrorKind::NotConnected.into()))?;
            Ok((BoundSocket::Tcp(sockets), address))
        }
        Protocol::Udp => {
            let socket = bind_udp(Place::of(config)).map_err(bind_error)?;
            let address = socket.local_addr().map_err(socket_error)?;
            let socket = ListenSocket::new(socket, Reach::of(config)).map_err(socket_error)?;
            Ok((BoundSocket::Udp(socket), address))
        }
    }
}

/// Once a second: forgets clients that used nothing lately, and counts those that are limited.
async fn keep_house(services: Vec<Arc<Service>>, end: CancellationToken) {
    let mut ticks = interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = sys::now();
        for service in &services {
            service.policy.forget_idle(now);
            service
                .recorder
                .set_limited_clients(service.policy.limited_clients(now));
        }
    }
}

/// How many clients a listener's ledger remembers besides those that have something open. The
/// coldest is forgotten first; at a few hundred bytes each this bounds the ledger to some 60 MB.
const MOST_CLIENTS: usize = 100_000;

/// How long flows that were cut have to log their end.
const CUT_TIME: Duration = Duration::from_secs(2);

/// How often idle clients are forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
