//! Connections to a syslog receiver.
//!
//! Everything here blocks, for a few seconds at most; only the sink's own thread uses it.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    time::Duration,
};

use socket2::SockRef;

use crate::config::{Host, HostPort, SyslogTransport};

/// Where local receivers listen, in the order in which they are tried.
pub(super) const LOCAL_PATHS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

#[derive(Debug)]
pub(super) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Link {
    pub(super) fn connect(transport: &SyslogTransport) -> io::Result<Self> {
        match transport {
            SyslogTransport::Udp(address) => first(addresses(address)?, udp),
            SyslogTransport::Tcp(address) => first(addresses(address)?, tcp),
            SyslogTransport::Unix(path) => unix(path),
            SyslogTransport::Local => first(LOCAL_PATHS, |path| unix(Path::new(path))),
        }
    }

    /// Whether the receiver has not closed the connection. Without this look, the first line
    /// after its restart would vanish in a connection that is dead already.
    pub(super) fn is_open(&self) -> bool {
        let socket = match self {
            Self::Udp(_) | Self::Datagram(_) => return true,
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Stream(stream) => SockRef::from(stream),
        };
        let mut answer = [std::mem::MaybeUninit::uninit(); 64];
        match socket.recv_with_flags(&mut answer, libc::MSG_DONTWAIT) {
            // A receiver has nothing to say. If it does, we do not listen.
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Hands over one line. Returns how many datagrams turn out not to arrive: this one, or the
    /// one before it. After an error the connection is of no use any more.
    pub(super) fn send(&self, line: &[u8]) -> io::Result<u64> {
        match self {
            Self::Udp(socket) => send_udp(socket, line),
            Self::Tcp(stream) => (&mut &*stream).write_all(line).map(|()| 0),
            Self::Stream(stream) => (&mut &*stream).write_all(line).map(|()| 0),
            Self::Datagram(socket) => match socket.send(line) {
                Err(error) if is_too_long(&error) => Ok(1),
                sent => sent.map(|_| 0),
            },
        }
    }
}

/// A refusal is reported with the datagram after the one that was refused, which is not sent.
fn send_udp(socket: &UdpSocket, line: &[u8]) -> io::Result<u64> {
    match socket.send(line) {
        Err(error) if is_too_long(&error) => Ok(1),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Ok(1 + u64::from(socket.send(line).is_err()))
        }
        sent => sent.map(|_| 0),
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn addresses(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    let port = address.port;
    match &address.host {
        Host::Ip(ip) => Ok(vec![(*ip, port).into()]),
        Host::Name(name) => Ok((name.as_str(), port).to_socket_addrs()?.collect()),
        Host::Any => Ok(vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ]),
    }
}

/// The first connection that can be made; else the error of the last.
fn first<T>(
    candidates: impl IntoIterator<Item = T>,
    connect: impl Fn(T) -> io::Result<Link>,
) -> io::Result<Link> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match connect(candidate) {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn udp(address: SocketAddr) -> io::Result<Link> {
    let any = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Link::Udp(socket))
}

fn tcp(address: SocketAddr) -> io::Result<Link> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    SockRef::from(&stream).set_keepalive(true)?;
    Ok(Link::Tcp(stream))
}

/// A datagram socket, as receivers usually have, or else a stream.
fn unix(path: &Path) -> io::Result<Link> {
    let socket = UnixDatagram::unbound()?;
    let Err(refused) = socket.connect(path) else {
        socket.set_write_timeout(Some(PATIENCE))?;
        return Ok(Link::Datagram(socket));
    };
    if refused.raw_os_error() != Some(libc::EPROTOTYPE) {
        return Err(refused);
    }
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(Link::Stream(stream))
}

/// How long connecting or handing over a line may take.
const PATIENCE: Duration = Duration::from_secs(5);
