//! The guard's ledger as `pony clients` sees it: from another process, through the pins.
//!
//! Reads only. The ledger is looked at in memory while the programs go on counting, so the figures
//! of one client may differ by the packets that came meanwhile.

mod error;
mod pinned;

use std::{
    cmp::Reverse,
    fmt,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use pony_common::{
    addr::Addr16,
    layout::{ledger::Entry, listener::Transport, policy::Rule},
    time::Nanos,
};

pub use self::error::ClientsError;
use self::pinned::{Listener, Pinned};
use super::pins::{self, Found};
use crate::sys;

/// Which clients are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The `server.name` of a daemon; needed only if several run.
    pub instance: Option<&'a str>,
    /// Of this listener alone.
    pub listener: Option<&'a str>,
    pub by: By,
    /// At most so many.
    pub limit: usize,
}

/// What makes a client come first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// Payload in both directions.
    Bytes,
    /// Packets in both directions.
    Packets,
    /// New TCP connections that were tried.
    Attempts,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug)]
pub struct Clients {
    /// The `server.name` of the daemon.
    pub instance: String,
    /// Whether the daemon lives. If not, the figures are those of its end.
    pub is_running: bool,
    /// Which of its policies is in force.
    pub generation: u64,
    /// How many clients there are, with those that are left out.
    pub total: usize,
    /// In the order that was wanted.
    pub clients: Vec<ClientUse>,
}

/// What one client has used of one listener since the guard knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientUse {
    pub client: ClientName,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Packets as the interface handed them up: several that it merged count as one.
    pub packets_in: u64,
    pub packets_out: u64,
    /// Payload bytes of TCP or UDP.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// New TCP connections that were tried.
    pub attempts: u64,
    /// Where it stands with the limit that the guard judges. `None` if there is no such limit.
    pub recent: Option<Recent>,
}

/// An IPv4 address or an IPv6 prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientName {
    pub ip: IpAddr,
    /// Less than an address has only for IPv6.
    pub prefix: u32,
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V6(ip) if self.prefix < 128 => write!(f, "{ip}/{}", self.prefix),
            ip => ip.fmt(f),
        }
    }
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recent {
    pub unit: Unit,
    pub used: u64,
    pub limit: u64,
    /// In how much time.
    pub window: Duration,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// `attempt_limit` of a TCP listener.
    Attempts,
    /// `bandwidth` of a UDP listener.
    Bytes,
}

/// Reads the ledger of a daemon.
pub fn clients(query: &Query<'_>) -> Result<Clients, ClientsError> {
    let found = pins::find(Path::new(pins::FILE_SYSTEM)).map_err(ClientsError::from_pins)?;
    let Found {
        name,
        path,
        is_running,
    } = choose(found, query.instance)?;
    let pinned = Pinned::open(&name, &path)?;
    let listeners = pinned.listeners()?;
    let wanted = query
        .listener
        .map(|wanted| number_of(&listeners, wanted))
        .transpose()?;

    let ledger = pinned.ledger()?;
    let entries = ledger.elements();
    let mut ranked = rank(entries, query.by, |listener| {
        wanted.is_none_or(|wanted| wanted == listener)
    });
    let total = ranked.len();
    keep_first(&mut ranked, query.limit);
    let now = sys::now();
    let clients = ranked
        .into_iter()
        .filter_map(|(_, entry)| describe(entry, &listeners, now))
        .collect();
    Ok(Clients {
        instance: name,
        is_running,
        generation: pinned.generation(),
        total,
        clients,
    })
}

/// The one that was asked for, or else the only one that runs, or has left something behind.
fn choose(found: Vec<Found>, wanted: Option<&str>) -> Result<Found, ClientsError> {
    let names = || found.iter().map(|found| found.name.clone()).collect();
    if let Some(wanted) = wanted {
        let names: Vec<_> = names();
        return found
            .into_iter()
            .find(|found| found.name == wanted)
            .ok_or_else(|| ClientsError::unknown("instance", wanted, &names));
    }
    let some_run = found.iter().any(|found| found.is_running);
    let mut candidates = found
        .into_iter()
        .filter(|found| found.is_running == some_run);
    let first = candidates.next().ok_or(ClientsError::NoInstance)?;
    let others: Vec<_> = candidates.map(|found| found.name).collect();
    if others.is_empty() {
        Ok(first)
    } else {
        Err(ClientsError::several(&first.name, &others))
    }
}

fn number_of(listeners: &[Listener], wanted: &str) -> Result<u32, ClientsError> {
    let mut numbered = (0..).zip(listeners);
    let found = numbered.find(|(_, listener)| &*listener.name == wanted);
    found.map(|(number, _)| number).ok_or_else(|| {
        let names: Vec<_> = listeners
            .iter()
            .map(|listener| listener.name.to_string())
            .collect();
        ClientsError::unknown("listener", wanted, &names)
    })
}

/// An element of the ledger as others see it who do not stop it.
type Seen = Entry<AtomicU64, [AtomicU64; 3]>;

/// The clients of the listeners that are wanted, with what they are ranked by.
fn rank(entries: &[Seen], by: By, is_wanted: impl Fn(u32) -> bool) -> Vec<(u64, &Seen)> {
    let in_use = entries.iter().filter_map(|entry| {
        let (_client, listener) = identity(entry)?;
        is_wanted(listener).then_some(entry)
    });
    in_use.map(|entry| (by.of(entry), entry)).collect()
}

impl By {
    fn of(self, entry: &Seen) -> u64 {
        let sum = |a: &AtomicU64, b: &AtomicU64| a.load(Relaxed).saturating_add(b.load(Relaxed));
        match self {
            Self::Bytes => sum(&entry.bytes_in, &entry.bytes_out),
            Self::Packets => sum(&entry.packets_in, &entry.packets_out),
            Self::Attempts => entry.attempts.load(Relaxed),
        }
    }
}

/// The first ones, the largest number first.
fn keep_first(ranked: &mut Vec<(u64, &Seen)>, limit: usize) {
    if limit < ranked.len() {
        ranked.select_nth_unstable_by_key(limit, |(amount, _)| Reverse(*amount));
        ranked.truncate(limit);
    }
    ranked.sort_by_cached_key(|(amount, entry)| (Reverse(*amount), identity(entry)));
}

/// Whose it is. `None` if it is nobody's.
fn identity(entry: &Seen) -> Option<(Addr16, u32)> {
    let [upper, lower, listener] = entry.identity.each_ref().map(|word| word.load(Relaxed));
    if (upper, lower, listener) == (0, 0, 0) {
        return None;
    }
    let mut client = [0; 16];
    let (start, end) = client.split_at_mut(8);
    // In memory they are bytes of an address, and then a number of this machine with four zeros.
    start.copy_from_slice(&upper.to_ne_bytes());
    end.copy_from_slice(&lower.to_ne_bytes());
    let [a, b, c, d, ..] = listener.to_ne_bytes();
    Some((Addr16(client), u32::from_ne_bytes([a, b, c, d])))
}

fn describe(entry: &Seen, listeners: &[Listener], now: Nanos) -> Option<ClientUse> {
    let (client, number) = identity(entry)?;
    let listener = listeners.get(usize::try_from(number).ok()?)?;
    let ip = client.to_ip();
    Some(ClientUse {
        client: ClientName {
            ip,
            prefix: if ip.is_ipv4() {
                32
            } else {
                listener.ipv6_prefix.into()
            },
        },
        listener: Arc::clone(&listener.name),
        packets_in: entry.packets_in.load(Relaxed),
        packets_out: entry.packets_out.load(Relaxed),
        bytes_in: entry.bytes_in.load(Relaxed),
        bytes_out: entry.bytes_out.load(Relaxed),
        attempts: entry.attempts.load(Relaxed),
        recent: listener.limit().map(|limit| limit.at(entry, now)),
    })
}

/// The limit of a listener that the guard judges.
#[derive(Clone, Copy)]
struct Limit {
    unit: Unit,
    most: u64,
    window: Nanos,
}

impl Limit {
    fn at(self, entry: &Seen, now: Nanos) -> Recent {
        Recent {
            unit: self.unit,
            used: entry.window.sum(now, self.window),
            limit: self.most,
            window: Duration::from_nanos(self.window.0),
        }
    }
}

impl Listener {
    fn limit(&self) -> Option<Limit> {
        let Rule {
            attempts,
            bandwidth,
            ..
        } = self.rule?;
        let limit = match self.transport? {
            Transport::Tcp => Limit {
                unit: Unit::Attempts,
                most: attempts.max.into(),
                window: attempts.window,
            },
            Transport::Udp => Limit {
                unit: Unit::Bytes,
                most: bandwidth.limit,
                window: bandwidth.window,
            },
        };
        (limit.window > Nanos::ZERO).then_some(limit)
    }
}

#[cfg(test)]
mod tests;
