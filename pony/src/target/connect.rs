//! Connecting to a target: every address in turn, within one deadline.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::{Addresses, ResolveError, Resolver};
use crate::config::{Host, HostPort};

/// Why there is no connection to the target.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The last address that was tried refused, or could not be reached.
    #[error("cannot connect to {address}: {source}")]
    Refused {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing answered in time.
    #[error("cannot connect to {target} within {limit:?}")]
    TimedOut {
        /// The configured target.
        target: HostPort,
        /// The configured `connect_timeout`.
        limit: Duration,
    },
}

/// Connects to the first address of `target` that accepts, all within `limit`.
///
/// An address that does not answer gets its share of the time that is left, so that a dead first
/// address does not keep the second from being tried.
pub async fn connect_tcp(
    resolver: &Resolver,
    target: &HostPort,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let deadline = Instant::now() + limit;
    let addresses = addresses(resolver, target, limit).await?;

    let mut last = None;
    for (tried, ip) in addresses.iter().enumerate() {
        let address = SocketAddr::new(*ip, target.port);
        let until = share(deadline, addresses.len() - tried);
        match timeout_at(until, dial(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = Some(ConnectError::Refused { address, source }),
            Err(_elapsed) => {}
        }
    }
    Err(last.unwrap_or_else(|| timed_out(target, limit)))
}

/// Connects to `address`.
async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let dialling = Dialling(Some(TcpStream::from_std(socket.into())?));
    dialling.finish().await
}

/// A connection that is being made.
///
/// Whoever gives up meanwhile leaves no ordinary end of file behind: the target may have accepted
/// what we were not yet told of.
struct Dialling(Option<TcpStream>);

impl Dialling {
    async fn finish(mut self) -> io::Result<TcpStream> {
        if let Some(stream) = &self.0 {
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        self.0
            .take()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            // Fails only where there is no connection.
            drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
        }
    }
}

/// A socket that exchanges datagrams with `target` alone: the first address that has a route.
pub async fn connect_udp(
    resolver: &Resolver,
    target: &HostPort,
    limit: Duration,
) -> Result<UdpSocket, ConnectError> {
    let mut last = None;
    for ip in addresses(resolver, target, limit).await?.iter() {
        let address = SocketAddr::new(*ip, target.port);
        match connected_udp(address).await {
            Ok(socket) => return Ok(socket),
            Err(source) => last = Some(ConnectError::Refused { address, source }),
        }
    }
    Err(last.unwrap_or_else(|| timed_out(target, limit)))
}

async fn addresses(
    resolver: &Resolver,
    target: &HostPort,
    limit: Duration,
) -> Result<Addresses, ConnectError> {
    if let Host::Ip(ip) = target.host {
        return Ok(Addresses::One(ip));
    }
    // On the heap: most targets have no name.
    match Box::pin(timeout(limit, resolver.resolve(target))).await {
        Ok(found) => Ok(found?),
        Err(_elapsed) => Err(timed_out(target, limit)),
    }
}

fn timed_out(target: &HostPort, limit: Duration) -> ConnectError {
    ConnectError::TimedOut {
        target: target.clone(),
        limit,
    }
}

/// When to give up on an address while `left` addresses, this one included, wait for their turn.
fn share(deadline: Instant, left: usize) -> Instant {
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    now + remaining / u32::try_from(left).unwrap_or(u32::MAX).max(1)
}

async fn connected_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn resolver() -> Resolver {
        Resolver::new(Duration::from_secs(1))
    }

    fn at(address: SocketAddr) -> HostPort {
        HostPort {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        // `localhost` is ::1 and 127.0.0.1 on most machines; the target listens on one of them.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = HostPort {
            host: Host::Name("localhost".to_owned()),
            port,
        };
        connect_tcp(&resolver(), &target, Duration::from_secs(10))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_refusal_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = connect_tcp(&resolver(), &at(address), Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_dead_first_address_leaves_time_for_the_second() {
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(share(deadline, 2) < deadline - Duration::from_secs(4));
        assert!(share(deadline, 1) <= deadline);
    }

    #[tokio::test]
    async fn a_connected_udp_socket_hears_its_target_only() {
        let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = target.local_addr().unwrap();
        let socket = connect_udp(&resolver(), &at(address), Duration::from_secs(10))
            .await
            .unwrap();
        let ours = (Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port());
        stranger.send_to(b"stranger", ours).await.unwrap();
        target.send_to(b"target", ours).await.unwrap();
        let mut buffer = [0; 16];
        let len = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"target");
    }
}
