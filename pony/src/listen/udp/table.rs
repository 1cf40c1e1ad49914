//! The sessions of one listener, by what their datagrams have in common.
//!
//! What holds: a session that a datagram has just found does not expire before that datagram has
//! refreshed it, because finding and expiring take the same lock.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use pony_common::time::Nanos;
use tokio::sync::Notify;

use super::{session::Session, silence::Silence};

/// What the datagrams of one session have in common.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    /// Who sends them: the client that a header names, or else who they come from.
    pub(super) client: SocketAddr,
    /// What they are sent to. `None`: the port of the listener, on whichever of our addresses.
    pub(super) at: Option<SocketAddr>,
    /// Through which front end each comes with a header, and what that says they were sent to. The
    /// front end's port may change.
    pub(super) through: Option<(IpAddr, SocketAddr)>,
}

impl Key {
    /// Of datagrams that speak for themselves, or whose first one did.
    pub(super) const fn own(sender: SocketAddr, at: Option<SocketAddr>) -> Self {
        Self {
            client: sender,
            at,
            through: None,
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    sessions: Mutex<HashMap<Key, Arc<Session>>>,
    emptied: Notify,
    /// Bytes that wait in all sessions for their targets' sockets.
    waiting_bytes: AtomicUsize,
    /// Of front ends that introduce a client once.
    pub(super) silence: Silence,
}

impl Table {
    /// The client's session, refreshed.
    pub(super) fn touch(&self, key: Key, now: Nanos) -> Option<Arc<Session>> {
        let sessions = self.lock();
        let session = sessions.get(&key)?;
        session.activity().note(now);
        Some(Arc::clone(session))
    }

    pub(super) fn insert(&self, key: Key, session: &Arc<Session>) {
        self.lock().insert(key, Arc::clone(session));
    }

    /// Removes the client's session if `condition` still holds for it; says whether it did.
    pub(super) fn remove_if(&self, key: Key, condition: impl FnOnce(&Session) -> bool) -> bool {
        let mut sessions = self.lock();
        if !sessions.get(&key).is_some_and(|session| condition(session)) {
            return false;
        }
        let removed = sessions.remove(&key);
        if sessions.is_empty() {
            // A table that once was large gives its memory back.
            sessions.shrink_to(KEPT_CAPACITY);
            self.emptied.notify_waiters();
        }
        drop(sessions);
        // Outside the lock: it may be the last reference, with a socket to close.
        drop(removed);
        true
    }

    /// Waits until there is no session.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Takes `len` bytes of the room for datagrams whose session is not open yet.
    pub(super) fn reserve(&self, len: usize) -> bool {
        self.waiting_bytes
            .try_update(Relaxed, Relaxed, |bytes| {
                let bytes = bytes.checked_add(len)?;
                (bytes <= MOST_WAITING_BYTES).then_some(bytes)
            })
            .is_ok()
    }

    /// Gives `len` bytes of that room back.
    pub(super) fn release(&self, len: usize) {
        self.waiting_bytes.fetch_sub(len, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all sessions of a listener together may hold back while they are being opened.
const MOST_WAITING_BYTES: usize = 4 << 20;

/// How many sessions' room an empty table keeps.
const KEPT_CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_the_room_comes_back() {
        let table = Table::default();
        assert!(table.reserve(MOST_WAITING_BYTES));
        assert!(!table.reserve(1));
        table.release(MOST_WAITING_BYTES);
        assert!(table.reserve(1));
        assert!(!table.reserve(usize::MAX));
    }
}
