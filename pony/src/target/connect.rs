//! Connecting to a target: every address in turn, within one deadline.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Addresses, ResolveError, Resolver,
    source::{self, Claim, Claims},
};
use crate::config::{Host, HostPort, Source, SourcePort};

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
    /// The last address that was tried refused, or could not be reached, from the client's address.
    #[error("cannot connect to {address} from {client}: {source}{hint}")]
    RefusedFrom {
        /// The address that was tried last.
        address: SocketAddr,
        /// The client.
        client: SocketAddr,
        /// What the cause may be.
        hint: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing answered the client's address in time, or the answer did not come to us.
    #[error(
        "cannot connect to {target} from {client} within {limit:?} (if there is never an answer, see `pony doctor`)"
    )]
    TimedOutFrom {
        /// The configured target.
        target: HostPort,
        /// The client.
        client: SocketAddr,
        /// How long it was tried.
        limit: Duration,
    },
    /// A socket has addresses of one family.
    #[error(
        "client {client} is {clients} and target {target} is {targets}: preserve_source needs a target of the client's family"
    )]
    Family {
        /// The client.
        client: IpAddr,
        /// Its family.
        clients: &'static str,
        /// The configured target.
        target: HostPort,
        /// The family of its addresses.
        targets: &'static str,
    },
}

/// How a target is reached for one client.
pub struct Dial<'a> {
    /// The targets' names.
    pub resolver: &'a Resolver,
    /// Where to.
    pub target: &'a HostPort,
    /// From which address.
    pub source: &'a Source,
    /// Which clients' ports are in use.
    pub claims: &'a Arc<Claims>,
    /// For whom.
    pub client: SocketAddr,
    /// How long it may take altogether.
    pub limit: Duration,
}

impl Dial<'_> {
    /// Connects to the first address of the target that accepts.
    ///
    /// An address that does not answer gets its share of the time that is left, so that a dead first
    /// address does not keep the second from being tried.
    pub async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.limit();
        let addresses = self.addresses().await?;
        let fitting = self.fitting(&addresses);
        let mut left = fitting.clone().count();
        let mut last = None;
        for address in fitting {
            match timeout_at(share(deadline, left), self.stream(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(source)) => last = Some(self.refused(address, source)),
                Err(_elapsed) => last = last.or_else(|| Some(self.timed_out())),
            }
            left -= 1;
        }
        Err(last.unwrap_or_else(|| self.unfit()))
    }

    /// A socket that exchanges datagrams with the target alone: its first address that has a route.
    /// What comes with it must be kept as long as the socket.
    pub async fn udp(&self) -> Result<(UdpSocket, Option<Claim>), ConnectError> {
        let addresses = self.addresses().await?;
        let mut last = None;
        for address in self.fitting(&addresses) {
            let departed = source::depart_udp(self.source, self.claims, address, self.client);
            let watched = departed
                .and_then(|(socket, claim)| Ok((UdpSocket::from_std(socket.into())?, claim)));
            match watched {
                Ok(watched) => return Ok(watched),
                Err(source) => last = Some(self.refused(address, source)),
            }
        }
        Err(last.unwrap_or_else(|| self.unfit()))
    }

    async fn stream(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = source::depart(self.source, address, self.client)?;
        let dialling = Dialling(Some(TcpStream::from_std(socket.into())?));
        dialling.finish().await
    }

    async fn addresses(&self) -> Result<Addresses, ConnectError> {
        if let Host::Ip(ip) = self.target.host {
            return Ok(Addresses::One(ip));
        }
        // On the heap: most targets have no name.
        let resolving = Box::pin(timeout(self.limit(), self.resolver.resolve(self.target)));
        match resolving.await {
            Ok(found) => Ok(found?),
            Err(_elapsed) => Err(self.timed_out()),
        }
    }

    /// Those of the target's addresses that can be reached from where the client is to be seen.
    fn fitting<'a>(
        &self,
        addresses: &'a [IpAddr],
    ) -> impl Iterator<Item = SocketAddr> + Clone + 'a {
        let family = self.source.preserve.map(|_| self.client.is_ipv4());
        let port = self.target.port;
        addresses
            .iter()
            .filter(move |ip| family.is_none_or(|is_v4| is_v4 == ip.is_ipv4()))
            .map(move |ip| SocketAddr::new(*ip, port))
    }

    /// Whoever speaks for a client that is not there any more must not be waited for long: where the
    /// answers do not find back to us, none comes.
    fn limit(&self) -> Duration {
        match self.source.preserve {
            Some(_) => self.limit.min(MOST_FROM_CLIENT),
            None => self.limit,
        }
    }

    fn refused(&self, address: SocketAddr, source: io::Error) -> ConnectError {
        if self.source.preserve.is_none() {
            return ConnectError::Refused { address, source };
        }
        let hint = match self.source.preserve {
            Some(SourcePort::Required) if source::is_taken(&source) => {
                " (the client's port is taken here, and preserve_source_port is \"required\")"
            }
            _ => "",
        };
        ConnectError::RefusedFrom {
            address,
            client: self.client,
            hint,
            source,
        }
    }

    fn timed_out(&self) -> ConnectError {
        let (target, limit) = (self.target.clone(), self.limit());
        match self.source.preserve {
            None => ConnectError::TimedOut { target, limit },
            Some(_) => ConnectError::TimedOutFrom {
                target,
                client: self.client,
                limit,
            },
        }
    }

    /// None of the target's addresses can be reached from the client's.
    fn unfit(&self) -> ConnectError {
        let (clients, targets) = match self.client {
            SocketAddr::V4(_) => ("IPv4", "IPv6"),
            SocketAddr::V6(_) => ("IPv6", "IPv4"),
        };
        ConnectError::Family {
            client: self.client.ip(),
            clients,
            target: self.target.clone(),
            targets,
        }
    }
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

/// When to give up on an address while `left` addresses, this one included, wait for their turn.
fn share(deadline: Instant, left: usize) -> Instant {
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    now + remaining / u32::try_from(left).unwrap_or(u32::MAX).max(1)
}

/// As long as `TCP_SYNCNT=2` would try: 1, 2 and 4 seconds.
const MOST_FROM_CLIENT: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Routing;

    type Tools = (Resolver, Arc<Claims>);

    fn tools() -> Tools {
        (Resolver::new(Duration::from_secs(1)), Arc::default())
    }

    /// From our own address, to `target`.
    fn dial<'a>((resolver, claims): &'a Tools, target: &'a HostPort) -> Dial<'a> {
        Dial {
            resolver,
            claims,
            target,
            source: &OURS,
            client: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            limit: Duration::from_secs(10),
        }
    }

    const OURS: Source = Source {
        preserve: None,
        routing: Routing::Auto,
        mark: None,
    };

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
        dial(&tools(), &target).tcp().await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = dial(&tools(), &at(address)).tcp().await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[tokio::test]
    async fn a_client_of_the_other_family_is_told_from_the_target() {
        let target = at("[::1]:80".parse().unwrap());
        let source = Source {
            preserve: Some(SourcePort::Preferred),
            ..OURS
        };
        let tools = tools();
        let dial = Dial {
            source: &source,
            ..dial(&tools, &target)
        };
        let error = dial.udp().await.unwrap_err().to_string();
        assert_eq!(
            error,
            "client 192.0.2.1 is IPv4 and target [::1]:80 is IPv6: \
             preserve_source needs a target of the client's family"
        );
        assert_eq!(dial.tcp().await.unwrap_err().to_string(), error);
    }

    #[test]
    fn whoever_speaks_for_a_client_is_not_waited_for_long() {
        let (tools, target) = (tools(), at("192.0.2.2:80".parse().unwrap()));
        let source = Source {
            preserve: Some(SourcePort::Preferred),
            ..OURS
        };
        let ours = dial(&tools, &target);
        assert_eq!(ours.limit(), Duration::from_secs(10));
        let clients = Dial {
            source: &source,
            ..dial(&tools, &target)
        };
        assert_eq!(clients.limit(), MOST_FROM_CLIENT);
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
        let (socket, _) = dial(&tools(), &at(address)).udp().await.unwrap();
        let ours = (Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port());
        stranger.send_to(b"stranger", ours).await.unwrap();
        target.send_to(b"target", ours).await.unwrap();
        let mut buffer = [0; 16];
        let len = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"target");
    }
}
