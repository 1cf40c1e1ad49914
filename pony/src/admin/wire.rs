//! What is answered, as JSON. Keys are only ever added.

use std::{net::IpAddr, time::SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use pony_common::time::Nanos;
use serde::{Deserialize, Serialize};

/// One ban.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BanLine {
    /// The address that was named.
    pub address: IpAddr,
    /// Whom that concerns: the address, or the IPv6 prefixes that it stands for.
    pub clients: Vec<String>,
    /// `None`: on all listeners.
    pub listener: Option<String>,
    /// When it ends, in RFC 3339. `None`: not by itself.
    pub until: Option<String>,
    /// How long it goes on. `None`: it does not end by itself.
    pub remaining_seconds: Option<u64>,
}

/// The answer to `GET /bans`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Bans {
    pub bans: Vec<BanLine>,
    /// How many there may be.
    pub max_bans: usize,
}

/// The answer to `PUT /bans`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Began {
    pub ban: BanLine,
    /// How many connections and sessions it has ended.
    pub ended: usize,
    /// What the operator should know about it.
    pub warnings: Vec<String>,
}

/// The answer to `DELETE /bans/ADDRESS`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Lifted {
    pub lifted: Vec<BanLine>,
}

/// The date on which a moment falls, in RFC 3339. `None` for one that does not come.
pub(super) fn date(moment: Nanos, now: Nanos) -> Option<String> {
    if moment == Nanos::MAX {
        return None;
    }
    let left = moment.saturating_sub(now).to_duration();
    let date = DateTime::<Utc>::from(SystemTime::now().checked_add(left)?);
    Some(date.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// How long it is until then, in seconds that have begun. `None` for a moment that does not come.
pub(super) fn seconds_left(moment: Nanos, now: Nanos) -> Option<u64> {
    let left = moment.saturating_sub(now);
    (moment != Nanos::MAX).then(|| left.0.div_ceil(1_000_000_000))
}
