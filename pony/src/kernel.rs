//! The guard: loading, attaching and reading the kernel programs.
//!
//! The only module that names `aya`. The rest of the daemon sees [`Guard`] and plain types, so it
//! builds, runs and is tested on a machine without BPF. Nothing here decides about traffic.
//!
//! What always holds: the proxy does the same with and without the guard; what cannot be loaded
//! or attached is said once, with what to do about it; whatever is attached is detached when the
//! [`Guard`] is dropped, and by the kernel when the process dies.

mod attach;
mod blocks;
mod clients;
mod counters;
mod egress;
mod error;
mod events;
mod follow;
pub mod image;
mod interfaces;
mod keys;
#[cfg(test)]
mod lab;
pub mod lanes;
mod links;
mod locals;
mod log;
mod netlink;
mod object;
mod pins;
mod policy;
pub mod ports;
mod secrets;
mod settings;

use std::{net::SocketAddr, sync::Arc};

use pony_common::names;
use tracing::{info, warn};

pub use self::{
    attach::Mode,
    blocks::{Blocks, Refused, Wanted},
    clients::{By, ClientName, ClientUse, Clients, ClientsError, Query, Recent, Unit, clients},
    counters::Counters,
    error::StartError,
    events::{Events, Report},
    log::LOG_TARGET,
    policy::{Installed, PolicyError, Rules},
};
use self::{
    counters::CounterMaps, error::explain, follow::Follower, keys::Keys, object::Sizes, pins::Pins,
    policy::PolicyMap, settings::SettingsMap,
};
use crate::config::{self, GuardMode};

/// The kernel object that this binary carries: `None` if it was built before the object was.
pub const OBJECT: Option<&[u8]> = object::EMBEDDED;

/// What the guard must know of a listener.
#[derive(Clone, Copy, Debug)]
pub struct GuardListener<'a> {
    /// Its name in metrics.
    pub name: &'a str,
    /// What it is reached at.
    pub at: At<'a>,
    /// Whether an IPv6 wildcard leaves IPv4 alone.
    pub v6_only: bool,
    /// By what it is judged.
    pub rules: Rules<'a>,
}

/// What a listener is reached at.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// The address that its socket is bound to, and nobody else's.
    Socket(SocketAddr),
    /// Many addresses and ports, which others use too, in connections that they opened themselves
    /// or have had before. A packet does not say whose it is: of TCP the guard judges what opens a
    /// connection, of UDP what no connected socket gets.
    Span(&'a config::Span),
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Guard {
    // Holds the programs and their links; dropping it is what detaches.
    follower: Follower,
    policy: PolicyMap,
    counters: Arc<Counters>,
    events: Option<Events>,
    blocks: Option<Blocks>,
    _log: Option<log::Reader>,
    // After the programs are detached: until then somebody may want to look inside.
    _pins: Option<Pins>,
}

/// Loads the guard and attaches it as the configuration wants. Within the listeners' spans it leaves
/// alone what is sent to the TCP sockets in `others`.
///
/// `Ok(None)` means that the proxy goes on without it: it is switched off, or it was only to be
/// tried and could not be had, which is then logged with the reason.
pub async fn start(
    config: &config::Guard,
    listeners: &[GuardListener<'_>],
    others: &[SocketAddr],
) -> Result<Option<Guard>, StartError> {
    let keys = Keys::new(listeners, others);
    match config.mode {
        GuardMode::Off => Ok(None),
        GuardMode::Require => Guard::load(config, listeners, &keys).await.map(Some),
        GuardMode::Auto => match Guard::load(config, listeners, &keys).await {
            Ok(guard) => Ok(Some(guard)),
            Err(error) => {
                let reason = explain(&error);
                warn!(
                    reason,
                    "Kernel guard not started: the proxy works without it"
                );
                Ok(None)
            }
        },
    }
}

/// Whether the guard's programs can be had: the kernel gets them as at the start, and nothing is
/// attached. The error says what to do.
pub fn try_out(config: &config::Guard) -> Result<(), String> {
    let load = || {
        let object = OBJECT.ok_or(StartError::NoObject)?;
        let keys = Keys::default();
        let mut ebpf = object::load(object, config, &keys, Sizes::new(config, 0, &keys))?;
        object::verify(&mut ebpf)
    };
    load().map_err(|error| explain(&error))
}

/// How many bytes of the kernel's memory a guard takes at least. Large access lists take more.
pub fn memory(config: &config::Guard) -> u64 {
    Sizes::new(config, 0, &Keys::default()).bytes()
}

impl Guard {
    async fn load(
        config: &config::Guard,
        listeners: &[GuardListener<'_>],
        keys: &Keys,
    ) -> Result<Self, StartError> {
        let object = OBJECT.ok_or(StartError::NoObject)?;
        let sizes = Sizes::new(config, listeners.len(), keys);
        let mut ebpf = object::load(object, config, keys, sizes)?;
        object::verify(&mut ebpf)?;
        let names = object::listener_names(listeners)?;
        let pins = (config.instance.as_deref())
            .and_then(|name| Pins::prepare(name, &mut ebpf, &[(names::NAMES, &names)]));
        let log = config
            .kernel_log
            .and_then(|_level| log::Reader::start(&mut ebpf));

        let settings = Arc::new(SettingsMap::fill(&mut ebpf)?);
        let policy = PolicyMap::take(&mut ebpf, Arc::clone(&settings), config.refuse)?;
        let rules: Vec<_> = listeners.iter().map(|listener| listener.rules).collect();
        // Before the first packet is seen.
        let installed = policy.replace(&rules)?;
        let events = Events::take_from(&mut ebpf)?;
        let blocks = Blocks::take(&mut ebpf, settings, config.max_blocks)?;
        let counters = CounterMaps::take(&mut ebpf)?;
        let follower = Follower::start(ebpf, config).await?;
        announce(listeners, sizes, installed);
        Ok(Self {
            counters: Arc::new(Counters::new(counters, follower.shown().clone())),
            follower,
            policy,
            events: Some(events),
            blocks: Some(blocks),
            _log: log,
            _pins: pins.and_then(Pins::publish),
        })
    }

    /// Has the kernel judge by other rules, for the same listeners in the same order. No packet is
    /// judged by both. If it fails, those before stay in force.
    ///
    /// Blocks for some milliseconds, until no packet is judged by the rules before: not to be
    /// called from a task.
    pub fn replace_policy(&self, rules: &[Rules<'_>]) -> Result<Installed, PolicyError> {
        self.policy.replace(rules)
    }

    /// The generation of the rules in force.
    pub fn generation(&self) -> u64 {
        self.policy.generation()
    }

    /// What the guard has counted.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// What it reports of single clients. Only the first who asks gets them.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// The clients that it refuses by name. Only the first who asks gets them.
    pub fn take_blocks(&mut self) -> Option<Blocks> {
        self.blocks.take()
    }

    /// The interfaces that the guard is attached to now, by name, with how.
    pub fn attached(&self) -> Vec<(String, Mode)> {
        self.follower.shown().list()
    }
}

/// Says what is guarded, by what, and how much there is room for.
fn announce(listeners: &[GuardListener<'_>], sizes: Sizes, installed: Installed) {
    let Installed { generation, rows } = installed;
    info!(
        listeners = listeners.len(),
        policy_generation = generation,
        policy_bytes = rows * ROW_BYTES,
        max_clients = sizes.clients(),
        max_blocks = sizes.blocks(),
        map_bytes = sizes.bytes(),
        "Kernel guard ready"
    );
}

const ROW_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(value: T) -> T {
        value
    }

    #[tokio::test]
    async fn can_be_started_from_any_task_and_is_nothing_when_off() {
        let config = config::Guard {
            mode: GuardMode::Off,
            ..config::Guard::default()
        };
        let guard = is_send(start(&config, &[], &[])).await;
        assert!(is_send(guard).unwrap().is_none());
    }
}
