//! The guard: loading, attaching and reading the kernel programs.
//!
//! The only module that names `aya`. The rest of the daemon sees [`Guard`] and plain types, so it
//! builds, runs and is tested on a machine without BPF. Nothing here decides about traffic.
//!
//! What always holds: the proxy does the same with and without the guard; what cannot be loaded
//! or attached is said once, with what to do about it; whatever is attached is detached when the
//! [`Guard`] is dropped, and by the kernel when the process dies.

mod attach;
mod collector;
mod error;
mod interfaces;
mod keys;
mod object;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use pony_common::layout::ledger::{LedgerKey, Traffic};
use tracing::{info, warn};

use self::{attach::Attached, collector::Counters, error::explain, interfaces::Interface};
pub use self::{attach::Mode, error::StartError};
use crate::config::{self, GuardMode, Interfaces, Protocol};

/// The kernel object that this binary carries: `None` if it was built before the object was.
pub const OBJECT: Option<&[u8]> = object::EMBEDDED;

/// What the guard must know of a listener.
#[derive(Clone, Debug)]
pub struct GuardListener {
    /// Its name in metrics.
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// The address that its socket is bound to.
    pub addr: SocketAddr,
    /// Whether an IPv6 wildcard leaves IPv4 alone.
    pub v6_only: bool,
    /// How many bits of an IPv6 address make a client.
    pub ipv6_prefix: u8,
}

/// What one client has sent to one listener, as counted at the interfaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientTraffic {
    /// The listener's name.
    pub listener: Arc<str>,
    /// An IPv4 address, or the first address of an IPv6 prefix.
    pub client: IpAddr,
    /// Packets as the interface handed them up: several that it merged count as one.
    pub packets: u64,
    /// Payload bytes of TCP or UDP.
    pub bytes: u64,
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Guard {
    // Holds the program and its links; dropping it is what detaches.
    _ebpf: Ebpf,
    ledger: HashMap<MapData, LedgerKey, Traffic>,
    counters: Arc<Counters>,
    listeners: Vec<Arc<str>>,
    attached: Vec<Attached>,
}

/// Loads the guard and attaches it as the configuration wants.
///
/// `Ok(None)` means that the proxy goes on without it: it is switched off, or it was only to be
/// tried and could not be had, which is then logged with the reason.
pub async fn start(
    config: &config::Guard,
    listeners: &[GuardListener],
) -> Result<Option<Guard>, StartError> {
    match config.mode {
        GuardMode::Off => Ok(None),
        GuardMode::Require => Guard::load(config, listeners).await.map(Some),
        GuardMode::Auto => match Guard::load(config, listeners).await {
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

impl Guard {
    async fn load(config: &config::Guard, listeners: &[GuardListener]) -> Result<Self, StartError> {
        let object = OBJECT.ok_or(StartError::NoObject)?;
        let mut ebpf = object::load(object, listeners)?;
        let ledger = object::take_ledger(&mut ebpf)?;
        let counters = Counters::new(&mut ebpf)?;

        let wanted = wanted_interfaces(config).await?;
        let attached = attach_all(&mut ebpf, wanted, config.mode)?;
        Ok(Self {
            _ebpf: ebpf,
            ledger,
            counters: Arc::new(counters),
            listeners: listeners
                .iter()
                .map(|listener| Arc::clone(&listener.name))
                .collect(),
            attached,
        })
    }

    /// The guard's counters as metrics, read from the kernel whenever they are collected.
    pub fn collector(&self) -> Result<impl prometheus::core::Collector + use<>, prometheus::Error> {
        collector::GuardCollector::new(Arc::clone(&self.counters), &self.listeners, &self.attached)
    }

    /// The interfaces that the guard is attached to, with how.
    pub fn attached(&self) -> impl Iterator<Item = (&str, Mode)> {
        self.attached
            .iter()
            .map(|attached| (attached.interface.as_str(), attached.mode))
    }

    /// What each client has sent to each listener. Clients that come or go meanwhile may be
    /// missing.
    pub fn clients(&self) -> Vec<ClientTraffic> {
        let entries = self.ledger.iter().filter_map(Result::ok);
        entries
            .filter_map(
                |(LedgerKey { listener, client }, Traffic { packets, bytes })| {
                    let listener = self.listeners.get(usize::try_from(listener).ok()?)?;
                    Some(ClientTraffic {
                        listener: Arc::clone(listener),
                        client: client.to_ip(),
                        packets,
                        bytes,
                    })
                },
            )
            .collect()
    }
}

/// The interfaces to attach to. With [`GuardMode::Auto`] those that cannot be had are logged and
/// left out.
async fn wanted_interfaces(config: &config::Guard) -> Result<Vec<Interface>, StartError> {
    let present = interfaces::list()
        .await
        .map_err(|source| StartError::Interfaces { source })?;
    let names = match &config.interfaces {
        Interfaces::Auto => return Ok(interfaces::facing_clients(present)),
        Interfaces::Names(names) => names,
    };
    let mut wanted = Vec::new();
    for name in names {
        match interfaces::named(name, &present) {
            Ok(interface) => wanted.push(interface),
            Err(error) => tolerate(error, config.mode)?,
        }
    }
    Ok(wanted)
}

/// Attaches to every interface that it can be attached to; none at all is an error.
fn attach_all(
    ebpf: &mut Ebpf,
    wanted: Vec<Interface>,
    mode: GuardMode,
) -> Result<Vec<Attached>, StartError> {
    if wanted.is_empty() {
        return Err(StartError::NoInterface);
    }
    let program = object::xdp_guard(ebpf)?;
    let mut attached = Vec::new();
    for interface in wanted {
        match attach::attach(program, &interface) {
            Ok(done) => {
                let mode = done.mode.as_str();
                match &done.not_native {
                    None => info!(interface = interface.name, mode, "Kernel guard attached"),
                    Some(reason) => info!(
                        interface = interface.name,
                        mode,
                        not_native = reason,
                        "Kernel guard attached"
                    ),
                }
                attached.push(done);
            }
            Err(error) => tolerate(error, mode)?,
        }
    }
    if attached.is_empty() {
        Err(StartError::NothingAttached)
    } else {
        Ok(attached)
    }
}

/// One interface that cannot be had is a reason to stop only when the guard is required.
fn tolerate(error: StartError, mode: GuardMode) -> Result<(), StartError> {
    if mode == GuardMode::Require {
        return Err(error);
    }
    let reason = explain(&error);
    warn!(reason, "Kernel guard goes on without this interface");
    Ok(())
}

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
            interfaces: Interfaces::Auto,
        };
        let guard = is_send(start(&config, &[])).await;
        assert!(is_send(guard).unwrap().is_none());
    }
}
