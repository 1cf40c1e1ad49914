//! How clients come to the proxies, and what these are told of it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Setting {
    /// Clients come by themselves.
    Direct,
    /// A load balancer says who each client is, in a PROXY header of version 1. The target sees the
    /// client's address and port.
    Balanced,
    /// They come by themselves, also with datagrams, to one port or to one of a range. A kernel
    /// program for a range is asked about everybody's connections, so each proxy is alone.
    Ports,
}

impl Setting {
    /// What a client of a proxy says first, if anything. Each is another client.
    pub(crate) fn greet(self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Direct | Self::Ports => Ok(()),
            Self::Balanced => {
                let (client, port) = (CLIENT, next_port());
                let front = stream.peer_addr()?;
                let line = format!(
                    "PROXY TCP4 {client} {} {port} {}\r\n",
                    front.ip(),
                    front.port()
                );
                stream.write_all(line.as_bytes())
            }
        }
    }
}

/// What has to be brought back here when it is sent to a client of a load balancer, as lines of
/// `ip`. PacketPony does so by itself.
pub(crate) fn way_back(targets: impl Iterator<Item = SocketAddr>) -> String {
    let mut lines = format!("route add local default dev lo table {TABLE}\n");
    for target in targets {
        let (ip, port) = (target.ip(), target.port());
        let _infallible = writeln!(
            lines,
            "rule add from {ip} ipproto tcp sport {port} iif lo table {TABLE}"
        );
    }
    lines
}

/// One that no other client has now, nor had a while ago.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    FIRST_PORT + NEXT.fetch_add(1, Relaxed) % (u16::MAX - FIRST_PORT)
}

/// An address that is nobody's here.
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const FIRST_PORT: u16 = 1024;
const TABLE: u32 = 123;
