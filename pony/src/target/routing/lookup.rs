//! Asking the kernel where it would send a packet: whether a target's answers come here.
//!
//! Asks about the effect and not about rules, so it does not matter who has set them up, and how.

use std::{
    io,
    net::{IpAddr, UdpSocket},
};

use rtnetlink::{
    packet_core::{NLM_F_ACK, Parseable as _},
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
};
use rustix::net::netdevice::index_to_name;

use super::{WayBack, bits, family, number};
use crate::sys::netlink::Kernel;

/// Where a target's answers to a client go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answers {
    /// To us.
    pub come_here: bool,
    /// The interface behind which the target is. `None`: it is on this machine.
    pub through: Option<String>,
}

/// Where the answers of the target to `client` go, or of the first one where several may be; `mark` is
/// that of the packets, or 0.
pub fn answers(way: WayBack, client: IpAddr, mark: u32) -> io::Result<Answers> {
    let mut kernel = Kernel::connect()?;
    let first = way.net.hosts().next().unwrap_or(way.net.addr());
    let target = route(&mut kernel, vec![destination(first)], first)?;
    let mut answer = vec![
        destination(client),
        RouteAttribute::Source(address(first)),
        RouteAttribute::IpProto(number(way.protocol).into()),
        RouteAttribute::Sport(way.ports.first),
        RouteAttribute::Mark(mark),
    ];
    let mut through = None;
    if !target.is_local {
        answer.push(RouteAttribute::Iif(target.interface));
        through = Some(index_to_name(
            UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?,
            target.interface,
        )?);
    }
    let come_here = match route(&mut kernel, answer, client) {
        Ok(answer) => answer.is_local,
        // What nobody routes does not come here either; nor does what a rule refuses.
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|errno| NO_ROUTE.contains(&errno)) =>
        {
            false
        }
        Err(error) => return Err(error),
    };
    Ok(Answers { come_here, through })
}

struct Route {
    is_local: bool,
    interface: u32,
}

/// The route of a packet to `to` with these attributes.
fn route(kernel: &mut Kernel, attributes: Vec<RouteAttribute>, to: IpAddr) -> io::Result<Route> {
    let mut request = RouteMessage::default();
    request.header.address_family = family(to);
    request.header.destination_prefix_length = bits(to);
    let has_source = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::Source(_));
    if attributes.iter().any(has_source) {
        request.header.source_prefix_length = bits(to);
    }
    request.attributes = attributes;
    let mut found = None;
    kernel.ask(
        RouteNetlinkMessage::GetRoute(request),
        NLM_F_ACK,
        |message| {
            found = RouteMessage::parse(message.payload).ok();
        },
    )?;
    let found = found.ok_or(io::ErrorKind::InvalidData)?;
    let interface = found
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
    Ok(Route {
        is_local: found.header.kind == RouteType::Local,
        interface: interface.unwrap_or_default(),
    })
}

fn destination(ip: IpAddr) -> RouteAttribute {
    RouteAttribute::Destination(address(ip))
}

fn address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

/// No route; `unreachable`, `prohibit` and `blackhole`.
const NO_ROUTE: [i32; 4] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
];
