//! What every client of a listener has used: a table of bounded size.
//!
//! It remembers clients and decides nothing but who is forgotten.
//!
//! What holds at every moment:
//!
//! - A client with something open is in `active` and is never forgotten.
//! - A client with nothing open is in `idle`. It is forgotten when nothing of what it did, nor of
//!   what those did that became idle before it, can be held against them any more; and before
//!   that, coldest first, when the table is full.
//! - At most `max_clients` are remembered, or, if more than 7/8 of these have something open,
//!   those that have (each holds a socket, so their number is bounded too) and 1/8 more.
//! - A lock of a shard is never asked for by one who holds the lock of a client.
//!
//! A client takes about 700 bytes: 600 of [`Usage`], and the rest is its places in the tables.
//! A table of 65,536 clients is 46 MB, however many millions of sources come by. A client that
//! is forgotten early starts afresh when it returns: its window is empty.
//!
//! The table is cut into shards, so that clients rarely wait for each other. In a table of more
//! than a thousand clients, *coldest* therefore means the coldest of its shard. The hash is keyed at
//! random, so nobody can aim at one shard.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use pony_common::{addr::Addr16, reason::Reason, time::Nanos};

use super::{
    total::{Enforcement, Total},
    usage::{ClientLimits, Usage},
};

/// One client as its connections hold it.
pub(super) type Client = Mutex<Usage>;

/// A client whose connection was opened, and the limit that would have refused it were it enforced.
pub(super) type Opened = (Arc<Client>, Option<Reason>);

pub(super) struct Ledger {
    limits: ClientLimits,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

impl Ledger {
    /// A table of up to about `max_clients`.
    pub(super) fn new(limits: ClientLimits, max_clients: usize) -> Self {
        let shards = (max_clients / CLIENTS_PER_SHARD).clamp(1, MAX_SHARDS);
        let capacity = (max_clients / shards).max(1);
        Self {
            limits,
            hasher: RandomState::new(),
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(capacity)))
                .collect(),
        }
    }

    pub(super) fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Counts an attempt of the client `key` and opens a connection, unless a limit refuses it.
    ///
    /// Nothing else happens to the client between the question and the answer, so no two
    /// connections can take the same last place.
    pub(super) fn admit(
        &self,
        key: Addr16,
        total: &Total,
        enforcement: Enforcement,
        now: Nanos,
    ) -> Result<Opened, Reason> {
        self.open(key, total, enforcement, |usage, open| {
            usage.attempt(&self.limits, open, now)
        })
    }

    /// Opens a connection of the client `key` that is no attempt, unless it has as many as it may.
    pub(super) fn wait(
        &self,
        key: Addr16,
        total: &Total,
        enforcement: Enforcement,
    ) -> Result<Opened, Reason> {
        let most = self.limits.connections;
        self.open(key, total, enforcement, |_, open| {
            let is_over = most.is_some_and(|most| open >= most);
            is_over.then_some(Reason::ConnectionLimit)
        })
    }

    /// `ask` answers which limit of its own a client is over that has so many open.
    fn open(
        &self,
        key: Addr16,
        total: &Total,
        enforcement: Enforcement,
        ask: impl FnOnce(&mut Usage, u32) -> Option<Reason>,
    ) -> Result<Opened, Reason> {
        let mut shard = lock(self.shard(key));
        let (open, client) = shard.find(key);
        let over = ask(&mut lock(&client), open);
        let verdict = total.open(over, enforcement);
        if verdict.is_ok() {
            shard.put_active(key, Arc::clone(&client), open.saturating_add(1));
        } else if open == 0 {
            shard.put_idle(key, Arc::clone(&client), self.limits.memory());
        }
        if over.is_some() && enforcement != Enforcement::Ignore {
            shard.list_limited(key);
        }
        verdict.map(|violation| (client, violation))
    }

    /// Gives one connection of the client `key` back. True if the client had been refused others
    /// for having as many as it may, and now has fewer.
    pub(super) fn close(&self, key: Addr16) -> bool {
        let mut shard = lock(self.shard(key));
        let open = shard.close(key, self.limits.memory());
        self.limits.connections == Some(open.saturating_add(1)) && shard.limited.contains(&key)
    }

    /// Counts `attempts` of the client `key` that were refused before they came here.
    pub(super) fn count_refused(&self, key: Addr16, attempts: u64, now: Nanos) {
        let Some(limit) = &self.limits.attempts else {
            return;
        };
        let mut shard = lock(self.shard(key));
        let (open, client) = shard.find(key);
        let mut usage = lock(&client);
        usage.record_attempts(limit, attempts, now);
        let is_limited = usage.is_limited(&self.limits, open, now);
        drop(usage);
        if open == 0 {
            shard.put_idle(key, client, self.limits.memory());
        }
        if is_limited {
            shard.list_limited(key);
        }
    }

    /// Calls `each` with clients whose next attempt a limit would refuse now, the limit, and how
    /// much they have open, until it answers false. Looks only at those that a limit has held back.
    pub(super) fn refused_clients(
        &self,
        now: Nanos,
        mut each: impl FnMut(Addr16, Reason, u32) -> bool,
    ) {
        for shard in &self.shards {
            let shard = lock(shard);
            for key in &shard.limited {
                let Some((open, client)) = shard.client(*key) else {
                    continue;
                };
                let refusal = lock(client).refusal(&self.limits, open, now);
                if let Some(reason) = refusal
                    && !each(*key, reason, open)
                {
                    return;
                }
            }
        }
    }

    /// Lists the client `key`, which a limit has just held back, as limited.
    pub(super) fn list_limited(&self, key: Addr16) {
        lock(self.shard(key)).list_limited(key);
    }

    /// How many clients a limit holds back now. Looks only at those that one has held back.
    pub(super) fn limited(&self, now: Nanos) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| lock(shard).limited(&self.limits, now))
            .sum()
    }

    /// How many clients are remembered.
    pub(super) fn len(&self) -> usize {
        let lens = self.shards.iter().map(|shard| lock(shard).len());
        lens.sum()
    }

    /// Forgets the clients of which nothing can be held against them any more.
    pub(super) fn forget_idle(&self, now: Nanos) {
        for shard in &self.shards {
            lock(shard).forget_idle(now.saturating_sub(self.limits.memory()));
        }
    }

    fn shard(&self, key: Addr16) -> &Mutex<Shard> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash % self.shards.len()]
    }
}

/// Takes a lock. One who panicked while holding it has at worst left a count undone.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Shard {
    capacity: usize,
    active: HashMap<Addr16, Active>,
    /// The coldest is the one that closed, or was refused, longest ago.
    idle: LruCache<Addr16, Arc<Client>>,
    /// Clients that a limit has held back, all of them remembered.
    limited: HashSet<Addr16>,
}

/// A client with something open.
struct Active {
    /// How many. Never zero.
    open: u32,
    client: Arc<Client>,
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            active: HashMap::new(),
            idle: LruCache::unbounded(),
            limited: HashSet::new(),
        }
    }

    fn len(&self) -> usize {
        self.active.len() + self.idle.len()
    }

    /// The client, new if it is unknown, and how much it has open.
    fn find(&self, key: Addr16) -> (u32, Arc<Client>) {
        match self.client(key) {
            Some((open, client)) => (open, Arc::clone(client)),
            None => (0, Arc::default()),
        }
    }

    fn client(&self, key: Addr16) -> Option<(u32, &Arc<Client>)> {
        match self.active.get(&key) {
            Some(Active { open, client }) => Some((*open, client)),
            None => self.idle.peek(&key).map(|client| (0, client)),
        }
    }

    fn list_limited(&mut self, key: Addr16) {
        if let Some((_, client)) = self.client(key) {
            lock(client).is_listed = true;
            self.limited.insert(key);
        }
    }

    fn put_active(&mut self, key: Addr16, client: Arc<Client>, open: u32) {
        let known = self.active.insert(key, Active { open, client });
        if known.is_none() {
            self.idle.pop(&key);
            self.trim();
        }
    }

    /// Puts a client with nothing open at the warm end, if it is worth remembering at all.
    fn put_idle(&mut self, key: Addr16, client: Arc<Client>, memory: Nanos) {
        if memory == Nanos::ZERO {
            self.limited.remove(&key);
            return;
        }
        self.idle.put(key, client);
        self.trim();
    }

    /// How many are left.
    fn close(&mut self, key: Addr16, memory: Nanos) -> u32 {
        let Some(active) = self.active.get_mut(&key) else {
            return 0;
        };
        active.open -= 1;
        let open = active.open;
        if open == 0
            && let Some(Active { client, .. }) = self.active.remove(&key)
        {
            self.put_idle(key, client, memory);
        }
        open
    }

    fn trim(&mut self) {
        let free = self.capacity.saturating_sub(self.active.len());
        let idle = free.max(self.capacity / 8).max(1);
        while self.idle.len() > idle {
            self.forget_coldest();
        }
    }

    fn forget_idle(&mut self, used_before: Nanos) {
        while let Some((_, client)) = self.idle.peek_lru()
            && lock(client).last_used() <= used_before
        {
            self.forget_coldest();
        }
    }

    fn forget_coldest(&mut self) {
        if let Some((key, _)) = self.idle.pop_lru() {
            self.limited.remove(&key);
        }
    }

    fn limited(&mut self, limits: &ClientLimits, now: Nanos) -> usize {
        let mut limited = std::mem::take(&mut self.limited);
        limited.retain(|key| {
            let Some((open, client)) = self.client(*key) else {
                return false;
            };
            let mut usage = lock(client);
            usage.is_listed = usage.is_limited(limits, open, now);
            usage.is_listed
        });
        self.limited = limited;
        self.limited.len()
    }
}

/// Below this a table has one shard.
const CLIENTS_PER_SHARD: usize = 1024;
const MAX_SHARDS: usize = 64;

#[cfg(test)]
mod tests;
