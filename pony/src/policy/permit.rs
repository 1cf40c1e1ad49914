//! What an admitted connection or session holds: its place, and the right to move bytes.

use std::{fmt, future::pending, sync::Arc};

use pony_common::{
    addr::Addr16,
    limit::{BandwidthLimit, Charge, DatagramCharge},
    reason::Reason,
    time::Nanos,
};

use super::{
    Policy,
    access::Standing,
    credit::Credit,
    ledger::{Client, Ledger, lock},
    roll::Place,
    usage::Usage,
};

/// The place of one connection or session. Dropping it gives the place back, once.
#[must_use = "dropping a permit gives its place back"]
pub struct Permit {
    pub(super) policy: Arc<Policy>,
    /// `None` if no limit concerns single clients.
    pub(super) client: Option<(Addr16, Arc<Client>)>,
    pub(super) standing: Standing,
    pub(super) violation: Option<Reason>,
    /// `None` if its client cannot be banned.
    pub(super) place: Option<Place>,
}

impl Permit {
    /// The limit for which it would have been refused, had the action not been `log_only`.
    pub fn violation(&self) -> Option<Reason> {
        self.violation
    }

    /// Whether its client has been banned since it came in. Nothing of it may move any more then.
    pub fn is_banned(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_over)
    }

    /// Waits until its client is banned.
    pub async fn banned(&self) {
        match &self.place {
            Some(place) => place.over().await,
            None => pending().await,
        }
    }

    /// Whether its bytes are counted. If not, [`Permit::charge`] grants everything unasked.
    pub fn is_metered(&self) -> bool {
        self.meter().is_some()
    }

    /// Asks for up to `want` bytes of a stream, in either direction; what is granted is counted.
    ///
    /// An exempt client is granted everything. With `log_only` too, and what is over the limit is
    /// a [`Charge::GrantOver`], to be counted and logged as [`Reason::BandwidthLimit`].
    ///
    /// As long as bytes are lent (see [`Credit`]), nobody is over the limit for their sake: they are
    /// called back, and whoever wants them has to wait for that moment.
    pub fn charge(&self, want: u64, now: Nanos) -> Charge {
        let Some(meter) = self.meter() else {
            return Charge::Grant(want);
        };
        if self.standing == Standing::Exempt {
            lock(meter.client).record(meter.limit, want, now);
            return Charge::Grant(want);
        }
        meter.ask(|usage| match usage.charge(meter.limit, want, now) {
            Some(charge) => (charge, !matches!(charge, Charge::Grant(_))),
            None => (Charge::Wait(RECALL_TIME), false),
        })
    }

    /// For moving bytes that are counted afterwards. Nothing is lent yet. `None` if its bytes are
    /// not counted.
    pub fn credit(&self) -> Option<Credit> {
        let meter = self.meter()?;
        let is_exempt = self.standing == Standing::Exempt;
        Some(Credit::new(
            Arc::clone(meter.client),
            *meter.limit,
            is_exempt,
        ))
    }

    /// Asks whether a datagram of `len` bytes may pass, in either direction; if so it is counted.
    ///
    /// An exempt client's always passes. With `log_only` too, and what is over the limit is
    /// a [`DatagramCharge::PassOver`], to be counted and logged as [`Reason::BandwidthLimit`].
    pub fn charge_datagram(&self, len: u64, now: Nanos) -> DatagramCharge {
        let Some(meter) = self.meter() else {
            return DatagramCharge::Pass;
        };
        if self.standing == Standing::Exempt {
            lock(meter.client).record(meter.limit, len, now);
            return DatagramCharge::Pass;
        }
        meter.ask(|usage| {
            let charge = usage.charge_datagram(meter.limit, len, now);
            (charge, charge != DatagramCharge::Pass)
        })
    }

    fn meter(&self) -> Option<Meter<'_>> {
        let (key, client) = self.client.as_ref()?;
        let ledger = self.policy.ledger.as_ref()?;
        let limit = ledger.limits().bandwidth.as_ref()?;
        Some(Meter {
            key: *key,
            client,
            ledger,
            limit,
        })
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.as_ref().map(|(key, _)| key.to_ip());
        f.debug_struct("Permit")
            .field("client", &client)
            .field("standing", &self.standing)
            .field("violation", &self.violation)
            .finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((key, _)) = &self.client
            && let Some(ledger) = &self.policy.ledger
            && ledger.close(*key)
            && let Some(freed) = &self.policy.freed
        {
            freed.notify_one();
        }
        self.policy.total.close();
    }
}

/// Where the bytes of a permit are counted.
struct Meter<'a> {
    key: Addr16,
    client: &'a Arc<Client>,
    ledger: &'a Ledger,
    limit: &'a BandwidthLimit,
}

impl Meter<'_> {
    /// Asks the client's usage. The second part of the answer is whether a limit was met.
    fn ask<T>(&self, question: impl FnOnce(&mut Usage) -> (T, bool)) -> T {
        let mut usage = lock(self.client);
        let (answer, is_limited) = question(&mut usage);
        let is_news = is_limited && !usage.is_listed;
        // The ledger locks its shard, and never after a client.
        drop(usage);
        if is_news {
            self.ledger.list_limited(self.key);
        }
        answer
    }
}

/// For whom bytes are called back asks again after this long. They come within less, as a rule.
const RECALL_TIME: Nanos = Nanos::from_millis(1);
