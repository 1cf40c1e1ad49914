//! How many connections or sessions of a listener are open, all clients together.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pony_common::reason::Reason;

/// What happens to a client that is over a limit, when it comes in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Enforcement {
    /// It is refused.
    Refuse,
    /// It comes in, and the reason is reported.
    Report,
    /// It comes in.
    Ignore,
}

/// What is open now. Exact: whatever was counted by [`Total::open`] is given back once.
pub(super) struct Total {
    // Nothing else is published through it, so relaxed order will do.
    open: AtomicU32,
    max: Option<u32>,
}

impl Total {
    pub(super) fn new(max: Option<u32>) -> Self {
        Self {
            open: AtomicU32::new(0),
            max,
        }
    }

    /// Takes a place, unless the limits refuse it.
    ///
    /// `over` is the limit of its own that the client is over. The answer is the first limit in
    /// order (attempts, total, what else the client is over) that is violated: as an error, or
    /// as a violation to report.
    pub(super) fn open(
        &self,
        over: Option<Reason>,
        enforcement: Enforcement,
    ) -> Result<Option<Reason>, Reason> {
        if enforcement == Enforcement::Refuse
            && let Some(over) = over
        {
            return Err(first(over, self.is_full(self.open_now())));
        }
        let taken = self.open.fetch_update(Relaxed, Relaxed, |open| {
            let may_open = enforcement != Enforcement::Refuse || !self.is_full(open);
            may_open.then_some(open.saturating_add(1))
        });
        match (taken, enforcement) {
            (Err(_full), _) => Err(Reason::TotalLimit),
            (Ok(before), Enforcement::Report) => {
                let is_full = self.is_full(before);
                Ok(match over {
                    Some(over) => Some(first(over, is_full)),
                    None => is_full.then_some(Reason::TotalLimit),
                })
            }
            (Ok(_), Enforcement::Refuse | Enforcement::Ignore) => Ok(None),
        }
    }

    /// Gives one place back.
    pub(super) fn close(&self) {
        let _before = self.open.fetch_sub(1, Relaxed);
    }

    pub(super) fn open_now(&self) -> u32 {
        self.open.load(Relaxed)
    }

    pub(super) fn is_full_now(&self) -> bool {
        self.is_full(self.open_now())
    }

    fn is_full(&self, open: u32) -> bool {
        self.max.is_some_and(|max| open >= max)
    }
}

/// Attempts come before the total, the other limits of a client after it.
fn first(over: Reason, is_full: bool) -> Reason {
    match over {
        Reason::AttemptLimit => over,
        _ if is_full => Reason::TotalLimit,
        _ => over,
    }
}
