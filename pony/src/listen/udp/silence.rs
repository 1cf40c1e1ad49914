//! Front ends' ports that are not listened to for a while.
//!
//! Where only the first datagram of a session has a header, those behind it are the client's own, and
//! a header in one of them would be the client's word. So when there is no session, as the client was
//! refused or its session has ended early, nothing of that port is read until it has been quiet for as
//! long as a session may be.
//!
//! What holds: there are never more of them than twice those that were heard of within that time, each
//! a port of a trusted front end, and never more than [`MOST`]. Whoever has so many can send in the name
//! of front ends, and needs none of this to say to be anybody.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pony_common::time::Nanos;

use super::table::Key;

/// See the module.
#[derive(Default)]
pub(super) struct Silence(Mutex<Ports>);

#[derive(Default)]
struct Ports {
    /// When each was heard of last.
    heard: HashMap<Key, Nanos>,
    /// With more than this, those that were quiet for long enough are forgotten.
    most: usize,
}

impl Silence {
    /// From here on nothing of this port is read until it has been quiet for `quiet`.
    pub(super) fn begin(&self, key: Key, now: Nanos, quiet: Nanos) {
        let mut ports = self.lock();
        if ports.heard.len() >= ports.most {
            ports.heard.retain(|_, heard| is_kept(*heard, now, quiet));
            if ports.heard.len() > MOST / 2 {
                let mut keeps = false;
                ports.heard.retain(|_, _| {
                    keeps = !keeps;
                    keeps
                });
            }
            ports.most = LEAST.max(2 * ports.heard.len());
        }
        ports.heard.insert(key, now);
    }

    /// Whether something that came now must not be read.
    pub(super) fn holds(&self, key: Key, now: Nanos, quiet: Nanos) -> bool {
        let mut ports = self.lock();
        let Some(heard) = ports.heard.get_mut(&key) else {
            return false;
        };
        let holds = is_kept(*heard, now, quiet);
        *heard = now;
        if !holds {
            ports.heard.remove(&key);
        }
        holds
    }

    fn lock(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_kept(heard: Nanos, now: Nanos, quiet: Nanos) -> bool {
    now.saturating_sub(heard) < quiet
}

/// So many are not worth looking through.
const LEAST: usize = 1024;
/// Two front ends' ports, all in use.
const MOST: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const QUIET: Nanos = Nanos::from_millis(100);

    fn key(number: u16) -> Key {
        Key::own(SocketAddr::from(([192, 0, 2, 1], number)), None)
    }

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(1_000 + millis)
    }

    #[test]
    fn it_ends_when_nothing_was_heard_for_long_enough() {
        let silence = Silence::default();
        assert!(!silence.holds(key(1), at(0), QUIET));
        silence.begin(key(1), at(0), QUIET);
        assert!(!silence.holds(key(2), at(0), QUIET));
        // Whoever goes on speaking is not heard.
        for millis in [99, 198, 297] {
            assert!(silence.holds(key(1), at(millis), QUIET));
        }
        assert!(!silence.holds(key(1), at(397), QUIET));
        assert!(!silence.holds(key(1), at(398), QUIET));
    }

    #[test]
    fn those_that_are_over_are_forgotten() {
        let silence = Silence::default();
        for port in 0..50_000 {
            silence.begin(key(port), at(u64::from(port)), QUIET);
            assert!(silence.lock().heard.len() <= LEAST);
        }
    }

    #[test]
    fn a_flood_in_the_name_of_front_ends_takes_bounded_memory() {
        let silence = Silence::default();
        let now = Nanos::from_secs(1);
        for number in 0..3 * u32::try_from(MOST).unwrap() {
            let [_, a, b, c] = number.to_be_bytes();
            let from = SocketAddr::from(([10, a, b, c], 1));
            silence.begin(Key::own(from, None), now, QUIET);
            assert!(silence.lock().heard.len() <= MOST);
        }
        silence.begin(key(1), now, QUIET);
        assert!(silence.holds(key(1), now, QUIET));
    }
}
