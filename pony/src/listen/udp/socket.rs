//! The listening UDP socket: batches of datagrams in, replies out, each from the right address.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::super::service::canonical;
use crate::{
    config::Listener,
    relay::ReplyPath,
    sys::{
        self, destination,
        foreign::{set_freebind, set_transparent},
    },
};

/// A bound UDP socket that says to which of our addresses each datagram was sent.
pub struct ListenSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
    reach: Reach,
}

/// What the datagrams of a listening socket may have been sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Its port, on one of our addresses.
    OnePort,
    /// Many ports, on our addresses.
    ManyPorts,
    /// Any port of any address.
    Anything,
}

impl Reach {
    /// That of a listener's socket.
    pub fn of(listener: &Listener) -> Self {
        if listener.transparent {
            Self::Anything
        } else if listener.span.is_some() {
            Self::ManyPorts
        } else {
            Self::OnePort
        }
    }
}

impl ListenSocket {
    /// Takes over a bound socket. Needs a tokio runtime.
    pub fn new(socket: std::net::UdpSocket, reach: Reach) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        sys::allow_fragments(&socket, address.is_ipv6())?;
        if reach != Reach::OnePort {
            destination::tell_destinations(&socket, address.is_ipv6())?;
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            address,
            reach,
        })
    }

    /// The socket itself.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What a datagram was sent to: where the kernel does not say, what the socket is bound to.
    pub(super) fn destination(&self, datagram: &Datagram<'_>) -> SocketAddr {
        let ip = datagram.to.unwrap_or(self.address.ip());
        canonical(SocketAddr::new(ip, datagram.port))
    }

    /// Waits for datagrams and takes as many as are there, up to a batch.
    pub(super) async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.received = 0;
        loop {
            self.socket.readable().await?;
            let received = self
                .socket
                .try_io(Interest::READABLE, || self.take_into(batch));
            match received {
                Ok(received) => {
                    batch.received = received;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what is there, and returns how many datagrams or merged ones that was.
    fn take_into(&self, batch: &mut Batch) -> io::Result<usize> {
        if self.reach != Reach::OnePort {
            return batch.fill_singly(self.socket.as_fd());
        }
        batch.ports.fill(self.address.port());
        let mut buffers: Vec<_> = batch
            .buffers
            .chunks_exact_mut(LONGEST)
            .map(IoSliceMut::new)
            .collect();
        self.state.recv(
            UdpSockRef::from(&self.socket),
            &mut buffers,
            &mut batch.meta,
        )
    }

    /// What a datagram was sent to, if that can be more than one port.
    pub(super) fn at(&self, datagram: &Datagram<'_>) -> Option<SocketAddr> {
        (self.reach != Reach::OnePort).then(|| self.destination(datagram))
    }

    async fn send(&self, to: SocketAddr, from: Option<IpAddr>, datagram: &[u8]) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: from,
        };
        let send = || {
            self.state
                .try_send(UdpSockRef::from(&self.socket), &transmit)
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}

/// One datagram as it was received.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    /// Who sent it, in the form in which the socket answers.
    pub(super) from: SocketAddr,
    /// Which of our addresses it was sent to.
    pub(super) to: Option<IpAddr>,
    /// Which port it was sent to.
    pub(super) port: u16,
    pub(super) payload: &'a [u8],
}

/// Room for what one system call may return.
pub(super) struct Batch {
    buffers: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    /// Which ports they were sent to.
    ports: [u16; BATCH_SIZE],
    received: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; LONGEST * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
            ports: [0; BATCH_SIZE],
            received: 0,
        }
    }

    /// Takes datagrams, each by itself, from a socket that says what they were sent to.
    fn fill_singly(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let places = self.buffers.chunks_exact_mut(LONGEST);
        let places = places.zip(&mut self.meta).zip(&mut self.ports);
        let mut filled = 0;
        for ((buffer, meta), port) in places {
            let received = match destination::receive(socket, buffer) {
                Ok(received) => received,
                // Those before were received all the same.
                Err(_later) if filled > 0 => break,
                Err(error) => return Err(error),
            };
            meta.addr = received.from;
            (meta.len, meta.stride) = (received.len, received.len);
            meta.dst_ip = received.to.map(|to| to.ip());
            *port = received.to.map_or(0, |to| to.port());
            filled += 1;
        }
        Ok(filled)
    }

    /// The datagrams in the order of their arrival.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let filled = self
            .buffers
            .chunks_exact(LONGEST)
            .zip(&self.meta)
            .zip(&self.ports)
            .take(self.received);
        filled.flat_map(|((buffer, meta), &port)| {
            let bytes = &buffer[..meta.len.min(buffer.len())];
            split(bytes, meta.stride).map(move |payload| Datagram {
                from: meta.addr,
                to: meta.dst_ip,
                port,
                payload,
            })
        })
    }
}

/// Cuts what the kernel has merged (UDP GRO) into the datagrams that were sent.
fn split(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    // `chunks` has nothing to say about an empty datagram, and an empty datagram is one.
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(stride.max(1)))
}

/// No UDP datagram is longer: its length field has 16 bits. Merged ones stay below that too.
const LONGEST: usize = 1 << 16;

/// The way back to one client, or to the front end in front of it: from the address that was sent to.
pub(super) struct ClientPath {
    socket: Arc<ListenSocket>,
    ends: Mutex<(SocketAddr, Option<IpAddr>)>,
    /// The port that was sent to.
    port: u16,
    /// Bound to that address and port, where the listening socket is not. Nothing comes to it: the
    /// listening socket is found first.
    own: OnceLock<UdpSocket>,
}

impl ClientPath {
    pub(super) fn new(socket: &Arc<ListenSocket>, first: &Datagram<'_>) -> Self {
        Self {
            socket: Arc::clone(socket),
            ends: Mutex::new((first.from, first.to)),
            port: first.port,
            own: OnceLock::new(),
        }
    }

    /// The socket that answers `peer` from this address and the port that it sent to.
    fn own(&self, local: IpAddr, peer: SocketAddr) -> io::Result<&UdpSocket> {
        if let Some(own) = self.own.get() {
            return Ok(own);
        }
        let address = on_its_link(local, self.port, peer);
        let own = answering(address, self.socket.reach).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot answer from {address}: {error}"),
            )
        })?;
        Ok(self.own.get_or_init(|| own))
    }

    /// Replies go to where the latest datagram came from, and from where it was sent to.
    pub(super) fn follow(&self, datagram: &Datagram<'_>) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = (datagram.from, datagram.to);
    }
}

impl ReplyPath for ClientPath {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let (peer, local) = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match local {
            Some(local) if self.port != self.socket.address.port() => {
                let own = self.own(local, peer)?;
                let peer = on_its_link(peer.ip(), peer.port(), peer);
                own.send_to(datagram, peer).await?;
                Ok(())
            }
            _ => self.socket.send(peer, local, datagram).await,
        }
    }
}

/// The address without its mapping; one that is good on a link only is of the peer's link.
fn on_its_link(ip: IpAddr, port: u16, peer: SocketAddr) -> SocketAddr {
    match (peer, ip.to_canonical()) {
        (SocketAddr::V6(peer), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, port, 0, peer.scope_id()).into()
        }
        (_, ip) => SocketAddr::new(ip, port),
    }
}

/// A socket that only sends, from an address that a client has sent to.
fn answering(from: SocketAddr, reach: Reach) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(from), kind, Some(Protocol::UDP))?;
    // Other sessions' sockets have it too.
    socket.set_reuse_address(true)?;
    match reach {
        Reach::Anything => set_transparent(&socket, from)?,
        // A whole prefix may be ours by a route alone.
        Reach::OnePort | Reach::ManyPorts => set_freebind(&socket, from)?,
    }
    socket.bind(&from.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_datagrams_are_cut_where_they_were_joined() {
        let parts: Vec<_> = split(b"aaabbbcc", 3).collect();
        assert_eq!(parts, [&b"aaa"[..], b"bbb", b"cc"]);
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        assert_eq!(split(b"", 0).count(), 1);
        assert_eq!(split(b"a", 1).count(), 1);
    }

    #[tokio::test]
    async fn who_cannot_answer_from_where_it_was_sent_to_says_from_where() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = taken.local_addr().unwrap();
        let datagram = Datagram {
            from: to,
            to: Some(to.ip()),
            port: to.port(),
            payload: b"",
        };
        let socket = Arc::new(ListenSocket::new(socket, Reach::ManyPorts).unwrap());
        let path = ClientPath::new(&socket, &datagram);
        let error = path.send(b"answer").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot answer from {to}: ")),
            "{text}"
        );
        drop(taken);
        path.send(b"answer").await.unwrap();
    }

    #[tokio::test]
    async fn a_batch_holds_the_datagrams_in_order_with_both_addresses() {
        let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let socket = ListenSocket::new(socket, Reach::OnePort).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for payload in [&b"one"[..], b"", b"three"] {
            client.send_to(payload, ("127.0.0.2", port)).await.unwrap();
        }
        let mut batch = Batch::new();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.len() < 3 {
            socket.receive(&mut batch).await.unwrap();
            for datagram in batch.datagrams() {
                assert_eq!(datagram.from.port(), client.local_addr().unwrap().port());
                let to = datagram.to.unwrap().to_canonical();
                assert_eq!(to, IpAddr::from([127, 0, 0, 2]));
                seen.push(datagram.payload.to_vec());
            }
        }
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
    }
}
