//! The sessions of one listener, by client address and port.
//!
//! What holds: a session that a datagram has just found does not expire before that datagram has
//! refreshed it, because finding and expiring take the same lock.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use pony_common::time::Nanos;
use tokio::sync::Notify;

use super::session::Session;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    sessions: Mutex<HashMap<SocketAddr, Arc<Session>>>,
    emptied: Notify,
    /// Bytes that wait in all sessions for their targets' sockets.
    waiting_bytes: AtomicUsize,
}

impl Table {
    /// The client's session, refreshed.
    pub(super) fn touch(&self, client: SocketAddr, now: Nanos) -> Option<Arc<Session>> {
        let sessions = self.lock();
        let session = sessions.get(&client)?;
        session.activity().note(now);
        Some(Arc::clone(session))
    }

    pub(super) fn insert(&self, client: SocketAddr, session: &Arc<Session>) {
        self.lock().insert(client, Arc::clone(session));
    }

    /// Removes the client's session if `condition` still holds for it; says whether it did.
    pub(super) fn remove_if(
        &self,
        client: SocketAddr,
        condition: impl FnOnce(&Session) -> bool,
    ) -> bool {
        let mut sessions = self.lock();
        if !sessions
            .get(&client)
            .is_some_and(|session| condition(session))
        {
            return false;
        }
        let removed = sessions.remove(&client);
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

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Session>>> {
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
