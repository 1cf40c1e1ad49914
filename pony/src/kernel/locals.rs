//! `LOCALS`: the addresses of this machine.
//!
//! What comes in at an interface is not always for this machine: a router, or a host of virtual
//! machines, has others' packets pass. A listener on every address is only on its own.

use std::{collections::HashSet, io, net::IpAddr};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use futures_util::TryStreamExt as _;
use pony_common::{addr::Addr16, layout::listener::MAX_LOCALS, names};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use tracing::warn;

use super::{error::StartError, object};

/// See the module.
pub(super) struct Locals {
    map: HashMap<MapData, [u8; 16], u8>,
    /// What is in the map.
    present: HashSet<[u8; 16]>,
    /// Whether it has been said that not all have room.
    is_full: bool,
}

impl Locals {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        Ok(Self {
            map: object::take(ebpf, names::LOCALS)?,
            present: HashSet::new(),
            is_full: false,
        })
    }

    /// Makes these the addresses. One that cannot be taken in is left to the daemon.
    pub(super) fn update(&mut self, addresses: &HashSet<[u8; 16]>) {
        let Self {
            map,
            present,
            is_full,
        } = self;
        present.retain(|addr| addresses.contains(addr) || map.remove(addr).is_err());
        let mut left = 0_usize;
        for addr in addresses {
            if present.contains(addr) {
                continue;
            }
            match map.insert(addr, 0, 0) {
                Ok(()) => drop(present.insert(*addr)),
                Err(_) => left += 1,
            }
        }
        if left > 0 && !*is_full {
            warn!(
                addresses = left,
                room = MAX_LOCALS,
                "Kernel guard has no room for some of this machine's addresses: on these the \
                 daemon alone judges who comes to a listener on all addresses"
            );
        }
        *is_full = left > 0;
    }
}

/// The addresses of all interfaces of this network namespace.
pub(super) async fn list() -> io::Result<HashSet<[u8; 16]>> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let addresses = handle.address().get().execute();
    let addresses = addresses.try_collect::<Vec<_>>().await;
    connection.abort();
    let addresses = addresses.map_err(io::Error::other)?;
    Ok(addresses.iter().filter_map(own).collect())
}

/// The address that is this machine's own, and not its peer's.
fn own(message: &AddressMessage) -> Option<[u8; 16]> {
    let attributes = || message.attributes.iter();
    let local = attributes().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    // IPv6 has the local one only where there is a peer.
    let address = || {
        attributes().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    };
    let ip: IpAddr = local.or_else(address)?;
    Some(Addr16::from(ip).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::lab;

    #[tokio::test]
    async fn the_addresses_are_those_of_all_interfaces_and_not_their_peers() {
        let Some(_namespace) = lab::namespace() else {
            return;
        };
        for line in [
            "ip link set lo up",
            "ip link add a0 type veth peer b0",
            "ip address add 192.0.2.1 peer 198.51.100.1 dev a0",
            "ip address add 2001:db8::1/64 dev a0 nodad",
            "ip address add 2001:db8:1::1 peer 2001:db8:2::1 dev b0",
        ] {
            lab::run(line);
        }
        let found = list().await.unwrap();
        let mut found: Vec<_> = found
            .into_iter()
            .map(|addr| Addr16(addr).to_ip().to_string())
            .collect();
        found.sort();
        let expected = [
            "127.0.0.1",
            "192.0.2.1",
            "2001:db8:1::1",
            "2001:db8::1",
            "::1",
        ];
        assert_eq!(found, expected);
    }
}
