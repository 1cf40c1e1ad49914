//! What may be used once only: names of listeners, and addresses to listen on.
//!
//! Addresses are compared as the kernel compares them when it binds, not as text. TCP and UDP never
//! meet. A wildcard IPv6 socket leaves IPv4 to those that have the port there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::config::address::{Host, HostPort};
use crate::config::model::Protocol;
use crate::config::node::NodeId;
use crate::config::problem::Complaint;
use crate::config::reader::Entry;

/// Whose address it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// The listener of this index.
    Listener(usize),
    Metrics,
}

#[derive(Debug)]
struct Socket<'a> {
    owner: Owner,
    host: Host,
    entry: Entry<'a>,
}

/// All names and addresses of a file.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    names: HashMap<String, NodeId>,
    /// By protocol and port: only there can two addresses meet.
    sockets: BTreeMap<(Protocol, u16), Vec<Socket<'a>>>,
}

impl<'a> Places<'a> {
    /// Returns `name` if no listener before has it.
    pub(super) fn claim_name(&mut self, name: String, entry: &Entry<'_>) -> Option<String> {
        if let Some(first) = self.names.get(&name) {
            let complaint =
                Complaint::new("is the name of another listener", "write a unique name");
            entry.error_beside(*first, complaint);
            return None;
        }
        self.names.insert(name.clone(), entry.node.id);
        Some(name)
    }

    /// Notes that `owner` listens at `address`, which stands at `entry`.
    pub(super) fn add(
        &mut self,
        owner: Owner,
        protocol: Protocol,
        address: &HostPort,
        entry: Entry<'a>,
    ) {
        let (host, port) = address.place();
        // Port 0 is another port for each.
        if port != 0 {
            self.sockets
                .entry((protocol, port))
                .or_default()
                .push(Socket { owner, host, entry });
        }
    }

    /// Reports addresses that cannot be bound together. Returns the indices of the listeners whose
    /// IPv6 socket must leave IPv4 alone.
    pub(super) fn check(mut self) -> BTreeSet<usize> {
        let mut v6_only = BTreeSet::new();
        for sockets in self.sockets.values_mut() {
            sockets.sort_by_key(|socket| socket.entry.node.id);
            for (index, later) in sockets.iter().enumerate() {
                for earlier in &sockets[..index] {
                    v6_only.extend(compare(earlier, later));
                }
            }
        }
        v6_only
    }
}

/// What two sockets of one protocol and port are to each other.
enum Meeting {
    Apart,
    Same,
    /// One is every address of its family, the other one of them.
    Covered,
    /// The one that is named is the IPv6 wildcard, the other is IPv4.
    Families(Wildcard),
}

enum Wildcard {
    Earlier,
    Later,
}

fn meeting(earlier: &Host, later: &Host) -> Meeting {
    let (Host::Ip(a), Host::Ip(b)) = (earlier, later) else {
        // What a name stands for is known when it is bound.
        return if earlier == later {
            Meeting::Same
        } else {
            Meeting::Apart
        };
    };
    if a == b {
        return Meeting::Same;
    }
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V4(_)) if a.is_unspecified() => {
            Meeting::Families(Wildcard::Earlier)
        }
        (IpAddr::V4(_), IpAddr::V6(b)) if b.is_unspecified() => Meeting::Families(Wildcard::Later),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Meeting::Apart,
        _ if a.is_unspecified() || b.is_unspecified() => Meeting::Covered,
        _ => Meeting::Apart,
    }
}

/// Reports a conflict, or returns the listener that has to leave IPv4 to the other.
fn compare(earlier: &Socket<'_>, later: &Socket<'_>) -> Option<usize> {
    let (wildcard, v4) = match meeting(&earlier.host, &later.host) {
        Meeting::Apart => return None,
        Meeting::Same => return conflict(earlier, later, "is already the address of"),
        Meeting::Covered => return conflict(earlier, later, "overlaps with"),
        Meeting::Families(Wildcard::Earlier) => (earlier, later),
        Meeting::Families(Wildcard::Later) => (later, earlier),
    };
    let Owner::Listener(index) = wildcard.owner else {
        // The metrics endpoint always takes both families.
        return conflict(earlier, later, "overlaps with");
    };
    if !is_unspecified(&v4.host) {
        wildcard.entry.warn(Complaint::new(
            format!(
                "serves IPv6 only: {} has the port on one IPv4 address",
                v4.entry.path
            ),
            "add listeners for the other IPv4 addresses, if clients use them",
        ));
    }
    Some(index)
}

fn conflict(earlier: &Socket<'_>, later: &Socket<'_>, relation: &str) -> Option<usize> {
    let message = format!("{relation} {}", earlier.entry.path);
    later.entry.error_beside(
        earlier.entry.node.id,
        Complaint::new(message, "use another port or address"),
    );
    None
}

fn is_unspecified(host: &Host) -> bool {
    matches!(host, Host::Ip(ip) if ip.is_unspecified())
}
