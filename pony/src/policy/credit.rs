//! Bytes that one may move before they are counted.
//!
//! Whoever cannot ask for every piece is lent some of what its client may still use, and says
//! afterwards how much of that has moved. What is lent is kept free, so that it fits within the limit
//! whenever it moves; and when somebody else needs it, it is called back.
//!
//! What holds: all that was lent is either counted as used or given back, once.

use std::sync::Arc;

use pony_common::{limit::BandwidthLimit, time::Nanos};
use tokio_util::sync::CancellationToken;

use super::ledger::{Client, lock};

/// What one direction of a flow was lent. Dropping it gives back what has not moved.
pub struct Credit {
    client: Arc<Client>,
    limit: BandwidthLimit,
    is_exempt: bool,
    lent: u64,
    /// How much it was lent when it asked last.
    share: u64,
    recall: CancellationToken,
}

impl Credit {
    pub(super) fn new(client: Arc<Client>, limit: BandwidthLimit, is_exempt: bool) -> Self {
        Self {
            client,
            limit,
            is_exempt,
            lent: 0,
            share: LEAST / 2,
            recall: CancellationToken::new(),
        }
    }

    /// How many bytes may move.
    pub fn lent(&self) -> u64 {
        self.lent
    }

    /// Whether it is time to ask for more.
    pub fn is_low(&self) -> bool {
        self.lent <= self.share / 2
    }

    /// Asks for more if it is low: who comes back soon gets twice as much. False if the client is
    /// too near to its limit; what is lent still is, then.
    pub fn renew(&mut self, now: Nanos) -> bool {
        if !self.is_low() {
            return true;
        }
        if self.is_exempt {
            (self.lent, self.share) = (UNLIMITED, UNLIMITED);
            return true;
        }
        let most = self.share.saturating_mul(2).clamp(LEAST, MOST);
        let lent = lock(&self.client).lend(&self.limit, self.lent, most, now);
        let Some((lent, recall)) = lent else {
            return false;
        };
        (self.lent, self.share, self.recall) = (lent, lent, recall);
        true
    }

    /// Counts bytes that have moved, of those that were lent.
    pub fn spend(&mut self, bytes: u64, now: Nanos) {
        self.lent = self.lent.saturating_sub(bytes);
        let mut usage = lock(&self.client);
        if self.is_exempt {
            usage.record(&self.limit, bytes, now);
        } else {
            usage.spend(&self.limit, bytes, now);
        }
    }

    /// Gives back what has not moved, and will not.
    pub fn give_back(&mut self) {
        if !self.is_exempt {
            lock(&self.client).take_back(self.lent);
        }
        self.lent = 0;
        self.recall = CancellationToken::new();
    }

    /// Cancelled when what is lent is needed elsewhere.
    pub fn recall(&self) -> &CancellationToken {
        &self.recall
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Nobody is lent more than one of so many parts of what is left.
pub(super) const PARTS: u64 = 8;

/// Less than this is not worth lending: asking again and again would cost more than counting.
pub(super) const LEAST: u64 = 64 << 10;

/// The most that is lent at once: more than a conversation says in the tenth of a second after which
/// what it said is counted.
const MOST: u64 = 1 << 20;

/// More than anybody ever moves.
const UNLIMITED: u64 = u64::MAX / 8;
