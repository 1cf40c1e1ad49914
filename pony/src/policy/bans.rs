//! The clients that an operator has banned: a list of bounded size.
//!
//! It remembers bans and says whom they concern; what follows from that is for others to do. One
//! list serves all listeners.
//!
//! A ban names an address. It concerns the client that the address belongs to, which for IPv6 is a
//! prefix whose length each listener chooses. The list is sorted by address, so all bans of a client
//! stand together: a question takes the logarithm of the list's length.
//!
//! What always holds: a ban ends at its moment, whether or not somebody has removed it by then;
//! there are never more than there may be.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use pony_common::{addr::Addr16, time::Nanos};

/// One ban.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ban {
    /// The address that the operator named.
    pub address: Addr16,
    /// The number of the listener; `None` for all of them.
    pub listener: Option<u32>,
    /// When it ends. [`Nanos::MAX`]: not by itself.
    pub until: Nanos,
}

/// The client of a listener, as a question to the list.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    /// Any of its addresses.
    pub address: Addr16,
    /// How many bits of an IPv6 address make a client there.
    pub ipv6_prefix: u8,
    /// The number of the listener.
    pub listener: u32,
}

/// The list has no room for another ban.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    /// How many it has.
    pub most: usize,
}

/// See the module.
pub struct BanList {
    most: usize,
    bans: RwLock<BTreeMap<Key, Nanos>>,
    /// How many there are, so that without any nobody takes the lock.
    len: AtomicUsize,
    /// Changes with every change.
    version: AtomicU64,
}

/// Address and listener.
type Key = (Addr16, Option<u32>);

impl BanList {
    /// A list of at most so many.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            bans: RwLock::default(),
            len: AtomicUsize::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// How many there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Adds a ban. One of the same address and listener gives way to it; then the answer is true.
    pub fn add(&self, ban: Ban) -> Result<bool, Full> {
        let mut bans = self.write();
        let key = (ban.address, ban.listener);
        if bans.len() >= self.most && !bans.contains_key(&key) {
            return Err(Full { most: self.most });
        }
        let replaced = bans.insert(key, ban.until).is_some();
        self.changed(&bans);
        Ok(replaced)
    }

    /// Removes the ban of an address on a listener, or all bans of the address, and answers those
    /// that were there.
    pub fn lift(&self, address: Addr16, listener: Option<u32>) -> Vec<Ban> {
        self.take(|key, _| key.0 == address && (listener.is_none() || key.1 == listener))
    }

    /// Removes the bans that have ended, and answers them.
    pub fn expire(&self, now: Nanos) -> Vec<Ban> {
        if self.is_empty() {
            return Vec::new();
        }
        self.take(|_, until| until <= now)
    }

    /// Whether a client is banned.
    pub fn holds(&self, suspect: &Suspect, now: Nanos) -> bool {
        !self.is_empty() && self.concerning(suspect, now).iter().next().is_some()
    }

    /// The bans that concern a client.
    pub fn of(&self, suspect: &Suspect, now: Nanos) -> Vec<Ban> {
        self.concerning(suspect, now).iter().collect()
    }

    /// All that hold, in the order of their addresses.
    pub fn all(&self, now: Nanos) -> Vec<Ban> {
        let bans = self.read();
        bans.iter().map(ban).filter(|ban| ban.until > now).collect()
    }

    /// How many hold.
    pub fn len(&self, now: Nanos) -> usize {
        self.read().values().filter(|until| **until > now).count()
    }

    /// A number that changes whenever a ban is added, changed or removed.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    fn is_empty(&self) -> bool {
        // Who adds a ban goes on to end what its client has open. Both sides take the lock of that
        // client's place on the roll then, which orders this number, too.
        self.len.load(Relaxed) == 0
    }

    fn concerning(&self, suspect: &Suspect, now: Nanos) -> Concerning<'_> {
        let first = suspect.address.prefix(suspect.ipv6_prefix);
        Concerning {
            bans: self.read(),
            first,
            last: last_of(first, suspect.ipv6_prefix),
            listener: suspect.listener,
            now,
        }
    }

    fn take(&self, mut is_meant: impl FnMut(&Key, Nanos) -> bool) -> Vec<Ban> {
        let mut bans = self.write();
        let mut taken = Vec::new();
        bans.retain(|key, until| {
            let goes = is_meant(key, *until);
            if goes {
                taken.push(ban((key, until)));
            }
            !goes
        });
        if !taken.is_empty() {
            self.changed(&bans);
        }
        taken
    }

    fn changed(&self, bans: &BTreeMap<Key, Nanos>) {
        self.len.store(bans.len(), Relaxed);
        self.version.fetch_add(1, Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Nanos>> {
        self.bans.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Nanos>> {
        self.bans.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bans of one client, while nobody changes the list.
struct Concerning<'a> {
    bans: RwLockReadGuard<'a, BTreeMap<Key, Nanos>>,
    first: Addr16,
    last: Addr16,
    listener: u32,
    now: Nanos,
}

impl Concerning<'_> {
    fn iter(&self) -> impl Iterator<Item = Ban> + '_ {
        let client = (self.first, None)..=(self.last, Some(u32::MAX));
        self.bans.range(client).map(ban).filter(|ban| {
            let is_here = ban
                .listener
                .is_none_or(|listener| listener == self.listener);
            // All of IPv4 stands within what a short prefix takes for one client.
            let is_it = ban.address.is_v4() == self.first.is_v4();
            is_here && is_it && ban.until > self.now
        })
    }
}

fn ban(((address, listener), until): (&Key, &Nanos)) -> Ban {
    Ban {
        address: *address,
        listener: *listener,
        until: *until,
    }
}

/// The last address of the client whose first one this is.
fn last_of(first: Addr16, ipv6_prefix: u8) -> Addr16 {
    if first.is_v4() {
        return first;
    }
    let rest = u128::MAX.checked_shr(ipv6_prefix.into()).unwrap_or(0);
    Addr16((u128::from_be_bytes(first.0) | rest).to_be_bytes())
}

#[cfg(test)]
mod tests;
