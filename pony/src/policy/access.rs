//! Who may come in: allowlist, denylist, and who is exempt from the limits.
//!
//! What always holds: the denylist wins; an empty allowlist admits nobody; being exempt admits
//! nobody by itself. The families are apart: `::/0` says nothing about IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Access, IpNet};

/// How the limits apply to a client that may come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Limited,
    /// Counted, never limited.
    Exempt,
}

/// The access lists of one listener. Asking takes the logarithm of their length.
pub(super) struct AccessList {
    allow: Nets,
    deny: Nets,
    exempt: Nets,
}

impl AccessList {
    pub(super) fn new(access: &Access) -> Self {
        Self {
            allow: Nets::new(&access.allow),
            deny: Nets::new(&access.deny),
            exempt: Nets::new(&access.exempt),
        }
    }

    /// `None` if `client` may not come in. An IPv4 client is never in its mapped form here.
    pub(super) fn standing(&self, client: IpAddr) -> Option<Standing> {
        if self.deny.contains(client) || !self.allow.contains(client) {
            return None;
        }
        if self.exempt.contains(client) {
            return Some(Standing::Exempt);
        }
        Some(Standing::Limited)
    }
}

/// A set of addresses. Asking takes the logarithm of its length.
pub struct Nets {
    v4: Ranges<Ipv4Addr>,
    v6: Ranges<Ipv6Addr>,
}

impl Nets {
    /// All that these prefixes cover. The families are apart: `::/0` has no IPv4 address.
    pub fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network(), net.broadcast())),
                IpNet::V6(net) => v6.push((net.network(), net.broadcast())),
            }
        }
        Self {
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
        }
    }

    /// Whether it has this address, which is not an IPv4 one in its mapped form.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip),
            IpAddr::V6(ip) => self.v6.contains(ip),
        }
    }
}

/// First and last addresses, in ascending order, no two overlapping.
struct Ranges<A>(Box<[(A, A)]>);

impl<A: Copy + Ord> Ranges<A> {
    fn new(mut ranges: Vec<(A, A)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let overlaps = next.0 <= kept.1;
            if overlaps {
                kept.1 = kept.1.max(next.1);
            }
            overlaps
        });
        Self(ranges.into_boxed_slice())
    }

    fn contains(&self, ip: A) -> bool {
        let begun = self.0.partition_point(|(first, _)| *first <= ip);
        match self.0[..begun].last() {
            Some((_, last)) => ip <= *last,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
