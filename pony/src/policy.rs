//! Who may use a listener, and how much of it.
//!
//! Owns the access lists, the limits, and the ledger of what every client has used. It knows no
//! sockets, reads no clock and logs nothing: it is told who asks and when, and answers at once.
//!
//! The order of the questions, for a connection as for a session: bans, denylist and allowlist,
//! attempts, total, per client, room in the bandwidth window. The first that says no is the
//! reason. Everything is per listener, but for bans, which may be for all of them.
//!
//! What holds at every moment:
//!
//! - Every attempt that passes the access lists counts as an attempt, also a refused one.
//! - Bans do not concern exempt clients, as nothing does in the kernel that concerns a whole IPv6
//!   prefix. Nobody else who is banned holds a [`Permit`] that has not been told to end.
//! - Bytes that were lent are within the limit, and nobody is refused as long as they lie unused.
//! - The open counts are exact: a [`Permit`] is counted once and given back once.
//! - Memory is bounded whatever the number of sources; `ledger` says how.
//! - With `log_only` no limit refuses anything, and with exempt clients neither; both are counted.

mod access;
mod bans;
mod credit;
mod ledger;
mod permit;
mod roll;
mod total;
mod usage;

use std::{net::IpAddr, sync::Arc};

use pony_common::{addr::Addr16, layout::block::Scope, limit::Action, reason::Reason, time::Nanos};
use tokio::sync::Notify;

pub use self::{
    access::Nets,
    bans::{Ban, BanList, Full, Suspect},
    credit::Credit,
    permit::Permit,
};
use self::{
    access::{AccessList, Standing},
    ledger::{Ledger, Opened},
    roll::Roll,
    total::{Enforcement, Total},
    usage::ClientLimits,
};
use crate::config::{Access, Limits, Protocol};

/// The rules of one listener, and what its clients have used.
pub struct Policy {
    access: AccessList,
    action: Action,
    ipv6_prefix: u8,
    total: Total,
    /// `None` if no limit concerns single clients.
    ledger: Option<Ledger>,
    /// Who wants to know that a client is free again.
    freed: Option<Arc<Notify>>,
    bans: Arc<BanList>,
    /// The number of the listener in the list of bans.
    number: u32,
    roll: Arc<Roll>,
}

/// A client whose next connection or session a limit would refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// An IPv4 address, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
    pub reason: Reason,
    /// What of it may be refused before it comes here.
    pub scope: Scope,
    /// When it may be held back no longer although nothing happens. Not before this.
    pub until: Nanos,
}

impl Policy {
    /// Remembers up to about `max_clients` clients (about 700 bytes each), none if no limit
    /// concerns single clients.
    pub fn new(access: &Access, limits: &Limits, max_clients: usize) -> Self {
        Self {
            access: AccessList::new(access),
            action: limits.action,
            ipv6_prefix: limits.ipv6_prefix,
            total: Total::new(limits.max_total_connections),
            ledger: ClientLimits::new(limits).map(|limits| Ledger::new(limits, max_clients)),
            freed: None,
            bans: Arc::new(BanList::new(0)),
            number: 0,
            roll: Arc::new(Roll::new()),
        }
    }

    /// Notifies `freed` whenever a client that was held back for its open connections has closed
    /// one, and so is held back no longer.
    #[must_use]
    pub fn notify_freed(self, freed: Arc<Notify>) -> Self {
        Self {
            freed: Some(freed),
            ..self
        }
    }

    /// Refuses the clients of this list, to which the listener has this number.
    #[must_use]
    pub fn banning(self, bans: Arc<BanList>, number: u32) -> Self {
        Self {
            bans,
            number,
            ..self
        }
    }

    /// Decides about a new connection or session of `client`.
    pub fn admit(self: &Arc<Self>, client: IpAddr, now: Nanos) -> Result<Permit, Reason> {
        let client = client.to_canonical();
        let standing = self.access.standing(client);
        let address = Addr16::from(client);
        let can_be_banned = standing != Some(Standing::Exempt);
        if can_be_banned && self.is_banned(address, now) {
            return Err(Reason::Banned);
        }
        let standing = standing.ok_or(Reason::Acl)?;
        let mut permit = self.admit_by_limits(client, standing, now)?;
        if can_be_banned {
            permit.place = Some(self.roll.enter(self.client(address)));
            // Whoever was banned since the first look was not on the roll to be told.
            if self.is_banned(address, now) {
                return Err(Reason::Banned);
            }
        }
        Ok(permit)
    }

    /// Takes a place for a front end whose PROXY header is not there yet. It is among those of its
    /// own address, and of the listener, for as long; it is no attempt, and needs to be on no list.
    pub fn wait(self: &Arc<Self>, front_end: IpAddr) -> Result<Permit, Reason> {
        let front_end = front_end.to_canonical();
        let standing = self.access.standing(front_end).unwrap_or(Standing::Limited);
        self.open(front_end, standing, |ledger, key, enforcement| {
            ledger.wait(key, &self.total, enforcement)
        })
    }

    fn admit_by_limits(
        self: &Arc<Self>,
        client: IpAddr,
        standing: Standing,
        now: Nanos,
    ) -> Result<Permit, Reason> {
        self.open(client, standing, |ledger, key, enforcement| {
            ledger.admit(key, &self.total, enforcement, now)
        })
    }

    /// Takes a place for `client`. `ask` asks the ledger for it, if there is one.
    fn open(
        self: &Arc<Self>,
        client: IpAddr,
        standing: Standing,
        ask: impl FnOnce(&Ledger, Addr16, Enforcement) -> Result<Opened, Reason>,
    ) -> Result<Permit, Reason> {
        let enforcement = self.enforcement(standing);
        let (client, violation) = match &self.ledger {
            Some(ledger) => {
                let key = self.client(client.into());
                let (client, violation) = ask(ledger, key, enforcement)?;
                (Some((key, client)), violation)
            }
            None => (None, self.total.open(None, enforcement)?),
        };
        Ok(Permit {
            policy: Arc::clone(self),
            client,
            standing,
            violation,
            place: None,
        })
    }

    /// Tells everything that the client of this address has open to end, and answers how much that
    /// is. To be called when it has been banned.
    pub fn end(&self, address: Addr16) -> usize {
        self.roll.end(self.client(address))
    }

    /// The bans that concern the client of this address.
    pub fn bans_of(&self, address: Addr16, now: Nanos) -> Vec<Ban> {
        self.bans.of(&self.suspect(address), now)
    }

    /// Whether neither limits nor bans concern this address.
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        self.access.standing(address.to_canonical()) == Some(Standing::Exempt)
    }

    /// How many bits of an IPv6 address make a client.
    pub fn ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix
    }

    /// Up to `max` clients that are held back now: a new connection or session of theirs would be
    /// refused, so it may as well be refused before it comes here. Takes time only for clients
    /// that a limit has held back.
    ///
    /// A UDP client with a session is not among them: its packets are not all of a new one. Nor is
    /// anybody for whom what it has sent by UDP is the reason: that a datagram decides.
    pub fn held_back(&self, protocol: Protocol, now: Nanos, max: usize) -> Vec<Held> {
        let mut held = Vec::new();
        let is_enforced = self.enforcement(Standing::Limited) == Enforcement::Refuse;
        let Some(ledger) = self.ledger.as_ref().filter(|_| is_enforced && max > 0) else {
            return held;
        };
        let is_full = self.total.is_full_now();
        ledger.refused_clients(now, |client, reason, open| {
            // A listener that is full comes before all but the attempts.
            if is_full && reason != Reason::AttemptLimit {
                return true;
            }
            // A ban comes before all limits, and others tell of it.
            if self.is_banned(client, now) {
                return true;
            }
            let scope = match (protocol, reason) {
                (Protocol::Tcp, _) => Some(Scope::New),
                (Protocol::Udp, Reason::BandwidthLimit) => None,
                (Protocol::Udp, _) => (open == 0).then_some(Scope::All),
            };
            held.extend(scope.map(|scope| Held {
                client,
                reason,
                scope,
                until: ledger.limits().forgiven(reason, now),
            }));
            held.len() < max
        });
        held
    }

    /// Counts `attempts` of `client` (an address or a prefix, as in [`Held`]) that were refused
    /// before they came here. They count as if they had been refused here.
    pub fn count_refused(&self, client: Addr16, attempts: u64, now: Nanos) {
        if let Some(ledger) = &self.ledger {
            ledger.count_refused(self.client(client), attempts, now);
        }
    }

    /// Lists a client whose datagram the kernel guard has dropped for its bandwidth as limited.
    pub fn note_limited(&self, client: Addr16) {
        if let Some(ledger) = &self.ledger {
            ledger.list_limited(client);
        }
    }

    /// How many clients are over one of their limits now. Takes time for each of these only.
    ///
    /// With `log_only` it counts those that would be held back.
    pub fn limited_clients(&self, now: Nanos) -> usize {
        self.ledger.as_ref().map_or(0, |ledger| ledger.limited(now))
    }

    /// How many clients are remembered.
    pub fn known_clients(&self) -> usize {
        self.ledger.as_ref().map_or(0, Ledger::len)
    }

    /// How many connections or sessions are open.
    pub fn open_now(&self) -> u32 {
        self.total.open_now()
    }

    /// Forgets clients of which nothing counts any more. To be called about once a second.
    pub fn forget_idle(&self, now: Nanos) {
        if let Some(ledger) = &self.ledger {
            ledger.forget_idle(now);
        }
    }

    fn is_banned(&self, address: Addr16, now: Nanos) -> bool {
        self.bans.holds(&self.suspect(address), now)
    }

    fn suspect(&self, address: Addr16) -> Suspect {
        Suspect {
            address,
            ipv6_prefix: self.ipv6_prefix,
            listener: self.number,
        }
    }

    fn client(&self, address: Addr16) -> Addr16 {
        address.prefix(self.ipv6_prefix)
    }

    fn enforcement(&self, standing: Standing) -> Enforcement {
        match (standing, self.action) {
            (Standing::Exempt, _) => Enforcement::Ignore,
            (Standing::Limited, Action::LogOnly) => Enforcement::Report,
            (Standing::Limited, Action::Drop | Action::Throttle) => Enforcement::Refuse,
        }
    }
}

#[cfg(test)]
mod tests;
