//! What the target is told of a connection before its first byte.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rustix::net::{SendFlags, send};
use tokio::{io::Interest, net::TcpStream};

use super::Origin;
use crate::{
    config::SendHeaders,
    proxy_header::{Ends, Fields, Transport, encode},
    sys::tcp::unread,
};

/// The header for a connection or datagrams of this origin, of which a front end has said this.
pub fn header(send: &SendHeaders, transport: Transport, origin: Origin, known: &Fields) -> Vec<u8> {
    let Origin {
        client,
        destination,
    } = origin;
    let ends = Ends {
        source: client,
        destination,
    };
    let fields = &send.fields;
    let chosen = Fields {
        unique_id: known.unique_id.clone().filter(|_| fields.unique_id),
        authority: known.authority.clone().filter(|_| fields.authority),
        alpn: known.alpn.clone().filter(|_| fields.alpn),
        tls: known.tls.clone().filter(|_| fields.tls),
    };
    encode(send.version, transport, ends, &chosen)
}

/// Sends `header` to a target that has just been connected. It waits for the first payload, to go in
/// one segment with it, if there already is some from `client`.
pub async fn send_header(
    target: &TcpStream,
    client: BorrowedFd<'_>,
    header: &[u8],
) -> io::Result<()> {
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if unread(client)? > 0 {
        // Until the next write, and for 200 ms at most.
        flags |= SendFlags::MORE;
    }
    let mut rest = header;
    while !rest.is_empty() {
        let write = || Ok(send(target.as_fd(), rest, flags)?);
        let sent = target.async_io(Interest::WRITABLE, write).await?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Makes names for connections, none of them twice.
#[derive(Debug)]
pub struct UniqueIds {
    /// Tells this daemon from others, and from what it was before it was started again.
    daemon: u64,
    next: AtomicU64,
}

impl Default for UniqueIds {
    fn default() -> Self {
        Self {
            daemon: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(0),
        }
    }
}

impl UniqueIds {
    /// The next name, in letters and digits.
    pub fn make(&self) -> Vec<u8> {
        let number = self.next.fetch_add(1, Relaxed);
        format!("{:016x}{number:08x}", self.daemon).into_bytes()
    }
}
