//! Binding: from a configured address to a listening socket.
//!
//! Says what to do about the usual failures. Does not accept and does not receive.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket},
    ops::RangeInclusive,
    time::Duration,
};

use socket2::{Domain, Protocol as SocketProtocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    config::{Family, Host, HostPort, Listener, Protocol, Span},
    sys::foreign::{set_freebind, set_transparent},
};

/// Where to listen, and how.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    address: &'a HostPort,
    /// Of all its ports one is enough: the kernel is told to bring the others' clients here.
    span: Option<&'a Span>,
    family: Option<Family>,
    /// A wildcard IPv6 socket does not take IPv4 clients as well.
    v6_only: bool,
    /// What comes may be addressed to others.
    transparent: bool,
}

impl<'a> Place<'a> {
    /// Where a listener listens.
    pub fn of(listener: &'a Listener) -> Self {
        Self {
            address: &listener.listen,
            span: listener.span.as_ref(),
            family: listener.family,
            v6_only: listener.v6_only,
            transparent: listener.transparent,
        }
    }

    /// The ports of which the socket gets the first that is free.
    fn ports(&self) -> RangeInclusive<u16> {
        let port = self.address.port;
        self.span.map_or(port..=port, |span| span.ports.clone())
    }
}

impl<'a> From<&'a HostPort> for Place<'a> {
    /// For whatever family the address has.
    fn from(address: &'a HostPort) -> Self {
        Self {
            address,
            span: None,
            family: None,
            v6_only: false,
            transparent: false,
        }
    }
}

/// Why a listening socket could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}: {source}{hint}")]
pub struct BindError {
    protocol: &'static str,
    address: String,
    hint: &'static str,
    source: io::Error,
}

/// Binds a TCP listener.
pub fn bind_tcp(place: Place<'_>) -> Result<TcpListener, BindError> {
    let listen = |socket: Socket| {
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open(place, Protocol::Tcp)
        .and_then(listen)
        .map_err(|source| explain(source, place, Protocol::Tcp))
}

/// Binds `count` TCP listeners to one address, at least one; the kernel spreads the clients over
/// them. Nobody else may have the address, whatever it allows.
///
/// Their clients' sockets are as [`prepare`] makes them: the kernel copies them from the listener's.
pub fn bind_tcp_group(
    place: Place<'_>,
    keepalive: Option<Duration>,
    count: usize,
) -> Result<Vec<TcpListener>, BindError> {
    let open_group = || {
        // Bound as an only one, so that another process's socket is a conflict; then it may be
        // joined by sockets of the same user, while it does not listen yet.
        let first = open(place, Protocol::Tcp)?;
        first.set_reuse_port(true)?;
        let address = first
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(open_at(address, place, Protocol::Tcp, Sharing::Port)?);
        }
        for socket in &sockets {
            prepare(&SockRef::from(socket), keepalive)?;
            socket.listen(BACKLOG)?;
        }
        Ok(sockets.into_iter().map(Into::into).collect())
    };
    open_group().map_err(|source| explain(source, place, Protocol::Tcp))
}

/// Binds a UDP socket.
pub fn bind_udp(place: Place<'_>) -> Result<UdpSocket, BindError> {
    open(place, Protocol::Udp)
        .map(Into::into)
        .map_err(|source| explain(source, place, Protocol::Udp))
}

/// A proxy must not hold small writes back, and must notice peers that vanished.
pub(super) fn prepare(socket: &Socket, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Some(time) = keepalive {
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(time);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

fn explain(source: io::Error, place: Place<'_>, protocol: Protocol) -> BindError {
    BindError {
        protocol: protocol.as_str(),
        address: place
            .span
            .map_or_else(|| place.address.to_string(), ToString::to_string),
        hint: hint(&source),
        source,
    }
}

/// Who else may be bound to the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sharing {
    Nobody,
    /// Those of the same user that allow it too.
    Port,
}

/// A bound socket that does not listen yet.
fn open(place: Place<'_>, protocol: Protocol) -> io::Result<Socket> {
    let resolved = to_socket_addr(place)?;
    match open_first(resolved, place, protocol) {
        // A host without IPv6: "any address" is then any IPv4 address.
        Err(error)
            if place.address.host == Host::Any
                && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            let any_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), place.address.port);
            open_first(any_v4, place, protocol)
        }
        result => result,
    }
}

/// On the first of the place's ports that nobody has.
fn open_first(mut address: SocketAddr, place: Place<'_>, protocol: Protocol) -> io::Result<Socket> {
    let mut opened = Err(io::ErrorKind::AddrInUse.into());
    for port in place.ports() {
        address.set_port(port);
        opened = open_at(address, place, protocol, Sharing::Nobody);
        let is_taken = |error: &io::Error| error.raw_os_error() == Some(libc::EADDRINUSE);
        if !opened.as_ref().is_err_and(is_taken) {
            break;
        }
    }
    opened
}

fn open_at(
    address: SocketAddr,
    place: Place<'_>,
    protocol: Protocol,
    sharing: Sharing,
) -> io::Result<Socket> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (Type::STREAM, SocketProtocol::TCP),
        Protocol::Udp => (Type::DGRAM, SocketProtocol::UDP),
    };
    let socket = Socket::new(
        Domain::for_address(address),
        kind.nonblocking(),
        Some(number),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(place.v6_only)?;
    }
    if place.transparent {
        set_transparent(&socket, address)?;
    }
    if place.span.is_some() {
        // A prefix need not begin with an address that this machine has.
        set_freebind(&socket, address)?;
    }
    if protocol == Protocol::Tcp {
        // Without it a restart fails while connections of the last run are in TIME-WAIT. For UDP
        // it would let two processes share the port unnoticed.
        socket.set_reuse_address(true)?;
    }
    if sharing == Sharing::Port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The first address of a name, IPv4 before IPv6, as the original chooses.
fn to_socket_addr(place: Place<'_>) -> io::Result<SocketAddr> {
    let address = place.address;
    let ip = match &address.host {
        Host::Any => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Host::Ip(ip) => *ip,
        Host::Name(name) => {
            let found = (name.as_str(), address.port).to_socket_addrs()?;
            let is_ours = |ip| place.family.is_none_or(|family| family == Family::of(ip));
            let found: Vec<_> = found.filter(|found| is_ours(found.ip())).collect();
            let v4_first = found.iter().find(|a| a.is_ipv4()).or(found.first());
            v4_first
                .ok_or_else(|| io::Error::other("the name has no such address"))?
                .ip()
        }
    };
    Ok(SocketAddr::new(ip, address.port))
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => " (see who has it with `ss -lntup`)",
        Some(libc::EACCES) => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
        Some(libc::EPERM) => " (transparent: true needs root or CAP_NET_ADMIN)",
        Some(libc::EADDRNOTAVAIL) => " (no interface of this machine has that address)",
        _ => "",
    }
}

/// As many connections as may wait for `accept`; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> HostPort {
        HostPort {
            host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
            port,
        }
    }

    #[test]
    fn names_the_address_and_the_remedy_when_the_port_is_taken() {
        let first = bind_tcp((&loopback(0)).into()).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = bind_tcp((&loopback(port)).into()).unwrap_err().to_string();
        assert!(error.contains(&format!("tcp 127.0.0.1:{port}")), "{error}");
        assert!(error.contains("ss -lntup"), "{error}");
    }

    #[test]
    fn a_group_shares_a_port_that_no_other_group_and_no_single_socket_can_have() {
        let group = bind_tcp_group((&loopback(0)).into(), None, 3).unwrap();
        let address = group[0].local_addr().unwrap();
        for socket in &group {
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        bind_tcp_group((&loopback(address.port())).into(), None, 2).unwrap_err();
        bind_tcp((&loopback(address.port())).into()).unwrap_err();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn the_clients_of_a_group_inherit_its_settings() {
        let second = Duration::from_secs(1);
        let group = bind_tcp_group((&loopback(0)).into(), Some(7 * second), 1).unwrap();
        let _near = std::net::TcpStream::connect(group[0].local_addr().unwrap()).unwrap();
        group[0].set_nonblocking(false).unwrap();
        let client = Socket::from(group[0].accept().unwrap().0);
        assert!(client.tcp_nodelay().unwrap() && client.keepalive().unwrap());
        assert_eq!(client.tcp_keepalive_time().unwrap(), 7 * second);
        assert_eq!(client.tcp_keepalive_interval().unwrap(), 7 * second);
    }

    #[test]
    fn a_group_is_refused_where_another_socket_would_allow_it() {
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        other.set_reuse_port(true).unwrap();
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        other.bind(&any.into()).unwrap();
        other.listen(1).unwrap();
        let port = other.local_addr().unwrap().as_socket().unwrap().port();
        bind_tcp_group((&loopback(port)).into(), None, 2).unwrap_err();
    }

    #[test]
    fn two_processes_cannot_share_a_udp_port_unnoticed() {
        let first = bind_udp((&loopback(0)).into()).unwrap();
        let port = first.local_addr().unwrap().port();
        bind_udp((&loopback(port)).into()).unwrap_err();
    }

    #[test]
    fn any_host_takes_both_families_unless_told_otherwise() {
        let any = HostPort {
            host: Host::Any,
            port: 0,
        };
        let dual = bind_tcp((&any).into()).unwrap();
        let port = dual.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();

        let only_v6 = Place {
            v6_only: true,
            ..(&any).into()
        };
        let only_v6 = bind_tcp(only_v6).unwrap();
        let port = only_v6.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    }

    #[test]
    fn a_name_is_bound_to_its_address_of_the_family_that_was_asked_for() {
        let name = HostPort {
            host: Host::Name("localhost".to_owned()),
            port: 0,
        };
        let place = Place {
            family: Some(Family::V4),
            ..(&name).into()
        };
        assert!(bind_udp(place).unwrap().local_addr().unwrap().is_ipv4());
    }

    #[test]
    fn an_address_of_another_machine_is_explained() {
        let elsewhere = HostPort {
            host: Host::Ip(Ipv4Addr::new(192, 0, 2, 1).into()),
            port: 0,
        };
        let error = bind_udp((&elsewhere).into()).unwrap_err().to_string();
        assert!(error.contains("no interface"), "{error}");
    }
}
