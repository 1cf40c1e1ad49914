//! `LOCALS`: the addresses of this machine.
//!
//! What comes in at an interface is not always for this machine: a router, or a host of virtual
//! machines, has others' packets pass. A listener on every address is only on its own.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::IpAddr,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
};
use futures_util::TryStreamExt as _;
use pony_common::{
    addr::Addr16,
    layout::locals::{LocalsRow, place},
    names,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use tracing::warn;

use super::{error::StartError, object};

/// See the module.
pub(super) struct Locals {
    map: Array<MapData, LocalsRow>,
    /// What is in the map, by place, but for empty elements.
    rows: HashMap<u32, LocalsRow>,
    /// Whether it has been said that not all have room.
    is_full: bool,
}

impl Locals {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        Ok(Self {
            map: object::take(ebpf, names::LOCALS)?,
            rows: HashMap::new(),
            is_full: false,
        })
    }

    /// Makes these the addresses. One that has no room is left to the daemon.
    pub(super) fn update(&mut self, addresses: &BTreeSet<Addr16>) -> Result<(), MapError> {
        let (rows, left) = rows(addresses);
        if left > 0 && !self.is_full {
            warn!(
                addresses = left,
                "Kernel guard has no room for some of this machine's addresses: on these the \
                 daemon alone judges who comes to a listener on all addresses"
            );
        }
        self.is_full = left > 0;
        let gone = self.rows.keys().filter(|place| !rows.contains_key(place));
        for place in gone {
            self.map.set(*place, LocalsRow::default(), 0)?;
        }
        for (place, row) in &rows {
            if self.rows.get(place) != Some(row) {
                self.map.set(*place, row, 0)?;
            }
        }
        self.rows = rows;
        Ok(())
    }
}

/// The elements of the map that are not empty, by place, and how many addresses have no room.
fn rows(addresses: &BTreeSet<Addr16>) -> (HashMap<u32, LocalsRow>, usize) {
    let mut rows: HashMap<u32, LocalsRow> = HashMap::new();
    let mut left = 0;
    for addr in addresses {
        let row = rows.entry(place(addr)).or_default();
        match row.and(addr) {
            Some(more) => *row = more,
            None => left += 1,
        }
    }
    (rows, left)
}

/// The addresses of all interfaces of this network namespace.
pub(super) async fn list() -> io::Result<BTreeSet<Addr16>> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let addresses = handle.address().get().execute();
    let addresses = addresses.try_collect::<Vec<_>>().await;
    connection.abort();
    let addresses = addresses.map_err(io::Error::other)?;
    Ok(addresses.iter().filter_map(own).collect())
}

/// The address that is this machine's own, and not its peer's.
fn own(message: &AddressMessage) -> Option<Addr16> {
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
    Some(ip.into())
}

#[cfg(test)]
mod tests {
    use pony_common::layout::locals::WAYS;

    use super::*;
    use crate::kernel::lab;

    #[test]
    fn addresses_that_share_a_place_have_room_there_as_long_as_there_is_some() {
        let all = (0..1 << 20).map(|number| Addr16::from_v4(u32::to_be_bytes(number)));
        let sharing = all.filter(|addr| place(addr) == 7).take(WAYS + 2);
        let sharing: BTreeSet<_> = sharing.collect();
        let (rows, left) = rows(&sharing);
        assert_eq!((rows.len(), left), (1, 2));
        let has_room = sharing.iter().filter(|addr| rows[&7].has(addr));
        assert_eq!(has_room.count(), WAYS);
    }

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
            .map(|addr| addr.to_ip().to_string())
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
