//! Listeners on many addresses and ports: their clients are brought to their sockets.

use std::{net::SocketAddr, os::fd::AsFd as _};

use tracing::warn;

use super::{Bound, BoundSocket, StartError};
use crate::{
    config::{self, Protocol},
    kernel::ports::{Ports, Single, Spanning},
    listen::neighbours,
};

/// Says whose new clients will come to a listener because of its many ports. To be called before
/// anything of ours is bound.
pub(super) fn warn_of_neighbours(listeners: &[config::Listener]) {
    for listener in listeners {
        let taken = neighbours(listener);
        if taken.is_empty() {
            continue;
        }
        let shown: Vec<_> = taken
            .iter()
            .take(MOST_SHOWN)
            .map(SocketAddr::to_string)
            .collect();
        warn!(
            listener = &*listener.name,
            sockets = taken.len(),
            taken = shown.join(", "),
            "Others listen on addresses and ports of the listener, which now gets their new clients"
        );
    }
}

/// Brings what is sent to the listeners' spans to their sockets, but for what is for another
/// listener or the metrics. `None`: there are no such listeners.
pub(super) fn start(
    bound: &[Bound],
    metrics: Option<SocketAddr>,
) -> Result<Option<Ports>, StartError> {
    let spanning: Vec<_> = bound.iter().filter_map(Bound::spanning).collect();
    let Some(first) = bound
        .iter()
        .find(|bound| bound.service.config.span.is_some())
    else {
        return Ok(None);
    };
    let metrics = metrics.map(|addr| Single {
        protocol: Protocol::Tcp,
        addr,
        v6_only: false,
    });
    let singles: Vec<_> = bound
        .iter()
        .filter_map(Bound::single)
        .chain(metrics)
        .collect();
    let ports = Ports::start(&spanning, &singles).map_err(|source| StartError::Ports {
        what: format!("listener {}", first.service.config.name),
        source,
    })?;
    Ok(Some(ports))
}

impl Bound {
    fn spanning(&self) -> Option<Spanning<'_>> {
        let config = &self.service.config;
        let socket = match &self.socket {
            BoundSocket::Tcp(sockets) => sockets.first()?.as_fd(),
            BoundSocket::Udp(socket) => socket.descriptor(),
        };
        Some(Spanning {
            protocol: config.protocol,
            span: config.span.as_ref()?,
            v6_only: config.v6_only,
            socket,
        })
    }

    fn single(&self) -> Option<Single> {
        let config = &self.service.config;
        config.span.is_none().then_some(Single {
            protocol: config.protocol,
            addr: self.address,
            v6_only: config.v6_only,
        })
    }
}

const MOST_SHOWN: usize = 10;
