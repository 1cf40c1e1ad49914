//! The ways back from targets that see their clients' own addresses.

use std::{
    collections::HashSet,
    net::{IpAddr, UdpSocket},
};

use tokio::time::timeout;
use tracing::{info, warn};

use super::{Bound, StartError};
use crate::{
    config::{Host, HostPort, IpNet, Routing, Target},
    listen::Service,
    target::{Ports, Routes, WayBack},
};

/// Makes what `routing: auto` promises, and takes away what an earlier run has left.
pub(super) async fn start(instance: &str, bound: &[Bound]) -> Result<Option<Routes>, StartError> {
    let mut ways = HashSet::new();
    for bound in bound {
        let source = &bound.service.config.source;
        if source.preserve.is_some() && source.routing == Routing::Auto {
            ways.extend(ways_back(bound).await);
        }
    }
    let made = Routes::make(instance, &ways);
    if ways.is_empty() {
        // Whoever does not need them need not be able to make them.
        return Ok(None);
    }
    let routes = made?;
    let (table, rules) = (routes.table(), ways.len());
    info!(table, rules, "Routes for targets' answers ready");
    Ok(Some(routes))
}

/// The ways back from where the listener's clients may go; says from which places there is none.
async fn ways_back(bound: &Bound) -> Vec<WayBack> {
    let config = &bound.service.config;
    let listener = &*config.name;
    let mut ways = Vec::new();
    for destination in config.destinations.iter().flatten() {
        let near = WayBack::from_loopback(destination, config.protocol);
        if near.is_none_or(|near| near.net != destination.net) {
            warn!(
                listener,
                %destination,
                "Answers of destinations that are not on loopback must be routed here by hand: \
                 `routing: auto` does that for addresses of loopback only (see `pony doctor`)"
            );
        }
        ways.extend(near.filter(|near| is_here(near.net)));
    }
    for target in [Some(&config.target), config.target_v6.as_ref()]
        .into_iter()
        .flatten()
    {
        let ports = Ports::of(config, target, bound.address.port());
        let (near, far): (Vec<_>, Vec<_>) = addresses(&bound.service, target)
            .await
            .into_iter()
            .partition(IpAddr::is_loopback);
        if near.is_empty() && far.is_empty() {
            warn!(
                listener,
                %target,
                "The target's answers are not routed here: its name cannot be resolved now"
            );
        }
        if !far.is_empty() {
            warn!(
                listener,
                %target,
                "The target's answers must be routed here by hand: `routing: auto` does that for \
                 addresses of loopback only (see `pony doctor`)"
            );
        }
        let near = near.into_iter().map(|ip| WayBack {
            net: ip.into(),
            ports,
            protocol: config.protocol,
        });
        ways.extend(near.filter(|near| is_here(near.net)));
    }
    ways
}

/// Names and lists may have addresses of a family that this machine has switched off.
fn is_here(loopback: IpNet) -> bool {
    let ip = loopback.hosts().next().unwrap_or(loopback.addr());
    UdpSocket::bind((ip, 0)).is_ok()
}

/// None if the name cannot be resolved now.
async fn addresses(service: &Service, target: &Target) -> Vec<IpAddr> {
    if let Host::Ip(ip) = target.host {
        return vec![ip];
    }
    let named = HostPort {
        host: target.host.clone(),
        port: target.port.unwrap_or_default(),
    };
    let limit = service.config.tcp.connect_timeout;
    match timeout(limit, service.resolver.resolve(&named)).await {
        Ok(Ok(found)) => found.to_vec(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}
