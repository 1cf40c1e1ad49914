//! Listeners on many addresses and ports: `sk_ports`, which brings their clients to their sockets.
//!
//! This is no acceleration: without the program such a listener has one port. So nothing is tried
//! here that could be done without; what is missing is an error.
//!
//! What always holds: an established connection and a connected socket are never touched; what a
//! listener of ours has on a single port stays with it; when [`Ports`] is dropped, or the process
//! dies, the program is gone.

mod error;

use std::{fs::File, net::SocketAddr, os::fd::BorrowedFd};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, SockMap},
    programs::{ProgramError, SkLookup},
};
use ipnet::IpNet;
use pony_common::{
    addr::{Addr16, Be16},
    layout::{
        listener::{ANY_V4, ANY_V6, ListenerKey, Transport},
        span::Span,
    },
    names,
};

pub use self::error::PortsError;
use super::{error::StartError, object};
use crate::config::{self, Protocol};

/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(ports_object)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("PONY_PORTS_OBJECT")));
/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(not(ports_object))]
const EMBEDDED: Option<&[u8]> = None;

/// A listener on many addresses and ports.
#[derive(Clone, Copy, Debug)]
pub struct Spanning<'a> {
    /// Its protocol.
    pub protocol: Protocol,
    /// What it is reached at.
    pub span: &'a config::Span,
    /// Whether all of IPv6 leaves IPv4 alone.
    pub v6_only: bool,
    /// Its socket, or one of a group that shares a port. It listens, or is for datagrams.
    pub socket: BorrowedFd<'a>,
}

/// A listening socket on one port.
#[derive(Clone, Copy, Debug)]
pub struct Single {
    /// Its protocol.
    pub protocol: Protocol,
    /// What it is bound to.
    pub addr: SocketAddr,
    /// Whether all of IPv6 leaves IPv4 alone.
    pub v6_only: bool,
}

/// The program at work. Dropping it ends that.
pub struct Ports {
    _ebpf: Ebpf,
}

impl Ports {
    /// Loads the program and attaches it to the network namespace of this thread.
    pub fn start(listeners: &[Spanning<'_>], singles: &[Single]) -> Result<Self, PortsError> {
        let spans = spans(listeners);
        let holes: Vec<_> = singles.iter().flat_map(keys).collect();
        let mut ebpf = load(spans.len(), holes.len(), listeners.len())?;
        let refused = |source| StartError::map(names::SPANS, source);
        let mut map: Array<_, Span> = object::find(&mut ebpf, names::SPANS)?;
        for (number, span) in (0..).zip(spans) {
            map.set(number, span, 0).map_err(refused)?;
        }
        let refused = |source| StartError::map(names::HOLES, source);
        let mut map: HashMap<_, ListenerKey, u8> = object::find(&mut ebpf, names::HOLES)?;
        for key in holes {
            map.insert(key, 0, 0).map_err(refused)?;
        }
        let refused = |source| StartError::map(names::LISTENING, source);
        let mut map: SockMap<_> = object::find(&mut ebpf, names::LISTENING)?;
        for (number, listener) in (0..).zip(listeners) {
            map.set(number, &listener.socket, 0).map_err(refused)?;
        }
        attach(verify(&mut ebpf)?)?;
        Ok(Self { _ebpf: ebpf })
    }
}

/// Whether the kernel would have the program. Attaches nothing.
pub fn try_out() -> Result<(), PortsError> {
    verify(&mut load(1, 0, 1)?)?;
    Ok(())
}

/// Makes the maps, for so many elements.
fn load(spans: usize, holes: usize, listening: usize) -> Result<Ebpf, PortsError> {
    let object = EMBEDDED.ok_or(PortsError::NoObject)?;
    let count = size(spans);
    let ebpf = EbpfLoader::new()
        .map_max_entries(names::SPANS, count)
        .map_max_entries(names::HOLES, size(holes))
        .map_max_entries(names::LISTENING, size(listening))
        .override_global(names::SPAN_COUNT, &count, true)
        .load(object)
        .map_err(|source| StartError::refused("the maps of sk_ports", source.into()))?;
    Ok(ebpf)
}

/// Has the kernel check the program.
fn verify(ebpf: &mut Ebpf) -> Result<&mut SkLookup, PortsError> {
    let name = names::SK_PORTS;
    let refused = |source: ProgramError| StartError::refused(name, source.into());
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| object::missing(name))?;
    let program: &mut SkLookup = program.try_into().map_err(refused)?;
    program
        .load()
        .map_err(|source| StartError::from_verifier(name, source))?;
    Ok(program)
}

fn attach(program: &mut SkLookup) -> Result<(), PortsError> {
    let namespace = File::open(NAMESPACE).map_err(|source| PortsError::Namespace {
        path: NAMESPACE,
        source,
    })?;
    // The link is kept with the program, and nowhere else: it ends with the process.
    program
        .attach(namespace)
        .map_err(|source| StartError::refused(names::SK_PORTS, source.into()))?;
    Ok(())
}

/// The elements of `SPANS`; a listener's socket has its place in the slice.
fn spans(listeners: &[Spanning<'_>]) -> Vec<Span> {
    let spans = (0..).zip(listeners).flat_map(|(socket, listener)| {
        let transport = transport(listener.protocol);
        let ports = (*listener.span.ports.start(), *listener.span.ports.end());
        let span = move |net: IpNet| {
            let prefix = (net.addr().into(), net.prefix_len());
            Span::new(transport, prefix, ports, socket)
        };
        listener.span.nets(listener.v6_only).map(span)
    });
    spans.collect()
}

/// The keys under which what is sent to a socket finds it.
fn keys(single: &Single) -> impl Iterator<Item = ListenerKey> {
    let addr = Addr16::from(single.addr.ip());
    let port = Be16::from_host(single.addr.port());
    let with_v4 = addr == ANY_V6 && !single.v6_only;
    let addrs = [Some(addr), with_v4.then_some(ANY_V4)];
    let transport = transport(single.protocol);
    let keys = addrs.map(|addr| addr.map(|addr| ListenerKey::new(transport, addr, port)));
    keys.into_iter().flatten()
}

const fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

/// The size of a map for this many elements. The kernel makes no map for none.
fn size(elements: usize) -> u32 {
    u32::try_from(elements).unwrap_or(u32::MAX).max(1)
}

const NAMESPACE: &str = "/proc/thread-self/ns/net";

#[cfg(test)]
mod tests;
