//! The way back: how the answers of targets on loopback reach us that they send to a client's
//! address.
//!
//! The machine would send them away, to the client. A rule for what comes from the targets' addresses
//! and ports looks into a table of its own, where every address is local. Nothing else on the machine
//! is routed otherwise than before: what comes from loopback goes nowhere else.
//!
//! Rules bear a protocol number of ours and the table of the instance, so those that a killed daemon
//! left behind are found, and those of another instance are not touched.

mod lookup;

use std::{
    collections::HashSet,
    fmt::{self, Display},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use ipnet::IpNet;
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, Parseable as _},
    packet_route::{
        AddressFamily, IpProtocol, RouteNetlinkMessage,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};

pub use self::lookup::{Answers, answers};
use crate::{
    config::{Destination, Listener, Protocol, Target},
    sys::netlink::Kernel,
};

/// Why the answers cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// Two daemons would take away each other's rules.
    #[error(
        "preserve_source: another pony with the server.name {instance:?} runs in this network; give one of them another name, or write `routing: manual`"
    )]
    Taken {
        /// The name that both have.
        instance: String,
    },
    /// The kernel does not take a rule or route.
    #[error("preserve_source: cannot route the answers of {} back: {source}{hint}", shown(*.target))]
    Refused {
        /// The target's address, or where it is.
        target: IpNet,
        /// What may help.
        hint: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What comes from here is answers to clients.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WayBack {
    /// Where targets are; often one address.
    pub net: IpNet,
    /// The targets' ports.
    pub ports: Ports,
    /// The only protocol that is meant.
    pub protocol: Protocol,
}

impl WayBack {
    /// From those of these destinations that are on loopback.
    pub fn from_loopback(destination: &Destination, protocol: Protocol) -> Option<Self> {
        let of = |loopback: IpNet| match destination.net {
            net if loopback.contains(&net) => Some(net),
            net => net.contains(&loopback).then_some(loopback),
        };
        let (first, last) = (*destination.ports.start(), *destination.ports.end());
        Some(Self {
            net: LOOPBACK_NETS.into_iter().find_map(of)?,
            ports: Ports::between(first, last),
            protocol,
        })
    }
}

/// Ports in a row.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last. Not before the first.
    pub last: u16,
}

impl Ports {
    /// Every port.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// Those that a target of this listener answers from. `bound` is the port of its socket.
    pub fn of(listener: &Listener, target: &Target, bound: u16) -> Self {
        let (first, last) = match (target.port, &listener.span) {
            (Some(port), _) => (port, port),
            // Whatever clients come for.
            (None, _) if listener.transparent => return Self::ALL,
            (None, Some(span)) => (*span.ports.start(), *span.ports.end()),
            (None, None) => (bound, bound),
        };
        Self::between(first, last)
    }

    fn between(first: u16, last: u16) -> Self {
        if last == u16::MAX {
            // The kernel's rules have no range with this port (`fib_rule_port_range_valid`).
            return Self::ALL;
        }
        Self { first, last }
    }
}

impl Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// The ways back of one instance. Dropping it takes them away.
#[derive(Debug)]
pub struct Routes {
    table: u32,
    /// Nobody else in this network namespace has this name while it is open, and the kernel closes
    /// it whatever happens to us.
    _claim: UnixDatagram,
}

impl Routes {
    /// Makes these ways, and takes away what an earlier run of the `instance` has left.
    pub fn make(instance: &str, ways: &HashSet<WayBack>) -> Result<Self, RoutingError> {
        let table = table(instance);
        let claim = claim(table).map_err(|_taken| RoutingError::Taken {
            instance: instance.to_owned(),
        })?;
        // From here on, what has been made is taken away if the rest fails.
        let routes = Self {
            table,
            _claim: claim,
        };
        for any in FAMILIES {
            let is_of = |way: &&WayBack| way.net.addr().is_ipv4() == any.is_ipv4();
            let ways: HashSet<WayBack> = ways.iter().filter(is_of).copied().collect();
            let target = ways.iter().next().map_or(any.into(), |way| way.net);
            let made = Kernel::connect().and_then(|kernel| routes.update(kernel, any, &ways));
            made.map_err(|source| RoutingError::Refused {
                target,
                hint: hint(&source),
                source,
            })?;
        }
        Ok(routes)
    }

    /// Whether a daemon of this name has made its ways in this network, or is about to.
    pub fn are_held(instance: &str) -> bool {
        let connect = || UnixDatagram::unbound()?.connect_addr(&place(table(instance))?);
        connect().is_ok()
    }

    /// The number of the table in which every address is local.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// Brings the rules of a family in line with the ways that are wanted.
    fn update(&self, mut kernel: Kernel, any: IpAddr, ways: &HashSet<WayBack>) -> io::Result<()> {
        let present = match self.rules(&mut kernel, any) {
            // A machine without this family.
            Err(_) if ways.is_empty() => return Ok(()),
            present => present?,
        };
        if !ways.is_empty() {
            let route = RouteNetlinkMessage::NewRoute(route(self.table, any));
            kernel.ask(route, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, |_| {})?;
        }
        let mut there = HashSet::new();
        for rule in &present {
            let way = read(rule).filter(|way| ways.contains(way) && !there.contains(way));
            match way {
                Some(way) => drop(there.insert(way)),
                None => remove(&mut kernel, RouteNetlinkMessage::DelRule(rule.clone()))?,
            }
        }
        for way in ways.difference(&there) {
            let rule = RouteNetlinkMessage::NewRule(rule(self.table, *way));
            kernel.ask(rule, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |_| {})?;
        }
        if ways.is_empty() && !present.is_empty() {
            remove(
                &mut kernel,
                RouteNetlinkMessage::DelRoute(route(self.table, any)),
            )?;
        }
        Ok(())
    }

    /// Our rules of a family, whoever made them.
    fn rules(&self, kernel: &mut Kernel, any: IpAddr) -> io::Result<Vec<RuleMessage>> {
        let mut request = RuleMessage::default();
        request.header.family = family(any);
        let mut rules = Vec::new();
        kernel.ask(
            RouteNetlinkMessage::GetRule(request),
            NLM_F_DUMP,
            |message| {
                // One that cannot be read is not one of ours.
                rules.extend(RuleMessage::parse(message.payload).ok());
            },
        )?;
        rules.retain(|rule| {
            let has = |attribute: RuleAttribute| rule.attributes.contains(&attribute);
            has(RuleAttribute::Protocol(OURS)) && has(RuleAttribute::Table(self.table))
        });
        Ok(rules)
    }
}

/// `from NET iif lo ipproto PROTOCOL sport PORTS lookup TABLE`
fn rule(table: u32, way: WayBack) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family(way.net.addr());
    rule.header.src_len = way.net.prefix_len();
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Source(way.net.addr()),
        RuleAttribute::Iifname(LOOPBACK.to_owned()),
        RuleAttribute::IpProtocol(number(way.protocol)),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(OURS),
    ];
    if way.ports != Ports::ALL {
        let range = RulePortRange {
            start: way.ports.first,
            end: way.ports.last,
        };
        rule.attributes.push(RuleAttribute::SourcePortRange(range));
    }
    rule
}

/// `local default dev lo`
fn route(table: u32, any: IpAddr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family(any);
    route.header.kind = RouteType::Local;
    route.header.protocol = OURS;
    route.header.scope = match any {
        IpAddr::V4(_) => RouteScope::Host,
        IpAddr::V6(_) => RouteScope::Universe,
    };
    route.attributes = vec![
        RouteAttribute::Table(table),
        RouteAttribute::Oif(LOOPBACK_INDEX),
    ];
    route
}

impl Drop for Routes {
    fn drop(&mut self) {
        for any in FAMILIES {
            let removed =
                Kernel::connect().and_then(|kernel| self.update(kernel, any, &HashSet::new()));
            if let Err(error) = removed {
                tracing::warn!(%error, table = self.table, "Cannot take back the rules for targets' answers");
            }
        }
    }
}

/// The way back that a rule of ours is for.
fn read(rule: &RuleMessage) -> Option<WayBack> {
    let (mut ip, mut ports, mut protocol) = (None, None, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Source(source) => ip = Some(*source),
            RuleAttribute::SourcePortRange(range) => {
                ports = Some(Ports {
                    first: range.start,
                    last: range.end,
                });
            }
            RuleAttribute::IpProtocol(IpProtocol::Tcp) => protocol = Some(Protocol::Tcp),
            RuleAttribute::IpProtocol(IpProtocol::Udp) => protocol = Some(Protocol::Udp),
            _ => {}
        }
    }
    Some(WayBack {
        net: IpNet::new(ip?, rule.header.src_len).ok()?,
        ports: ports.unwrap_or(Ports::ALL),
        protocol: protocol?,
    })
}

/// Somebody else may have been faster.
fn remove(kernel: &mut Kernel, request: RouteNetlinkMessage) -> io::Result<()> {
    match kernel.ask(request, NLM_F_ACK, |_| {}) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(()),
        result => result,
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; run pony as root or with CAP_NET_ADMIN, or set up the routes yourself and write `routing: manual`"
        }
        Some(libc::ENETDOWN | libc::ENODEV) => "; is the interface lo up?",
        _ => "",
    }
}

fn claim(table: u32) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&place(table)?)
}

fn place(table: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("packetpony-routes-{table}"))
}

/// The table of an instance: a number that no other is likely to have (FNV-1a).
fn table(instance: &str) -> u32 {
    let hash = instance.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    0x5000_0000 | (hash & 0x0fff_ffff)
}

/// An address is shown without the length of its prefix.
pub fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(protocol: Protocol) -> IpProtocol {
    match protocol {
        Protocol::Tcp => IpProtocol::Tcp,
        Protocol::Udp => IpProtocol::Udp,
    }
}

const FAMILIES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

/// Who made a rule or route, as `ip rule` and `ip route` show it. Nobody else in iproute2's
/// `rt_protos` has this number.
const OURS: RouteProtocol = RouteProtocol::Other(80);

/// Ahead of the rules that people write: ours are about answers that would go astray otherwise.
const PRIORITY: u32 = 80;

const LOOPBACK: &str = "lo";

/// What only programs on this machine can have.
const LOOPBACK_NETS: [IpNet; 2] = [
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

/// The same in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK_INDEX: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_for_which_way_back_it_is() {
        for (net, protocol, last) in [
            ("127.0.0.1/32", Protocol::Tcp, 443),
            ("127.0.0.0/8", Protocol::Tcp, 443),
            ("::1/128", Protocol::Udp, 499),
            ("127.0.0.1/32", Protocol::Tcp, u16::MAX),
        ] {
            let way = WayBack {
                net: net.parse().unwrap(),
                ports: Ports::between(443, last),
                protocol,
            };
            assert_eq!(read(&rule(table("a"), way)), Some(way));
        }
    }

    #[test]
    fn of_a_destination_what_is_on_loopback_has_a_way_back() {
        let rows = [
            ("127.0.0.1/32", Some("127.0.0.1/32")),
            ("127.1.0.0/16", Some("127.1.0.0/16")),
            ("127.0.0.0/8", Some("127.0.0.0/8")),
            ("0.0.0.0/0", Some("127.0.0.0/8")),
            ("::/0", Some("::1/128")),
            ("10.0.0.0/8", None),
            ("2001:db8::/32", None),
        ];
        for (net, expected) in rows {
            let destination = Destination {
                net: net.parse().unwrap(),
                ports: 8000..=9000,
            };
            let way = WayBack::from_loopback(&destination, Protocol::Tcp);
            assert_eq!(
                way.map(|way| way.net.to_string()).as_deref(),
                expected,
                "{net}"
            );
            if let Some(way) = way {
                assert_eq!(way.ports.to_string(), "8000-9000");
            }
        }
    }

    #[test]
    fn instances_have_tables_of_their_own() {
        let tables: HashSet<u32> = (0..1000).map(|n| table(&format!("pony-{n}"))).collect();
        assert_eq!(tables.len(), 1000);
        // The kernel's own tables have one byte.
        assert!(tables.iter().all(|table| *table > 255));
    }
}
