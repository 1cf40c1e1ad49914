//! Requests to the kernel's network configuration, from where nothing can be awaited.
//!
//! Reads no more of a message than how long it is and what kind.

use std::{io, iter};

use rtnetlink::{
    packet_core::{NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage},
    packet_route::RouteNetlinkMessage,
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

/// A socket that waits for its answers.
pub struct Kernel(Socket);

impl Kernel {
    /// Of the network namespace of the thread that asks.
    pub fn connect() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request, and shows `each` thing that the kernel answers with. The flags must ask for
    /// an acknowledgement or a dump: these tell the end.
    pub fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        loop {
            let (datagram, _kernel) = self.0.recv_from_full()?;
            for message in messages(&datagram) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return message.result(),
                    _ => each(message),
                }
            }
        }
    }
}

/// One message of those in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `RTM_` and a word.
    pub kind: u16,
    /// What follows the header.
    pub payload: &'a [u8],
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

/// The messages of a datagram; it ends where a length in it is wrong.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
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

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
