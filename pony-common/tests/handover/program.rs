//! The kernel program: the rule that runs, [`judge`], over the numbers of a [`State`].
//!
//! With [`Grain::Access`] a run is cut at each access to a number that the daemon writes or reads.
//! The run is then done over and over: what it read at its earlier steps is answered from a log,
//! and what it would store at later steps is not shown.
//!
//! [`State`]: crate::state::State

use std::cell::Cell;

use pony_common::{
    cell::Cell64,
    lane,
    layout::lane::{Moved, Orders},
    time::Nanos,
};

/// Where all counts begin: they wrap around soon.
const START: u64 = u64::MAX - 1;

/// How much of the program's run is one step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grain {
    /// Its decision about a piece.
    Piece,
    /// One access to a number that the daemon writes or reads.
    Access,
}

/// `MOVED`, as far as the model has it, counted from [`START`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Counts {
    pub(crate) mode: u8,
    pub(crate) passed: u8,
    pub(crate) redirected: u8,
    pub(crate) calls: u8,
    pub(crate) acked: u8,
}

/// `ORDERS` and `LEAVE_AT`, as far as the daemon changes them while the flow is in the lane.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Given {
    pub(crate) promote_at: i8,
    pub(crate) credit: u8,
    pub(crate) call_at: u8,
    pub(crate) heard: u8,
    pub(crate) handed: u8,
    /// The element of `LEAVE_AT`.
    pub(crate) leave_at: i8,
}

/// `ORDERS`, as far as it stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    pub(crate) base: u8,
    pub(crate) budget: u8,
}

/// Why the program ceased to redirect.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Demotion {
    Credit,
    Budget,
}

/// What the program decided about a piece.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Decision {
    pub(crate) is_redirected: bool,
    pub(crate) calls: bool,
    pub(crate) demotion: Option<Demotion>,
}

/// A decision under way.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Judging {
    before: Counts,
    steps: u8,
    reads: u8,
    read: [i8; 6],
}

impl Judging {
    pub(crate) fn begin(before: Counts) -> Self {
        Self {
            before,
            ..Self::default()
        }
    }

    /// Goes one step further: what the daemon sees then, and what was decided if that was the last.
    pub(crate) fn step(
        &mut self,
        grain: Grain,
        (given, fixed): (Given, Fixed),
        (len, acked): (u8, u8),
    ) -> (Counts, Option<Decision>) {
        let limit = match grain {
            Grain::Piece => u8::MAX,
            Grain::Access => self.steps,
        };
        let trace = Trace::new(*self, limit);
        let moved = trace.moved(self.before);
        let orders = trace.orders(given, fixed);
        let acked = || Some(trace.read(at(acked)).wrapping_sub(START));
        let verdict = lane::judge(&moved, &orders, u64::from(len), Nanos(1), acked);
        let is_last = trace.steps.get() <= limit.saturating_add(1);
        let shown = Counts {
            passed: count(&moved.passed, is_last),
            redirected: count(&moved.redirected, is_last),
            calls: count(&moved.calls, is_last),
            mode: if is_last {
                u8::from(moved.mode.load() != 0)
            } else {
                self.before.mode
            },
            acked: if is_last {
                count(&moved.acked, true)
            } else {
                self.before.acked
            },
        };
        if !is_last {
            *self = Self {
                steps: self.steps + 1,
                ..trace.judging.get()
            };
            return (shown, None);
        }
        let demotion = if moved.out_of_credit.load() != 0 {
            Some(Demotion::Credit)
        } else {
            (moved.over_budget.load() != 0).then_some(Demotion::Budget)
        };
        let decision = Decision {
            is_redirected: verdict.is_redirected,
            calls: verdict.calls,
            demotion,
        };
        (shown, Some(decision))
    }
}

/// The steps of one run.
struct Trace {
    judging: Cell<Judging>,
    limit: u8,
    steps: Cell<u8>,
    reads: Cell<u8>,
}

impl Trace {
    fn new(judging: Judging, limit: u8) -> Self {
        Self {
            judging: Cell::new(judging),
            limit,
            steps: Cell::new(0),
            reads: Cell::new(0),
        }
    }

    fn next(&self) -> u8 {
        self.steps.replace(self.steps.get() + 1)
    }

    /// What a number of the daemon's was when this run read it, or what it is now.
    fn read(&self, now: u64) -> u64 {
        let step = self.next();
        let index = self.reads.replace(self.reads.get() + 1);
        let mut judging = self.judging.get();
        if index < judging.reads && step < self.limit {
            return START.wrapping_add_signed(judging.read[usize::from(index)].into());
        }
        if step == self.limit {
            let count = now.wrapping_sub(START).cast_signed();
            judging.read[usize::from(index)] = i8::try_from(count).expect("a small count");
            judging.reads += 1;
            self.judging.set(judging);
        }
        now
    }

    fn moved(&self, counts: Counts) -> Moved<Number<'_>> {
        let private = |value| Number::new(self, Kind::Private, value);
        let published = |count| Number::new(self, Kind::Published, at(count));
        Moved {
            mode: private(u64::from(counts.mode)),
            passed: published(counts.passed),
            redirected: published(counts.redirected),
            last: private(0),
            calls: published(counts.calls),
            out_of_credit: private(0),
            over_budget: private(0),
            acked: private(at(counts.acked)),
        }
    }

    fn orders(&self, given: Given, fixed: Fixed) -> Orders<Number<'_>> {
        let fix = |value| Number::new(self, Kind::Private, value);
        let ordered = |count| Number::new(self, Kind::Ordered, at(count));
        Orders {
            promote_at: Number::new(
                self,
                Kind::Ordered,
                START.wrapping_add_signed(given.promote_at.into()),
            ),
            credit: ordered(given.credit),
            call_at: ordered(given.call_at),
            heard: ordered(given.heard),
            handed: ordered(given.handed),
            // Bytes redirected and bytes handed both have `START` in them.
            base: fix(u64::from(fixed.base).wrapping_sub(START)),
            acked_base: fix(START),
            budget: fix(fixed.budget.into()),
        }
    }
}

/// Who sees a number besides the program.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// Nobody while it runs.
    Private,
    /// The daemon reads it.
    Published,
    /// The daemon writes it.
    Ordered,
}

struct Number<'a> {
    trace: &'a Trace,
    kind: Kind,
    value: Cell<u64>,
    shown: Cell<u64>,
}

impl<'a> Number<'a> {
    fn new(trace: &'a Trace, kind: Kind, value: u64) -> Self {
        Self {
            trace,
            kind,
            value: Cell::new(value),
            shown: Cell::new(value),
        }
    }
}

impl Cell64 for Number<'_> {
    fn load(&self) -> u64 {
        match self.kind {
            Kind::Ordered => self.trace.read(self.value.get()),
            Kind::Private | Kind::Published => self.value.get(),
        }
    }

    fn store(&self, value: u64) {
        assert!(self.kind != Kind::Ordered, "the program gave an order");
        self.value.set(value);
        if self.kind == Kind::Published && self.trace.next() <= self.trace.limit {
            self.shown.set(value);
        }
    }

    fn add(&self, _: u64) -> u64 {
        unreachable!("the rule needs no atomic addition")
    }

    fn swap_if(&self, _: u64, _: u64) -> Result<u64, u64> {
        unreachable!("the rule needs no atomic exchange")
    }
}

fn at(count: u8) -> u64 {
    START.wrapping_add(count.into())
}

fn count(number: &Number<'_>, is_last: bool) -> u8 {
    let cell = if is_last {
        &number.value
    } else {
        &number.shown
    };
    u8::try_from(cell.get().wrapping_sub(START)).expect("a small count")
}
