//! Proxies in front of us: who may say for whom it connects, and what a connection begins with.
//!
//! What holds: of a connection's bytes only the header is taken, so whatever relays the rest begins
//! with the payload; nothing of a stranger's is looked at; a front end that is slow keeps only itself
//! waiting, as one of the connections that its own address may have.

mod reading;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
};

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::reading::{Problem, Reading};
use super::service::{Service, canonical};
use crate::{
    config::{self, AcceptHeaders, Access, Host, HostPort, IpNet, Limits, SendHeaders},
    observe::{HeaderResult, Party, Passage},
    policy::Nets,
    proxy_header::{Fields, Header, HeaderError, Transport, Version},
    target::{self, DestinationError, Destinations, Origin},
};

/// Who may be a front end of a listener, and what it has to do.
pub struct FrontEnds {
    trusted: Nets,
    pub(super) rules: AcceptHeaders,
    /// Where headers may send clients, if they have a say.
    destinations: Option<Destinations>,
    /// What the source of a packet may do.
    access: Access,
    limits: Limits,
}

/// What may come from an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// A header.
    FrontEnd,
    /// What clients send.
    Client,
    /// Nothing.
    Stranger,
}

impl FrontEnds {
    /// Those of a listener, if it accepts headers.
    pub fn of(listener: &config::Listener) -> Option<Self> {
        let rules = listener.proxy_protocol.accept.clone()?;
        let trusted = &rules.trusted;
        let (access, limits) = if rules.is_required {
            (Access::default(), Limits::default())
        } else {
            (listener.access.clone(), listener.limits.clone())
        };
        Some(Self {
            trusted: Nets::new(trusted),
            access: Access {
                allow: [&access.allow[..], trusted].concat(),
                deny: without(access.deny, trusted),
                exempt: [&access.exempt[..], trusted].concat(),
            },
            limits,
            rules,
            destinations: Destinations::of(listener),
        })
    }

    /// What may be said of a packet by its source alone: front ends may come in, and no rule about
    /// clients concerns them; others may if they may be clients, and by their rules.
    pub fn rules_for_packets(&self) -> (&Access, &Limits) {
        (&self.access, &self.limits)
    }

    /// Whether this header's client may go where it is to go. `here` is where the header came to.
    pub(super) fn check(&self, header: &Header, here: SocketAddr) -> Result<(), DestinationError> {
        match (&self.destinations, header.ends) {
            (Some(destinations), Some(ends)) => destinations.check(ends.into(), here),
            _ => Ok(()),
        }
    }

    pub(super) fn judge(&self, address: IpAddr) -> Peer {
        if self.trusted.contains(address) {
            Peer::FrontEnd
        } else if self.rules.is_required {
            Peer::Stranger
        } else {
            Peer::Client
        }
    }
}

/// What is left of `nets` without those that are also `taken`.
fn without(nets: Vec<IpNet>, taken: &[IpNet]) -> Vec<IpNet> {
    let minus = |net: IpNet, taken: &IpNet| {
        if taken.contains(&net) {
            return Vec::new();
        }
        if !net.contains(taken) {
            return vec![net];
        }
        // Halves again and again, down to it.
        (net.prefix_len() + 1..=taken.prefix_len())
            .filter_map(|len| sibling(taken, len))
            .collect()
    };
    // Net by net: of a million, few are touched.
    let rest = |net: IpNet| {
        let touching = taken
            .iter()
            .filter(|taken| taken.contains(&net) || net.contains(*taken));
        touching.fold(vec![net], |rest, taken| {
            rest.into_iter().flat_map(|net| minus(net, taken)).collect()
        })
    };
    nets.into_iter().flat_map(rest).collect()
}

/// The prefix of this length that differs from that of `net` in its last bit alone.
fn sibling(net: &IpNet, len: u8) -> Option<IpNet> {
    let address = match net.network() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1 << (32 - len)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1 << (128 - len)).into(),
    };
    Some(IpNet::new(address, len).ok()?.trunc())
}

/// For whom a connection is.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    pub(super) party: Party,
    pub(super) origin: Origin,
    /// The proxy that said so, if one did.
    pub(super) front_end: Option<SocketAddr>,
    pub(super) fields: Fields,
}

impl From<Origin> for Introduction {
    fn from(origin: Origin) -> Self {
        Self {
            party: Party::Client,
            origin,
            front_end: None,
            fields: Fields::default(),
        }
    }
}

impl Introduction {
    /// Of a connection that speaks for itself.
    pub(super) fn own(socket: &TcpStream, client: SocketAddr) -> Self {
        // Who has no address any more has gone; connecting will notice.
        let destination = socket.local_addr().map_or(client, canonical);
        Self::from(Origin {
            client,
            destination,
        })
    }

    /// Of what begins with this header, sent by `front_end`. `None` if it names no client.
    pub(super) fn by(header: Header, front_end: SocketAddr) -> Option<Self> {
        let ends = header.ends?;
        // Version 1 has no other form for a front end's own connection.
        let is_own = ends.source == front_end;
        Some(Self {
            party: if is_own {
                Party::FrontEnd
            } else {
                Party::Client
            },
            origin: ends.into(),
            front_end: Some(front_end),
            fields: header.fields,
        })
    }

    /// Where the header says it is to go, if that counts.
    pub(super) fn named_target(&self, front_ends: Option<&FrontEnds>) -> Option<HostPort> {
        let is_named = self.front_end.is_some();
        let counts = front_ends.is_some_and(|front_ends| front_ends.destinations.is_some());
        let destination = self.origin.destination;
        (is_named && counts).then(|| HostPort {
            host: Host::Ip(destination.ip()),
            port: destination.port(),
        })
    }

    /// What the target is told of it.
    pub(super) fn header(&self, send: &SendHeaders, transport: Transport) -> Vec<u8> {
        target::header(send, transport, self.origin, &self.fields)
    }

    /// What the logs say of it.
    pub(super) fn passage(&self) -> Option<Arc<Passage>> {
        let unique_id = self.fields.shown_id();
        if self.front_end.is_none() && unique_id.is_none() {
            return None;
        }
        Some(Arc::new(Passage {
            front_end: self.front_end,
            destination: self.origin.destination,
            unique_id,
            authority: self.fields.authority.clone(),
        }))
    }
}

/// Takes the header from a trusted front end's connection, and answers for whom it is. `None` if it
/// is to be closed, which is counted and logged.
pub(super) async fn introduce(
    service: &Service,
    front_ends: &FrontEnds,
    socket: &TcpStream,
    front_end: SocketAddr,
    cut: &CancellationToken,
) -> Option<Introduction> {
    let mut reading = Reading::default();
    let read = match reading.attempt(socket.as_fd()) {
        Ok(None) => {
            reading
                .wait(service, front_ends, socket, front_end, cut)
                .await?
        }
        Ok(Some(header)) => Ok(header),
        Err(problem) => Err(problem),
    };
    let read = read.and_then(|header| {
        let here = socket.local_addr().map(canonical);
        let here = here.map_err(|_broken| Problem::Closed)?;
        front_ends.check(&header, here)?;
        Ok(header)
    });
    let recorder = &service.recorder;
    let own = || Introduction::own(socket, front_end);
    let is_required = front_ends.rules.is_required;
    match read {
        Ok(header) => {
            recorder.header_accepted(front_end, result_of(&header));
            Some(
                Introduction::by(header, front_end).unwrap_or_else(|| Introduction {
                    party: Party::FrontEnd,
                    ..own()
                }),
            )
        }
        Err(problem) if !is_required && !reading.has_begun() && problem.is_silence() => {
            recorder.header(HeaderResult::None);
            Some(own())
        }
        // A look whether somebody listens is nothing to write about.
        Err(Problem::Closed) if reading.is_empty() => {
            recorder.header_awaited_in_vain(front_end);
            None
        }
        Err(problem) => {
            recorder.header_refused(front_end, problem.result(), &problem);
            None
        }
    }
}

/// What is counted for a header that counts.
pub(super) fn result_of(header: &Header) -> HeaderResult {
    match (header.ends, header.version) {
        (None, _) => HeaderResult::Own,
        (Some(_), Version::V1) => HeaderResult::V1,
        (Some(_), Version::V2) => HeaderResult::V2,
    }
}

/// What is counted for one that does not.
pub(super) const fn result_of_error(error: HeaderError) -> HeaderResult {
    match error {
        HeaderError::Missing => HeaderResult::Missing,
        HeaderError::Malformed(_) => HeaderResult::Malformed,
        HeaderError::Checksum => HeaderResult::Checksum,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        // Close together, so that they overlap.
        (0_u32..256, 24_u8..=32).prop_map(|(host, len)| {
            let address = Ipv4Addr::from_bits(0xc000_0200 | host);
            IpNet::new(address.into(), len).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_away_is_gone_and_nothing_else(
            nets in vec(net(), 0..6),
            taken in vec(net(), 0..6),
        ) {
            let rest = without(nets.clone(), &taken);
            for host in 0..256 {
                let address = IpAddr::from(Ipv4Addr::from_bits(0xc000_0200 | host));
                let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(is_in(&rest), is_in(&nets) && !is_in(&taken), "{}", address);
            }
        }
    }

    #[test]
    fn a_prefix_of_ipv6_is_taken_from_all_addresses() {
        let nets = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        let rest = without(nets("::/0"), &nets("2001:db8::1/128"));
        assert_eq!(rest.len(), 128);
        let is_in = |text: &str| Nets::new(&rest).contains(text.parse().unwrap());
        assert!(is_in("2001:db8::") && is_in("::1") && !is_in("2001:db8::1"));
    }
}
