//! Whether the daemon is alive and whether it is ready.
//!
//! It only remembers what it was told; `http` shows it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The state that `/ready` shows.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The listeners that are not bound yet.
    unbound: BTreeSet<Arc<str>>,
    stopping: bool,
}

/// The answer to "may clients be sent here?".
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Readiness {
    Ready,
    /// These listeners are not bound, in the order of their names.
    Unbound(Vec<Arc<str>>),
    Stopping,
}

impl Health {
    /// Not ready until each of `listeners` is bound.
    pub fn new(listeners: impl IntoIterator<Item = Arc<str>>) -> Self {
        let state = State {
            unbound: listeners.into_iter().collect(),
            stopping: false,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// The listener of this name accepts clients.
    pub fn set_bound(&self, listener: &str) {
        self.lock().unbound.remove(listener);
    }

    /// The listener of this name does not accept clients any more, and should.
    pub fn set_unbound(&self, listener: Arc<str>) {
        self.lock().unbound.insert(listener);
    }

    /// The daemon is on its way out. There is no way back.
    pub fn set_stopping(&self) {
        self.lock().stopping = true;
    }

    /// Whether clients may be sent here now.
    pub fn readiness(&self) -> Readiness {
        let state = self.lock();
        if state.stopping {
            Readiness::Stopping
        } else if state.unbound.is_empty() {
            Readiness::Ready
        } else {
            Readiness::Unbound(state.unbound.iter().cloned().collect())
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_every_listener_is_bound_and_until_it_stops() {
        let health = Health::new(["b".into(), "a".into()]);
        assert_eq!(
            health.readiness(),
            Readiness::Unbound(vec!["a".into(), "b".into()])
        );
        health.set_bound("a");
        health.set_bound("b");
        assert_eq!(health.readiness(), Readiness::Ready);
        health.set_unbound("a".into());
        assert_eq!(health.readiness(), Readiness::Unbound(vec!["a".into()]));
        health.set_stopping();
        assert_eq!(health.readiness(), Readiness::Stopping);
    }
}
