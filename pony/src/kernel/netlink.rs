//! The little of netlink that `rtnetlink` does not offer: notifications that say when some were
//! lost, and requests from where nothing can be awaited.
//!
//! Reads no more of a message than what kind it is and which interface it is about.

use std::{collections::HashSet, io, iter};

use futures_util::FutureExt as _;
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage},
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcHandle, TcMessage},
    },
    sys::{
        AsyncSocket as _, AsyncSocketExt as _, Socket, SocketAddr, TokioSocket,
        protocols::NETLINK_ROUTE,
    },
};

/// Hears of every change of an interface.
pub(super) struct Monitor(TokioSocket);

/// What has changed since the last time. That something has is all that is known but for this.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Changes {
    /// The numbers of interfaces that are gone. Another one may have the number by now.
    pub(super) gone: HashSet<u32>,
}

impl Monitor {
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = rtnetlink::constants::RTMGRP_LINK;
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Waits until something has changed, and returns all that has.
    ///
    /// Whoever lists the interfaces after this sees at least these changes, also those of which the
    /// kernel had to drop the notification because it came faster than it was read.
    pub(super) async fn changes(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        self.receive(&mut changes).await?;
        self.take_rest(&mut changes)?;
        Ok(changes)
    }

    /// Adds what has changed meanwhile.
    pub(super) fn take_rest(&mut self, changes: &mut Changes) -> io::Result<()> {
        while let Some(result) = self.receive(changes).now_or_never() {
            result?;
        }
        Ok(())
    }

    async fn receive(&mut self, changes: &mut Changes) -> io::Result<()> {
        let datagram = match self.0.recv_from_full().await {
            Ok((datagram, _kernel)) => datagram,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
            Err(error) => return Err(error),
        };
        changes
            .gone
            .extend(messages(&datagram).filter_map(gone_link));
        Ok(())
    }
}

/// Removes the `clsact` qdisc of the interface with this number, unless there are filters in it:
/// a qdisc takes its filters with it, whoever they belong to.
pub(super) fn remove_unused_clsact(index: u32) -> io::Result<()> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let mut kernel = Kernel::connect()?;
    for minor in [TcHandle::MIN_INGRESS, TcHandle::MIN_EGRESS] {
        let mut filters = TcMessage::with_index(index);
        filters.header.parent = TcHandle {
            major: TcHandle::CLSACT.major,
            minor,
        };
        let request = RouteNetlinkMessage::GetTrafficFilter(filters);
        if kernel.ask(request, NLM_F_DUMP)? > 0 {
            return Ok(());
        }
    }
    let mut qdisc = TcMessage::with_index(index);
    qdisc.header.parent = TcHandle::CLSACT;
    let request = RouteNetlinkMessage::DelQueueDiscipline(qdisc);
    kernel.ask(request, NLM_F_ACK).map(drop)
}

/// A socket that waits for its answers.
struct Kernel(Socket);

impl Kernel {
    fn connect() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request, and returns how many things the kernel answered with.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<usize> {
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut count = 0;
        loop {
            let (datagram, _kernel) = self.0.recv_from_full()?;
            for message in messages(&datagram) {
                match message.kind {
                    NLMSG_DONE => return Ok(count),
                    NLMSG_ERROR => return message.result().map(|()| count),
                    _ => count += 1,
                }
            }
        }
    }
}

/// One message of those in a datagram.
#[derive(Clone, Copy)]
struct Message<'a> {
    kind: u16,
    payload: &'a [u8],
}

impl Message<'_> {
    /// What an answer says that is no more than a result.
    fn result(&self) -> io::Result<()> {
        match self.payload.first_chunk().copied().map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        let len = usize::try_from(message.length()).ok()?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: message.message_type(),
            payload: message.payload(),
        })
    })
}

/// The number of the interface that this message says is gone.
///
/// A bridge's port that leaves it is announced in the same way, as of the family `AF_BRIDGE`.
fn gone_link(message: Message<'_>) -> Option<u32> {
    let (family, index) = (message.payload.first()?, message.payload.get(4..8)?);
    let is_gone = message.kind == libc::RTM_DELLINK && i32::from(*family) == libc::AF_UNSPEC;
    is_gone.then_some(u32::from_ne_bytes(index.try_into().ok()?))
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

#[cfg(test)]
mod tests;
