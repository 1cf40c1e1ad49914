//! What may be used once only: names of listeners, and addresses to listen on.
//!
//! Addresses are compared as the kernel compares them when it binds, not as text. TCP and UDP never
//! meet. A wildcard IPv6 socket leaves IPv4 to those that have the port there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::config::address::{Host, HostPort};
use crate::config::model::{Family, Protocol};
use crate::config::node::NodeId;
use crate::config::problem::Complaint;
use crate::config::reader::Entry;
use crate::config::span::Span;

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
    family: Option<Family>,
    host: Host,
    entry: Entry<'a>,
}

/// All names and addresses of a file.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    names: HashMap<String, NodeId>,
    /// By protocol and port: only there can two addresses meet.
    sockets: BTreeMap<(Protocol, u16), Vec<Socket<'a>>>,
    spans: Vec<Spanning<'a>>,
}

/// A listener on many ports. What one on a single port has is not among them: that one wins.
#[derive(Debug)]
struct Spanning<'a> {
    protocol: Protocol,
    family: Option<Family>,
    span: Span,
    entry: Entry<'a>,
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
        (protocol, family): (Protocol, Option<Family>),
        address: &HostPort,
        entry: Entry<'a>,
    ) {
        let (host, port) = address.place();
        // Port 0 is another port for each.
        if port != 0 {
            self.sockets
                .entry((protocol, port))
                .or_default()
                .push(Socket {
                    owner,
                    family,
                    host,
                    entry,
                });
        }
    }

    /// Notes that a listener has this span, which stands at `entry`.
    pub(super) fn add_span(
        &mut self,
        (protocol, family): (Protocol, Option<Family>),
        span: &Span,
        entry: Entry<'a>,
    ) {
        self.spans.push(Spanning {
            protocol,
            family,
            span: span.clone(),
            entry,
        });
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
        for (index, later) in self.spans.iter().enumerate() {
            if let Some(earlier) = self.spans[..index].iter().find(|it| it.meets(later)) {
                report(&earlier.entry, &later.entry, "overlaps with", SPANS);
            }
        }
        v6_only
    }
}

impl Spanning<'_> {
    /// Whether a client's connection could be for both.
    fn meets(&self, other: &Self) -> bool {
        let v6_only = |it: &Self| it.family == Some(Family::V6);
        let theirs = (&other.span, v6_only(other));
        self.protocol == other.protocol && self.span.overlaps(v6_only(self), theirs)
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

fn meeting(earlier: &Socket<'_>, later: &Socket<'_>) -> Meeting {
    let (Host::Ip(a), Host::Ip(b)) = (&earlier.host, &later.host) else {
        // What a name stands for is known when it is bound, but never an address of another family.
        return if earlier.host == later.host && may_share(earlier.family, later.family) {
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

/// Whether sockets of these families may have an address in common.
fn may_share(a: Option<Family>, b: Option<Family>) -> bool {
    a.is_none() || b.is_none() || a == b
}

/// Reports a conflict, or returns the listener that has to leave IPv4 to the other.
fn compare(earlier: &Socket<'_>, later: &Socket<'_>) -> Option<usize> {
    let (wildcard, v4) = match meeting(earlier, later) {
        Meeting::Apart => return None,
        Meeting::Same => return conflict(earlier, later, "is already the address of"),
        Meeting::Covered => return conflict(earlier, later, "overlaps with"),
        Meeting::Families(Wildcard::Earlier) => (earlier, later),
        Meeting::Families(Wildcard::Later) => (later, earlier),
    };
    if wildcard.family == Some(Family::V6) {
        return None;
    }
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
    report(
        &earlier.entry,
        &later.entry,
        relation,
        "use another port or address",
    );
    None
}

fn report(earlier: &Entry<'_>, later: &Entry<'_>, relation: &str, remedy: &str) {
    let message = format!("{relation} {}", earlier.path);
    later.error_beside(earlier.node.id, Complaint::new(message, remedy));
}

const SPANS: &str = "use other ports, another prefix, or a protocol of one family such as tcp6";

fn is_unspecified(host: &Host) -> bool {
    matches!(host, Host::Ip(ip) if ip.is_unspecified())
}
