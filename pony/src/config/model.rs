//! The checked configuration: what the rest of the daemon sees.
//!
//! Holds plain values only. It does not read, check or resolve anything; whoever holds a
//! [`Config`] holds one that passed every check of [`super::parse`].

mod proxy_protocol;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pony_common::limit::{Action, BandwidthLimit};

pub use self::proxy_protocol::{AcceptHeaders, ProxyProtocol, SendHeaders, SentFields, UdpHeader};
use super::address::HostPort;
use super::destination::Destination;
use super::span::Span;
use super::target::Target;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: Server,
    pub logging: Logging,
    /// `None`: no metrics and no health endpoint.
    pub metrics: Option<MetricsEndpoint>,
    pub guard: Guard,
    pub admin: Admin,
    pub tcp: TcpShare,
    /// At least one, in the order of the file.
    pub listeners: Vec<Listener>,
}

/// What concerns the process as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub name: String,
    /// How long flows may go on after a stop was asked for.
    pub shutdown_timeout: Duration,
    /// How long the addresses of a target's name are kept.
    pub resolve_ttl: Duration,
    /// How many threads serve TCP clients. `None`: as many as there are processors for us.
    pub threads: Option<usize>,
}

/// Where events and messages go; at least one is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logging {
    /// How much the daemon says besides the events of flows and sessions.
    pub level: LogLevel,
    pub syslog: Option<Syslog>,
    /// The file that receives one JSON object a line.
    pub json_file: Option<PathBuf>,
    pub stdout: Option<StdoutFormat>,
}

/// How standard output is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StdoutFormat {
    Text,
    Json,
}

/// One syslog receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Syslog {
    pub transport: SyslogTransport,
    pub tag: String,
    /// The lowest severity that is sent.
    pub priority: Severity,
}

/// The way to a syslog receiver.
#[derive(Clone, Debug, PartialEq)]
pub enum SyslogTransport {
    Udp(HostPort),
    Tcp(HostPort),
    /// A socket at this path.
    Unix(PathBuf),
    /// The first that exists of `/dev/log`, `/var/run/syslog`, `/var/run/log`.
    Local,
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    Debug,
    #[default]
    Info,
    Warning,
    Error,
}

/// Where Prometheus and health checks ask.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsEndpoint {
    pub listen: HostPort,
    /// Begins with `/` and is none of the health paths.
    pub path: String,
}

/// How operators talk to the running daemon, and what they may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    pub socket: ControlSocket,
    /// How many bans there may be at once.
    pub max_bans: u32,
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ControlSocket {
    /// Nowhere.
    Off,
    /// In the usual place if that can be.
    #[default]
    Auto,
    /// At this absolute path.
    At(PathBuf),
}

/// Whether and where the kernel programs are attached, and what their maps hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    pub mode: GuardMode,
    pub interfaces: Interfaces,
    pub attach: AttachMode,
    pub refuse: Refuse,
    /// How many clients the kernel's ledger remembers, all listeners together.
    pub max_clients: u32,
    /// How many clients the daemon may have blocked at once.
    pub max_blocks: u32,
    /// The `server.name` under which maps and programs are pinned. Without one nothing is pinned.
    pub instance: Option<String>,
    /// What the kernel programs say themselves. From the command line.
    pub kernel_log: Option<LogLevel>,
}

/// How much is said: messages of this kind and of those before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// What to do about the kernel programs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GuardMode {
    /// Never load them.
    Off,
    /// Try; say why not; go on.
    #[default]
    Auto,
    /// Refuse to start without them.
    Require,
}

/// The network interfaces that are guarded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Interfaces {
    /// All that are up, except loopback.
    #[default]
    Auto,
    Names(Vec<String>),
}

/// Where on an interface the guard runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AttachMode {
    /// In the driver if that can be, else in the stack.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

/// What a TCP client gets whose connection the guard refuses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Refuse {
    /// Nothing, so that it waits and tries again.
    #[default]
    Drop,
    /// A reset, so that it knows at once.
    Reset,
}

/// A transport protocol that is forwarded.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The name in configuration, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The only address family that a listener has.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Every address of the family.
    pub const fn wildcard(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// One place where clients are accepted, with the policy there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique; without control characters.
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// `None`: both, as far as `listen` is in both.
    pub family: Option<Family>,
    /// Port 0: the kernel picks one.
    pub listen: HostPort,
    /// What clients reach it at, if that is more than `listen`, which is a part of it.
    pub span: Option<Span>,
    /// The wildcard IPv6 socket must leave IPv4 alone, because another listener has the port there,
    /// or because of `family`.
    pub v6_only: bool,
    /// Clients may come for other addresses than our own, to which others send them (TPROXY).
    pub transparent: bool,
    /// For IPv6 clients too, unless there is one for them.
    pub target: Target,
    /// For clients whose address is IPv6.
    pub target_v6: Option<Target>,
    /// Where PROXY headers may send clients instead. `None`: they have no say.
    pub destinations: Option<Vec<Destination>>,
    pub source: Source,
    pub access: Access,
    pub limits: Limits,
    pub proxy_protocol: ProxyProtocol,
    pub tcp: Tcp,
    pub udp: Udp,
    pub session_log: SessionLog,
}

/// From where the target sees its clients come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Source {
    /// From the client's own address. `None`: from ours.
    pub preserve: Option<SourcePort>,
    pub routing: Routing,
    /// Set on the sockets that are connected to the target (`SO_MARK`). Never 0.
    pub mark: Option<u32>,
}

/// What to do where the client's port is taken on this machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SourcePort {
    /// Use another port of the client's address.
    #[default]
    Preferred,
    /// Do without the connection.
    Required,
}

/// Who brings the target's answers to the client's address back to us.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Routing {
    /// The daemon, for targets on loopback.
    #[default]
    Auto,
    /// The administrator.
    Manual,
}

/// Who may use a listener. IPv4-mapped prefixes are stored as IPv4, host bits are zero.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Empty: nobody.
    pub allow: Vec<IpNet>,
    /// Wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Counted, never limited.
    pub exempt: Vec<IpNet>,
}

/// What one client, and all clients together, may use of a listener. `None` is unlimited.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open connections or sessions of one client.
    pub max_connections_per_ip: Option<u32>,
    pub attempts: Option<AttemptLimit>,
    pub bandwidth: Option<BandwidthLimit>,
    /// Open connections or sessions of all clients.
    pub max_total_connections: Option<u32>,
    pub action: Action,
    /// How many leading bits of an IPv6 address make a client, 1 to 128.
    pub ipv6_prefix: u8,
}

/// How often one client may try within a sliding window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttemptLimit {
    pub max: u32,
    pub window: Duration,
}

/// How the bytes of one direction of a TCP flow are moved.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lane {
    /// Read and written through a buffer.
    Copy,
    /// Through a pipe: the bytes stay in the kernel.
    Splice,
    /// From socket to socket by the kernel itself.
    Sockmap,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 3] = [Self::Copy, Self::Splice, Self::Sockmap];

    /// The name in configuration, logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
        }
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What all TCP flows share.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpShare {
    /// How many bytes flows may pin whose readers do not read. `None`: a share of the machine's.
    pub memory: Option<u64>,
}

/// How TCP flows are kept. `None` is no timeout.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// The only lane that is used. `None`: each flow gets the one that suits it.
    pub lane: Option<Lane>,
    /// No progress from client to target or back by reading.
    pub read_timeout: Option<Duration>,
    /// No progress by writing.
    pub write_timeout: Option<Duration>,
    /// No byte in either direction.
    pub idle_timeout: Option<Duration>,
    pub connect_timeout: Duration,
    /// `None`: keepalive is off.
    pub keepalive: Option<Duration>,
}

/// How UDP sessions are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Udp {
    /// A session without a datagram for this long ends.
    pub session_timeout: Duration,
    /// The longest datagram that is forwarded, in bytes, 1 to 65536.
    pub buffer_size: usize,
}

/// Which events of a flow or session are logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionLog {
    pub start: bool,
    pub close: bool,
    /// An update after this much time.
    pub interval: Option<Duration>,
    /// An update after this many bytes.
    pub bytes: Option<u64>,
    /// Shorter sessions are not logged at their close.
    pub min_duration: Duration,
    /// Smaller sessions are not logged at their close.
    pub min_bytes: u64,
}

const SECOND: Duration = Duration::from_secs(1);

impl Default for Guard {
    fn default() -> Self {
        Self {
            mode: GuardMode::Auto,
            interfaces: Interfaces::Auto,
            attach: AttachMode::Auto,
            refuse: Refuse::Drop,
            max_clients: 65_536,
            max_blocks: 16_384,
            instance: None,
            kernel_log: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: ControlSocket::Auto,
            max_bans: 10_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections_per_ip: None,
            attempts: None,
            bandwidth: None,
            max_total_connections: None,
            action: Action::Drop,
            ipv6_prefix: 64,
        }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            lane: None,
            read_timeout: None,
            write_timeout: None,
            idle_timeout: None,
            connect_timeout: 10 * SECOND,
            keepalive: Some(15 * SECOND),
        }
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            session_timeout: 30 * SECOND,
            buffer_size: 4096,
        }
    }
}

impl SessionLog {
    /// What a UDP listener logs unless told otherwise, and a TCP listener with a `logging:` block.
    pub const SESSIONS: Self = Self {
        start: true,
        close: true,
        interval: Some(Duration::from_mins(5)),
        bytes: Some(100 * 1024 * 1024),
        min_duration: Duration::ZERO,
        min_bytes: 0,
    };

    /// What a TCP listener without a `logging:` block logs: every open and close, no updates.
    pub const CONNECTIONS: Self = Self {
        interval: None,
        bytes: None,
        ..Self::SESSIONS
    };
}
