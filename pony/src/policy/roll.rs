//! Who has something open, so that it can be ended at once.
//!
//! Every connection and session of a client that can be banned has a [`Place`] on the roll of its
//! listener. When the client is banned, all its places are told, and nobody else notices.
//!
//! What holds: a client is on the roll exactly as long as one of its places lives.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pony_common::addr::Addr16;
use tokio_util::sync::CancellationToken;

/// The clients of one listener that have something open.
pub(super) struct Roll {
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<Addr16, Open>>]>,
}

/// What one client has open.
#[derive(Default)]
struct Open {
    /// How many places. Never zero.
    places: usize,
    /// How many of them nobody has told to end.
    going_on: usize,
    /// These have it. Cancelled: they must end.
    over: CancellationToken,
}

/// The place of one connection or session. Dropping it gives it back.
pub(super) struct Place {
    roll: Arc<Roll>,
    client: Addr16,
    over: CancellationToken,
}

impl Roll {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a place for a client.
    pub(super) fn enter(self: &Arc<Self>, client: Addr16) -> Place {
        let mut shard = self.shard(client);
        let open = shard.entry(client).or_default();
        open.places += 1;
        open.going_on += 1;
        Place {
            roll: Arc::clone(self),
            client,
            over: open.over.clone(),
        }
    }

    /// Tells everything that the client has open to end, and answers how much that is.
    pub(super) fn end(&self, client: Addr16) -> usize {
        let mut shard = self.shard(client);
        let Some(open) = shard.get_mut(&client) else {
            return 0;
        };
        // Whatever the client opens later has nothing to do with it.
        mem::take(&mut open.over).cancel();
        mem::take(&mut open.going_on)
    }

    fn leave(&self, place: &Place) {
        if let Entry::Occupied(mut entry) = self.shard(place.client).entry(place.client) {
            let open = entry.get_mut();
            open.places -= 1;
            if !place.is_over() {
                open.going_on -= 1;
            }
            if open.places == 0 {
                entry.remove();
            }
        }
    }

    fn shard(&self, client: Addr16) -> MutexGuard<'_, HashMap<Addr16, Open>> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let hash = self.hasher.hash_one(client) as usize;
        let shard = &self.shards[hash % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it has been told to end.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is told to end.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roll.leave(self);
    }
}

/// So that clients rarely wait for each other.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Addr16 {
        Addr16::from_v4([192, 0, 2, last])
    }

    fn clients(roll: &Roll) -> usize {
        let shards = roll.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn everything_of_one_client_ends_once_and_nothing_else() {
        let roll = Arc::new(Roll::new());
        let places = [1, 1, 2].map(|last| roll.enter(client(last)));
        assert_eq!(roll.end(client(1)), 2);
        assert_eq!(places.each_ref().map(Place::is_over), [true, true, false]);
        assert_eq!(roll.end(client(1)), 0, "they know");
        assert_eq!(roll.end(client(3)), 0);

        let later = roll.enter(client(1));
        assert!(!later.is_over(), "nobody has told this one");
        drop(places);
        assert_eq!(roll.end(client(1)), 1);
        drop(later);
        assert_eq!(clients(&roll), 0);
    }

    #[test]
    fn nobody_stays_on_the_roll_without_a_place() {
        let roll = Arc::new(Roll::new());
        let (first, second) = (roll.enter(client(1)), roll.enter(client(1)));
        drop(first);
        assert_eq!(clients(&roll), 1);
        assert_eq!(roll.end(client(1)), 1);
        drop(second);
        assert_eq!(clients(&roll), 0);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let roll = Arc::new(Roll::new());
        let place = roll.enter(client(1));
        let waiting = async {
            place.over().await;
        };
        let ending = async {
            tokio::task::yield_now().await;
            roll.end(client(1))
        };
        let ((), ended) = tokio::join!(waiting, ending);
        assert_eq!(ended, 1);
    }
}
