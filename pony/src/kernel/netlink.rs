//! The little of netlink that `rtnetlink` does not offer: notifications that say when some were
//! lost, and what must be taken off where nothing can be awaited.
//!
//! Reads no more of a message than what kind it is and which interface it is about.

use std::{collections::HashSet, io};

use futures_util::FutureExt as _;
use rtnetlink::{
    constants::{RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK},
    packet_core::{NLM_F_ACK, NLM_F_DUMP},
    packet_route::{
        RouteNetlinkMessage,
        tc::{TcHandle, TcMessage},
    },
    sys::{
        AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
    },
};

use crate::sys::netlink::{Kernel, Message, messages};

/// Hears of every change of an interface, and of its addresses.
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
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
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
        let mut is_used = false;
        kernel.ask(request, NLM_F_DUMP, |_filter| is_used = true)?;
        if is_used {
            return Ok(());
        }
    }
    let mut qdisc = TcMessage::with_index(index);
    qdisc.header.parent = TcHandle::CLSACT;
    let request = RouteNetlinkMessage::DelQueueDiscipline(qdisc);
    kernel.ask(request, NLM_F_ACK, |_| {})
}

/// The number of the interface that this message says is gone.
///
/// A bridge's port that leaves it is announced in the same way, as of the family `AF_BRIDGE`.
fn gone_link(message: Message<'_>) -> Option<u32> {
    let (family, index) = (message.payload.first()?, message.payload.get(4..8)?);
    let is_gone = message.kind == libc::RTM_DELLINK && i32::from(*family) == libc::AF_UNSPEC;
    is_gone.then_some(u32::from_ne_bytes(index.try_into().ok()?))
}

#[cfg(test)]
mod tests;
