//! Which interfaces there are, and through which of them clients come.
//!
//! Sees the network namespace of the thread that asks.

use std::io;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};

use super::error::StartError;

/// One network interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// The numbers of the XDP programs that are attached to it.
    pub(super) programs: Vec<u32>,
    kind: Kind,
    is_up: bool,
}

/// What matters about an interface to the guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Packets arrive here as Ethernet frames, and nowhere else before.
    Entrance,
    /// What arrives here has arrived at another interface before, and was seen there: a bridge, a
    /// bond, a VLAN and their like.
    Stacked,
    /// Only local programs are here.
    Loopback,
    /// Packets have no Ethernet header here: a tunnel.
    NotEthernet,
}

/// All interfaces of this network namespace.
pub(super) async fn list() -> io::Result<Vec<Interface>> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let links = handle.link().get().execute().try_collect::<Vec<_>>().await;
    connection.abort();
    let links = links.map_err(io::Error::other)?;
    Ok(links.iter().filter_map(Interface::read).collect())
}

/// Those through which clients can come, each packet through one of them only.
pub(super) fn facing_clients(present: &[Interface]) -> impl Iterator<Item = &Interface> {
    let is_wanted = |interface: &&Interface| interface.is_up && interface.kind == Kind::Entrance;
    present.iter().filter(is_wanted)
}

/// The interface of this name. What the user names is attached to if the guard can read there.
pub(super) fn named<'a>(name: &str, present: &'a [Interface]) -> Result<&'a Interface, StartError> {
    let Some(interface) = present.iter().find(|interface| interface.name == name) else {
        let present: Vec<&str> = present
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        return Err(StartError::UnknownInterface {
            name: name.to_owned(),
            present: present.join(", "),
        });
    };
    match interface.kind {
        Kind::NotEthernet => Err(StartError::NotEthernet {
            name: name.to_owned(),
        }),
        Kind::Entrance | Kind::Stacked | Kind::Loopback => Ok(interface),
    }
}

impl Interface {
    #[cfg(test)]
    pub(super) fn for_test(name: &str) -> Self {
        Self {
            index: 1,
            name: name.to_owned(),
            programs: Vec::new(),
            kind: Kind::Entrance,
            is_up: true,
        }
    }

    fn read(link: &LinkMessage) -> Option<Self> {
        let name = link
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })?;
        Some(Self {
            index: link.header.index,
            name,
            programs: xdp_programs(link).collect(),
            kind: Kind::of(link),
            is_up: link.header.flags.contains(LinkFlags::Up),
        })
    }
}

impl Kind {
    fn of(link: &LinkMessage) -> Self {
        if link.header.flags.contains(LinkFlags::Loopback) {
            return Self::Loopback;
        }
        if link.header.link_layer_type != LinkLayerType::Ether {
            return Self::NotEthernet;
        }
        match link_kind(link) {
            Some(InfoKind::Bridge | InfoKind::Bond | InfoKind::Team | InfoKind::Vrf) => {
                Self::Stacked
            }
            Some(
                InfoKind::Vlan
                | InfoKind::MacVlan
                | InfoKind::MacVtap
                | InfoKind::IpVlan
                | InfoKind::IpVtap,
            ) if lower_is_here(link) => Self::Stacked,
            _ => Self::Entrance,
        }
    }
}

fn xdp_programs(link: &LinkMessage) -> impl Iterator<Item = u32> {
    let xdp = link
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
    xdp.flatten().filter_map(|xdp| match xdp {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    })
}

fn link_kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
    infos.flatten().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// Whether the interface below this one is in the same network namespace, and so seen by us.
fn lower_is_here(link: &LinkMessage) -> bool {
    let in_other_namespace =
        |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkNetNsId(_));
    !link.attributes.iter().any(in_other_namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, kind: Option<InfoKind>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.link_layer_type = LinkLayerType::Ether;
        link.header.flags = LinkFlags::Up;
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        if let Some(kind) = kind {
            link.attributes
                .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        }
        link
    }

    fn chosen(links: &[LinkMessage]) -> Vec<String> {
        let present: Vec<_> = links.iter().filter_map(Interface::read).collect();
        facing_clients(&present)
            .map(|interface| interface.name.clone())
            .collect()
    }

    #[test]
    fn chooses_every_interface_that_is_up_but_loopback() {
        let mut lo = link("lo", None);
        lo.header.link_layer_type = LinkLayerType::Loopback;
        lo.header.flags = LinkFlags::Up | LinkFlags::Loopback;
        let mut down = link("eth1", None);
        down.header.flags = LinkFlags::empty();
        let links = [
            lo,
            link("eth0", None),
            down,
            link("veth0", Some(InfoKind::Veth)),
        ];
        assert_eq!(chosen(&links), ["eth0", "veth0"]);
    }

    #[test]
    fn leaves_out_what_would_see_a_packet_a_second_time() {
        let links = [
            link("eth0", None),
            link("eth0.5", Some(InfoKind::Vlan)),
            link("br0", Some(InfoKind::Bridge)),
            link("bond0", Some(InfoKind::Bond)),
            link("mac0", Some(InfoKind::MacVlan)),
        ];
        assert_eq!(chosen(&links), ["eth0"]);
    }

    #[test]
    fn takes_a_macvlan_whose_lower_interface_is_elsewhere() {
        let mut mac = link("eth0", Some(InfoKind::MacVlan));
        mac.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(chosen(&[mac]), ["eth0"]);
    }

    #[test]
    fn leaves_out_tunnels_and_refuses_one_that_is_named() {
        let mut wg = link("wg0", Some(InfoKind::Wireguard));
        wg.header.link_layer_type = LinkLayerType::None;
        assert!(chosen(std::slice::from_ref(&wg)).is_empty());
        let present = [Interface::read(&wg).unwrap()];
        let error = named("wg0", &present).unwrap_err();
        assert!(matches!(error, StartError::NotEthernet { .. }), "{error}");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_that_there_are() {
        let present = [Interface::read(&link("eth0", None)).unwrap()];
        assert_eq!(named("eth0", &present).unwrap(), &present[0]);
        let error = named("eht0", &present).unwrap_err().to_string();
        assert!(
            error.contains("eht0") && error.contains("there are eth0"),
            "{error}"
        );
    }
}
