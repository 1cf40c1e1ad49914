//! Names of targets to addresses, with a cache.
//!
//! What holds: at most one look-up is under way per name, whatever the number of clients that
//! wait for it; a name's last known addresses outlive a resolver that does not answer; only
//! configured names are ever looked up, so the cache is bounded by the configuration.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    ops::Deref,
    slice,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{net::lookup_host, sync::Mutex as AsyncMutex};
use tracing::warn;

use crate::config::{Host, HostPort};

/// Why a target's name gave no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver said no, or did not answer.
    #[error("cannot resolve {name}: {reason}")]
    Lookup {
        /// The name that was looked up.
        name: String,
        /// What the resolver said.
        reason: String,
    },
    /// The name exists and has no address.
    #[error("{name} has no address")]
    Empty {
        /// The name that was looked up.
        name: String,
    },
    /// `:port` is a place to listen, not one to connect to.
    #[error("a target needs a host")]
    NoHost,
}

/// What a target stands for.
#[derive(Clone, Debug)]
pub enum Addresses {
    One(IpAddr),
    All(Arc<[IpAddr]>),
}

impl Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match self {
            Self::One(ip) => slice::from_ref(ip),
            Self::All(ips) => ips,
        }
    }
}

/// Resolves and remembers the targets' names.
pub struct Resolver {
    ttl: Duration,
    names: Mutex<HashMap<String, Arc<AsyncMutex<Name>>>>,
}

#[derive(Default)]
struct Name {
    known: Option<Addresses>,
    looked_up: Option<(Instant, Result<(), ResolveError>)>,
}

impl Resolver {
    /// Remembers each answer for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            names: Mutex::default(),
        }
    }

    /// All addresses of `target`, in the order in which they should be tried.
    pub async fn resolve(&self, target: &HostPort) -> Result<Addresses, ResolveError> {
        match &target.host {
            Host::Ip(ip) => Ok(Addresses::One(*ip)),
            Host::Name(name) => self.resolve_name(name).await,
            Host::Any => Err(ResolveError::NoHost),
        }
    }

    async fn resolve_name(&self, name: &str) -> Result<Addresses, ResolveError> {
        let entry = self.entry(name);
        let mut entry = entry.lock().await;
        if let Some(result) = entry.fresh(self.ttl) {
            return result;
        }
        let found = look_up(name).await;
        entry.learn(name, found)
    }

    fn entry(&self, name: &str) -> Arc<AsyncMutex<Name>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = names.get(name) {
            return Arc::clone(entry);
        }
        Arc::clone(names.entry(name.to_owned()).or_default())
    }
}

impl Name {
    /// What the last look-up found, unless it was too long ago.
    fn fresh(&self, ttl: Duration) -> Option<Result<Addresses, ResolveError>> {
        let (at, outcome) = self.looked_up.as_ref()?;
        let lifetime = if outcome.is_ok() {
            ttl
        } else {
            ttl.min(FAILURE_TTL)
        };
        if at.elapsed() >= lifetime {
            return None;
        }
        match (&self.known, outcome) {
            (Some(known), _) => Some(Ok(known.clone())),
            (None, Err(error)) => Some(Err(error.clone())),
            (None, Ok(())) => None,
        }
    }

    fn learn(
        &mut self,
        name: &str,
        found: Result<Addresses, ResolveError>,
    ) -> Result<Addresses, ResolveError> {
        let now = Instant::now();
        match found {
            Ok(addresses) => {
                self.known = Some(addresses.clone());
                self.looked_up = Some((now, Ok(())));
                Ok(addresses)
            }
            Err(error) => {
                // At most one line per name and second: failures are remembered that long.
                warn!(target = name, %error, stale = self.known.is_some(), "Cannot resolve target");
                self.looked_up = Some((now, Err(error.clone())));
                self.known.clone().ok_or(error)
            }
        }
    }
}

async fn look_up(name: &str) -> Result<Addresses, ResolveError> {
    let found = lookup_host((name, 0))
        .await
        .map_err(|error: io::Error| ResolveError::Lookup {
            name: name.to_owned(),
            reason: error.to_string(),
        })?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() {
        return Err(ResolveError::Empty {
            name: name.to_owned(),
        });
    }
    Ok(Addresses::All(addresses.into()))
}

/// How long a failed look-up is remembered, so that clients cannot make us flood the resolver.
const FAILURE_TTL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn failure() -> ResolveError {
        ResolveError::Lookup {
            name: "a".to_owned(),
            reason: "no answer".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_literal_address_needs_no_lookup() {
        let target = HostPort {
            host: Host::Ip(SOME),
            port: 80,
        };
        let found = Resolver::new(Duration::ZERO)
            .resolve(&target)
            .await
            .unwrap();
        assert_eq!(*found, [SOME]);
    }

    #[tokio::test]
    async fn localhost_resolves_through_the_hosts_file() {
        let target = HostPort {
            host: Host::Name("localhost".to_owned()),
            port: 80,
        };
        let found = Resolver::new(Duration::from_secs(1))
            .resolve(&target)
            .await
            .unwrap();
        assert!(found.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn a_resolver_that_stops_answering_does_not_take_the_last_known_addresses_away() {
        let mut name = Name::default();
        name.learn("a", Ok(Addresses::One(SOME))).unwrap();
        assert_eq!(*name.learn("a", Err(failure())).unwrap(), [SOME]);
        assert_eq!(*name.fresh(LONG).unwrap().unwrap(), [SOME]);
    }

    #[test]
    fn a_failure_is_remembered_for_a_moment_only() {
        let mut name = Name::default();
        name.learn("a", Err(failure())).unwrap_err();
        name.fresh(LONG).unwrap().unwrap_err();
        name.looked_up = Some((
            Instant::now().checked_sub(FAILURE_TTL).unwrap(),
            Err(failure()),
        ));
        assert!(name.fresh(LONG).is_none());
    }

    #[test]
    fn an_answer_is_looked_up_again_after_its_time() {
        let mut name = Name::default();
        name.learn("a", Ok(Addresses::One(SOME))).unwrap();
        assert!(name.fresh(Duration::ZERO).is_none());
        assert!(name.fresh(LONG).is_some());
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_that_names_it() {
        let target = HostPort {
            host: Host::Name("no-such-host.invalid".to_owned()),
            port: 80,
        };
        let error = Resolver::new(Duration::from_secs(1))
            .resolve(&target)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );
    }
}
