//! From what listeners are reached at to the entries of `LISTENERS`, `NETS` and `PORTS`.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use pony_common::{
    addr::{Addr16, Be16},
    layout::listener::{ANY_V4, ANY_V6, ListenerKey, ListenerRef, NetKey, PortEntry, Transport},
};

use super::{At, GuardListener};
use crate::config::{Protocol, Span};

/// The entries for some listeners. A listener's number is its place in the configuration.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) listeners: HashMap<ListenerKey, ListenerRef>,
    /// With the lengths of their keys.
    pub(super) nets: Vec<(u32, NetKey, ListenerRef)>,
    /// By place.
    pub(super) ports: HashMap<u32, PortEntry>,
}

impl Keys {
    /// The entries for these listeners, and for TCP sockets that the guard has to leave alone.
    ///
    /// A listener on all addresses of both families gets one entry per family, but leaves IPv4 to
    /// a listener that is there for IPv4 alone. What a listener has on a single port stays with it
    /// where another one has a span around it.
    pub(super) fn new(listeners: &[GuardListener<'_>], others: &[SocketAddr]) -> Self {
        let mut keys = Self::default();
        keys.add_sockets(&sockets(listeners));
        let spans = spans(listeners);
        if !spans.is_empty() {
            let others = others.iter().map(|addr| Socket {
                transport: Transport::Tcp,
                addr: *addr,
                v6_only: false,
                listener: ListenerRef::UNGUARDED,
            });
            keys.add_sockets(&others.collect::<Vec<_>>());
        }
        for (key, listener) in &keys.listeners {
            let port = keys.ports.entry(key.place()).or_default();
            *port = port.and(key.addr, *listener);
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            let spans = spans.iter().filter(|span| span.transport == transport);
            keys.add_spans(&spans.collect::<Vec<_>>());
        }
        keys
    }

    fn add_sockets(&mut self, sockets: &[Socket]) {
        for socket in sockets {
            let addr = socket.addr.ip();
            let listener = if addr.is_unspecified() {
                socket.listener.on_any_address()
            } else {
                socket.listener
            };
            let key = socket.key(addr.into());
            self.listeners.entry(key).or_insert(listener);
        }
        for socket in sockets {
            if Addr16::from(socket.addr.ip()) == ANY_V6 && !socket.v6_only {
                let listener = socket.listener.on_any_address();
                self.listeners.entry(socket.key(ANY_V4)).or_insert(listener);
            }
        }
    }

    /// Adds the spans of one protocol.
    fn add_spans(&mut self, spans: &[&Spanning<'_>]) {
        let ports = |spanning: &&Spanning<'_>| spanning.span.ports.clone();
        let starts = spans.iter().map(|it| u32::from(*ports(it).start()));
        let ends = spans.iter().map(|it| u32::from(*ports(it).end()) + 1);
        // Between two of these all ports are of the same spans.
        let borders: BTreeSet<_> = starts.chain(ends).collect();
        for (first, end) in borders.iter().zip(borders.iter().skip(1)) {
            let here = |it: &&&Spanning<'_>| {
                let ports = ports(it);
                u32::from(*ports.start()) <= *first && *end <= u32::from(*ports.end()) + 1
            };
            let spans: Vec<_> = spans.iter().filter(here).copied().collect();
            if let Some(any) = spans.first() {
                let place = |port| (any.transport, port);
                self.add_ports((*first..*end).map(place), &spans);
            }
        }
    }

    /// Adds ports that are all of the same spans.
    fn add_ports(
        &mut self,
        ports: impl Iterator<Item = (Transport, u32)>,
        spans: &[&Spanning<'_>],
    ) {
        let nets: Vec<_> = spans.iter().flat_map(|spanning| spanning.nets()).collect();
        let whole = nets.iter().try_fold(PortEntry::default(), |port, net| {
            let (net, listener) = *net;
            Some(port.and(single(net)?, listener))
        });
        let whole = whole.filter(|port| !port.is_ask());
        let mut group = None;
        for (transport, port) in ports {
            let Ok(port) = u16::try_from(port) else {
                continue;
            };
            let place = ListenerKey::new(transport, ANY_V6, Be16::from_host(port)).place();
            let is_free = !self.ports.contains_key(&place);
            let entry = whole.filter(|_| is_free).unwrap_or_else(|| {
                PortEntry::ask(*group.get_or_insert_with(|| self.add_group(&nets)))
            });
            self.ports.insert(place, entry);
        }
    }

    /// Adds a group of prefixes, and answers its number.
    fn add_group(&mut self, nets: &[(IpNet, ListenerRef)]) -> u32 {
        // As many groups as prefixes at most, and 0 is none.
        let group = u32::try_from(self.nets.len()).unwrap_or(u32::MAX >> 1) + 1;
        let keys = nets.iter().map(|(net, listener)| {
            let key = NetKey::new(group, net.addr().into());
            (key.prefix_bits(net.prefix_len()), key, *listener)
        });
        self.nets.extend(keys);
        group
    }
}

/// A listening socket with a port to itself.
struct Socket {
    transport: Transport,
    addr: SocketAddr,
    v6_only: bool,
    listener: ListenerRef,
}

impl Socket {
    fn key(&self, addr: Addr16) -> ListenerKey {
        ListenerKey::new(self.transport, addr, Be16::from_host(self.addr.port()))
    }
}

fn sockets(listeners: &[GuardListener<'_>]) -> Vec<Socket> {
    let socket = |(number, listener): (u32, &GuardListener<'_>)| match listener.at {
        At::Socket(addr) => Some(Socket {
            transport: transport(listener.rules.protocol),
            addr,
            v6_only: listener.v6_only,
            listener: ListenerRef::alone(number),
        }),
        At::Span(_) => None,
    };
    (0..).zip(listeners).filter_map(socket).collect()
}

/// A listener with many addresses and ports.
struct Spanning<'a> {
    transport: Transport,
    span: &'a Span,
    v6_only: bool,
    listener: ListenerRef,
}

impl Spanning<'_> {
    fn nets(&self) -> impl Iterator<Item = (IpNet, ListenerRef)> {
        let listener = |net: IpNet| match net.prefix_len() {
            0 => self.listener.on_any_address(),
            _ => self.listener,
        };
        let nets = self.span.nets(self.v6_only);
        nets.map(move |net| (net, listener(net)))
    }
}

fn spans<'a>(listeners: &[GuardListener<'a>]) -> Vec<Spanning<'a>> {
    let spanning = |(number, listener): (u32, &GuardListener<'a>)| match listener.at {
        At::Socket(_) => None,
        At::Span(span) => Some(Spanning {
            transport: transport(listener.rules.protocol),
            span,
            v6_only: listener.v6_only,
            listener: ListenerRef::shared(number),
        }),
    };
    (0..).zip(listeners).filter_map(spanning).collect()
}

/// The address that stands for a prefix in `PORTS`, where one does.
fn single(net: IpNet) -> Option<Addr16> {
    let is_one = net.prefix_len() == net.max_prefix_len();
    (is_one || net.prefix_len() == 0).then(|| IpAddr::into(net.addr()))
}

/// The protocol as the kernel programs have it.
pub(super) const fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

#[cfg(test)]
mod tests;
