//! The rule by which the kernel program hands the bytes of one direction over, or does not.
//!
//! It is run for every piece of a stream, in its order and one at a time. The daemon gives orders
//! meanwhile; what makes that safe is stated at each field of the layout, and checked with every
//! interleaving by a model (`pony-common/tests/handover`).

use crate::{
    cell::Cell64,
    layout::lane::{Moved, Orders, PASSING, REDIRECTING},
    time::Nanos,
};

/// What becomes of a piece of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Verdict {
    /// Whether it goes to the other socket; else the daemon reads it.
    pub is_redirected: bool,
    /// Whether the daemon must be called.
    pub calls: bool,
}

/// Decides about the next `len` bytes of a direction.
///
/// `acked` answers how many bytes the peer of the other socket has acknowledged, if that can be
/// known; it is asked only when what it said last is not enough.
///
/// Nothing of no length: that is the end of the stream, which the daemon has to see.
#[inline(always)]
pub fn judge<T: Cell64>(
    moved: &Moved<T>,
    orders: &Orders<T>,
    len: u64,
    now: Nanos,
    acked: impl FnOnce() -> Option<u64>,
) -> Verdict {
    moved.last.store(now.0);
    if moved.mode.load() == PASSING {
        // All that was left to the daemon is consumed and written, so the order is kept.
        if orders.promote_at.load() != moved.passed.load() {
            return pass(moved, orders, len);
        }
        moved.mode.store(REDIRECTING);
    }
    let before = moved.redirected.load();
    let after = before.wrapping_add(len);
    if is_beyond(after, orders.credit.load()) {
        count(&moved.out_of_credit);
        return demote(moved, orders, len);
    }
    if !fits(moved, orders, after, acked) {
        count(&moved.over_budget);
        return demote(moved, orders, len);
    }
    moved.redirected.store(after);
    let call_at = orders.call_at.load();
    let is_reached = is_beyond(call_at, before) && !is_beyond(call_at, after);
    Verdict {
        is_redirected: true,
        calls: is_reached && call(moved, orders),
    }
}

#[inline(always)]
fn demote<T: Cell64>(moved: &Moved<T>, orders: &Orders<T>, len: u64) -> Verdict {
    moved.mode.store(PASSING);
    pass(moved, orders, len)
}

#[inline(always)]
fn pass<T: Cell64>(moved: &Moved<T>, orders: &Orders<T>, len: u64) -> Verdict {
    moved.passed.store(moved.passed.load().wrapping_add(len));
    Verdict {
        is_redirected: false,
        calls: call(moved, orders),
    }
}

/// Whether to call the daemon about what it has to see at once. No, if it has not heard the last call yet: then it has all this to see too.
#[inline(always)]
pub fn call<T: Cell64>(moved: &Moved<T>, orders: &Orders<T>) -> bool {
    let calls = moved.calls.load();
    if orders.heard.load() != calls {
        return false;
    }
    moved.calls.store(calls.wrapping_add(1));
    true
}

/// Takes back that the daemon was called, when it could not be: so it is called for the next piece.
#[inline(always)]
pub fn call_failed<T: Cell64>(moved: &Moved<T>) {
    moved.calls.store(moved.calls.load().wrapping_sub(1));
}

/// Whether so much may be on its way to the other socket's peer.
#[inline(always)]
fn fits<T: Cell64>(
    moved: &Moved<T>,
    orders: &Orders<T>,
    after: u64,
    acked: impl FnOnce() -> Option<u64>,
) -> bool {
    let written = after
        .wrapping_add(orders.handed.load())
        .wrapping_add(orders.base.load());
    let budget = orders.budget.load();
    // What was acknowledged then is acknowledged now.
    let is_within = |acked| !is_beyond(written, budget.wrapping_add(acked));
    if is_within(moved.acked.load()) {
        return true;
    }
    let Some(acked) = acked() else {
        return false;
    };
    let acked = acked.wrapping_add(orders.acked_base.load());
    moved.acked.store(acked);
    is_within(acked)
}

#[inline(always)]
fn count<T: Cell64>(cell: &T) {
    cell.store(cell.load().wrapping_add(1));
}

/// Whether `position` comes after `limit`, for counts that wrap around.
#[inline(always)]
const fn is_beyond(position: u64, limit: u64) -> bool {
    limit.wrapping_sub(position) > u64::MAX / 2
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A number for a single thread.
    #[derive(Default)]
    struct Number(Cell<u64>);

    impl Cell64 for Number {
        fn load(&self) -> u64 {
            self.0.get()
        }

        fn store(&self, value: u64) {
            self.0.set(value);
        }

        fn add(&self, n: u64) -> u64 {
            self.0.replace(self.0.get().wrapping_add(n))
        }

        fn swap_if(&self, current: u64, new: u64) -> Result<u64, u64> {
            let old = self.0.get();
            if old != current {
                return Err(old);
            }
            Ok(self.0.replace(new))
        }
    }

    type Cells = (Moved<Number>, Orders<Number>);

    /// A direction on which bytes flow freely, whose counts are about to wrap around.
    fn direction() -> Cells {
        let (moved, orders) = Cells::default();
        let start = u64::MAX - 5;
        moved.passed.store(start);
        moved.redirected.store(start);
        orders.promote_at.store(start);
        orders.credit.store(start.wrapping_add(1_000));
        orders.call_at.store(start.wrapping_sub(1));
        orders.base.store(0_u64.wrapping_sub(start));
        orders.budget.store(1_000);
        (moved, orders)
    }

    fn judged((moved, orders): &Cells, len: u64, acked: Option<u64>) -> (bool, bool) {
        let verdict = judge(moved, orders, len, Nanos(7), || acked);
        (verdict.is_redirected, verdict.calls)
    }

    const PASSED: (bool, bool) = (false, false);
    const PASSED_WITH_CALL: (bool, bool) = (false, true);
    const REDIRECTED: (bool, bool) = (true, false);
    const REDIRECTED_WITH_CALL: (bool, bool) = (true, true);

    #[test]
    fn redirects_to_the_last_byte_of_the_credit_and_then_calls_once() {
        let cells = direction();
        assert_eq!(judged(&cells, 999, None), REDIRECTED);
        assert_eq!(judged(&cells, 1, None), REDIRECTED);
        assert_eq!(judged(&cells, 1, Some(1_000)), PASSED_WITH_CALL);
        assert_eq!(judged(&cells, 1, Some(1_000)), PASSED);
        assert_eq!(cells.0.out_of_credit.load(), 1);
        assert_eq!(cells.0.last.load(), 7);
    }

    #[test]
    fn is_promoted_exactly_when_the_daemon_has_written_all_that_was_passed() {
        let cells = direction();
        let (moved, orders) = &cells;
        orders.credit.store(moved.redirected.load());
        assert_eq!(judged(&cells, 10, None), PASSED_WITH_CALL);
        orders.heard.store(moved.calls.load());
        orders
            .credit
            .store(moved.redirected.load().wrapping_add(50));
        orders.promote_at.store(moved.passed.load().wrapping_sub(1));
        assert_eq!(judged(&cells, 10, None), PASSED_WITH_CALL);
        orders.promote_at.store(moved.passed.load());
        assert_eq!(judged(&cells, 50, None), REDIRECTED);
    }

    #[test]
    fn asks_the_other_socket_only_when_the_budget_might_be_exceeded() {
        let cells = direction();
        cells.1.credit.store(u64::MAX / 4);
        cells.1.acked_base.store(100);
        let asked = |len, acked| judged(&cells, len, acked);
        assert_eq!(asked(1_000, None), REDIRECTED);
        assert_eq!(
            asked(500, Some(400)),
            REDIRECTED,
            "500 of 1500 are acknowledged"
        );
        assert_eq!(asked(1, Some(400)), PASSED_WITH_CALL);
        assert_eq!(cells.0.over_budget.load(), 1);
        assert_eq!(cells.0.acked.load(), 500);
    }

    #[test]
    fn a_socket_that_cannot_be_asked_gets_no_more_than_the_budget() {
        let cells = direction();
        cells.1.credit.store(u64::MAX / 4);
        assert_eq!(judged(&cells, 1_001, None), PASSED_WITH_CALL);
    }

    #[test]
    fn calls_when_a_mark_is_reached_once() {
        let cells = direction();
        let mark = cells.0.redirected.load().wrapping_add(100);
        cells.1.call_at.store(mark);
        assert_eq!(judged(&cells, 99, None), REDIRECTED);
        assert_eq!(judged(&cells, 1, None), REDIRECTED_WITH_CALL);
        assert_eq!(judged(&cells, 1, None), REDIRECTED);
    }
}
