//! The sockets towards targets, and the address that a target sees.
//!
//! With `preserve_source` a socket is bound to the client's address, which is not one of ours: the
//! kernel allows that to transparent sockets. How the target's answers come back to us is the
//! business of [`super::routing`].

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use crate::{
    config::{Host, Listener, Protocol, Source, SourcePort},
    sys::{self, foreign::set_transparent},
};

/// Why a listener's targets cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {source}; run pony as root or with CAP_NET_ADMIN, or remove the key")]
pub struct SourceError {
    key: &'static str,
    source: io::Error,
}

/// Finds out whether sockets towards the targets of `listener` can be had.
pub fn try_out(listener: &Listener) -> Result<(), SourceError> {
    for any in families(listener) {
        let Ok(socket) = open(any, listener.protocol) else {
            // The machine does not have this family: no client of it, and no target.
            continue;
        };
        if listener.source.preserve.is_some() {
            set_transparent(&socket, any).map_err(|source| SourceError {
                key: "preserve_source",
                source,
            })?;
        }
        if let Some(mark) = listener.source.mark {
            socket.set_mark(mark).map_err(|source| SourceError {
                key: "mark",
                source,
            })?;
        }
    }
    Ok(())
}

/// The wildcards of the families that the listener's targets may have.
fn families(listener: &Listener) -> impl Iterator<Item = SocketAddr> {
    let targets = [Some(&listener.target), listener.target_v6.as_ref()];
    let is_wanted = move |any: &SocketAddr| {
        let mut hosts = targets.iter().flatten().map(|target| &target.host);
        hosts.any(|host| match host {
            Host::Ip(ip) => ip.is_ipv4() == any.is_ipv4(),
            Host::Name(_) | Host::Any => true,
        })
    };
    let wildcards: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    wildcards
        .map(|ip| SocketAddr::new(ip, 0))
        .into_iter()
        .filter(is_wanted)
}

/// A socket that is being connected to `to`.
///
/// With `preserve_source` it has the address of `client`. Where the client's port is taken, another
/// port is tried if that is allowed.
pub(super) fn depart(source: &Source, to: SocketAddr, client: SocketAddr) -> io::Result<Socket> {
    match connecting(source, Protocol::Tcp, to, client) {
        Err(error) if may_change_port(source) && is_taken(&error) => {
            connecting(source, Protocol::Tcp, to, without_port(client))
        }
        result => result,
    }
}

/// A socket for datagrams that is connected to `to`; see [`depart`].
///
/// The kernel would give the same two addresses to several such sockets, and all answers to one of
/// them. So whoever has the client's port towards `to` holds the claim on it.
pub(super) fn depart_udp(
    source: &Source,
    claims: &Arc<Claims>,
    to: SocketAddr,
    client: SocketAddr,
) -> io::Result<(Socket, Option<Claim>)> {
    if source.preserve.is_none() {
        return Ok((connecting(source, Protocol::Udp, to, client)?, None));
    }
    let claimed = Claims::take(claims, (client, to)).and_then(|claim| {
        let socket = connecting(source, Protocol::Udp, to, client)?;
        Ok((socket, Some(claim)))
    });
    match claimed {
        Err(error) if may_change_port(source) && is_taken(&error) => {
            let socket = connecting(source, Protocol::Udp, to, without_port(client))?;
            Ok((socket, None))
        }
        result => result,
    }
}

/// Which clients' ports are in use towards which targets, for datagrams.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashSet<Pair>>);

/// A client and a target's address.
type Pair = (SocketAddr, SocketAddr);

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    pair: Pair,
}

impl Claims {
    fn take(claims: &Arc<Self>, pair: Pair) -> io::Result<Claim> {
        if !claims.lock().insert(pair) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        Ok(Claim {
            claims: Arc::clone(claims),
            pair,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Pair>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.pair);
    }
}

fn may_change_port(source: &Source) -> bool {
    source.preserve == Some(SourcePort::Preferred)
}

/// Any port of the client's address.
fn without_port(mut client: SocketAddr) -> SocketAddr {
    client.set_port(0);
    client
}

fn connecting(
    source: &Source,
    protocol: Protocol,
    to: SocketAddr,
    from: SocketAddr,
) -> io::Result<Socket> {
    let socket = open(to, protocol)?;
    if let Some(mark) = source.mark {
        socket.set_mark(mark)?;
    }
    if source.preserve.is_some() {
        set_transparent(&socket, to)?;
        if from.port() == 0 {
            // `connect` chooses the port, and knows which are free towards this target.
            sys::bind_without_port(&socket)?;
        } else {
            // Other sockets of ours have the client's port too, towards other targets.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&from.into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Whether the client's port cannot be had here, as `bind` and `connect` say it.
pub(super) fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL)
    )
}

fn open(address: SocketAddr, protocol: Protocol) -> io::Result<Socket> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, SocketProtocol::TCP),
        Protocol::Udp => (Type::DGRAM, SocketProtocol::UDP),
    };
    Socket::new(
        Domain::for_address(address),
        kind.nonblocking(),
        Some(number),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once_for_each_target_until_it_is_given_back() {
        let claims = Arc::default();
        let [client, a, b] = [1, 2, 3].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let first = Claims::take(&claims, (client, a)).unwrap();
        assert!(is_taken(&Claims::take(&claims, (client, a)).unwrap_err()));
        Claims::take(&claims, (client, b)).unwrap();
        drop(first);
        Claims::take(&claims, (client, a)).unwrap();
    }
}
