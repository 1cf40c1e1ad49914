//! The listening UDP socket: batches of datagrams in, replies out, each from the right address.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

use crate::{relay::ReplyPath, sys};

/// A bound UDP socket that says to which of our addresses each datagram was sent.
pub struct ListenSocket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl ListenSocket {
    /// Takes over a bound socket. Needs a tokio runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let is_v6 = socket.local_addr()?.is_ipv6();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        sys::allow_fragments(&socket, is_v6)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
        })
    }

    /// Waits for datagrams and takes as many as are there, up to a batch.
    pub(super) async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.received = 0;
        loop {
            self.socket.readable().await?;
            let received = self.socket.try_io(Interest::READABLE, || {
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
            });
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
pub(super) struct Datagram<'a> {
    /// Who sent it, in the form in which the socket answers.
    pub(super) from: SocketAddr,
    /// Which of our addresses it was sent to.
    pub(super) to: Option<IpAddr>,
    pub(super) payload: &'a [u8],
}

/// Room for what one system call may return.
pub(super) struct Batch {
    buffers: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    received: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            buffers: vec![0; LONGEST * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
            received: 0,
        }
    }

    /// The datagrams in the order of their arrival.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let filled = self
            .buffers
            .chunks_exact(LONGEST)
            .zip(&self.meta)
            .take(self.received);
        filled.flat_map(|(buffer, meta)| {
            let bytes = &buffer[..meta.len.min(buffer.len())];
            split(bytes, meta.stride).map(|payload| Datagram {
                from: meta.addr,
                to: meta.dst_ip,
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

/// The way back to one client: from the address that it sent to.
pub(super) struct ClientPath {
    socket: Arc<ListenSocket>,
    client: SocketAddr,
    local: Mutex<Option<IpAddr>>,
}

impl ClientPath {
    pub(super) fn new(socket: &Arc<ListenSocket>, first: &Datagram<'_>) -> Self {
        Self {
            socket: Arc::clone(socket),
            client: first.from,
            local: Mutex::new(first.to),
        }
    }

    /// Replies go from where the client's latest datagram was sent to.
    pub(super) fn follow(&self, datagram: &Datagram<'_>) {
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = datagram.to;
    }
}

impl ReplyPath for ClientPath {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let local = *self.local.lock().unwrap_or_else(PoisonError::into_inner);
        self.socket.send(self.client, local, datagram).await
    }
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
    async fn a_batch_holds_the_datagrams_in_order_with_both_addresses() {
        let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let socket = ListenSocket::new(socket).unwrap();
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
