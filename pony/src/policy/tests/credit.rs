//! Bytes that are lent, against a model that knows of every byte when it moved.

use proptest::prelude::*;

use super::*;
use crate::policy::credit::{LEAST, PARTS};

const WINDOW: u64 = 10_000;

fn lending(limit: u64, action: Action) -> Arc<Policy> {
    policy(&Limits {
        action,
        bandwidth: Some(bandwidth(limit)),
        ..Limits::default()
    })
}

fn lent(permit: &Permit) -> u64 {
    let (_, client) = permit.client.as_ref().unwrap();
    client.lock().unwrap().lent
}

#[test]
fn what_is_lent_is_kept_free_and_what_is_given_back_can_be_used() {
    let limit = 100 * LEAST;
    let permit = admit(&lending(limit, Action::Drop), CLIENT, at(0));
    let mut credit = permit.credit().unwrap();
    assert!(credit.renew(at(0)));
    assert_eq!((credit.lent(), lent(&permit)), (LEAST, LEAST));
    credit.spend(1_000, at(1));
    assert_eq!(
        permit.charge(limit, at(2)),
        Charge::Grant(limit - LEAST),
        "all but what is lent"
    );
    assert!(!credit.recall().is_cancelled());
    assert!(matches!(permit.charge(1, at(3)), Charge::Wait(_)));
    assert!(credit.recall().is_cancelled());

    credit.give_back();
    assert_eq!(lent(&permit), 0);
    assert_eq!(permit.charge(limit, at(5)), Charge::Grant(LEAST - 1_000));
    assert_eq!(permit.charge(1, at(6)), Charge::Over);
    assert_eq!(
        refusal(&permit.policy, CLIENT, at(7)),
        Some(Reason::BandwidthLimit)
    );
}

#[test]
fn who_comes_back_soon_gets_more_but_never_more_than_a_part_of_what_is_left() {
    let permit = admit(&lending(100 * LEAST, Action::Drop), CLIENT, at(0));
    let mut credit = permit.credit().unwrap();
    let mut had = Vec::new();
    while credit.renew(at(0)) {
        had.push(credit.lent());
        credit.spend(credit.lent(), at(0));
    }
    assert_eq!(had[..3], [LEAST, 2 * LEAST, 4 * LEAST]);
    let used: u64 = had.iter().sum();
    assert!(
        used > (100 - PARTS) * LEAST && used <= 100 * LEAST,
        "{had:?}"
    );
    drop(credit);
    assert_eq!(lent(&permit), 0);
}

#[test]
fn a_client_that_is_let_pass_is_lent_what_is_left_of_its_limit_and_told_what_is_over() {
    let limit = 10 * LEAST;
    let permit = admit(&lending(limit, Action::LogOnly), CLIENT, at(0));
    let mut credit = permit.credit().unwrap();
    assert!(credit.renew(at(0)));
    assert!(matches!(permit.charge(limit, at(1)), Charge::Wait(_)));
    credit.give_back();
    assert_eq!(permit.charge(limit, at(2)), Charge::Grant(limit));
    assert!(!credit.renew(at(3)));
    assert_eq!(permit.charge(1, at(4)), Charge::GrantOver(1));
}

#[test]
fn a_throttled_client_is_lent_nothing_and_an_exempt_one_everything() {
    let limit = 10 * LEAST;
    let policy = lending(limit, Action::Throttle);
    let permit = admit(&policy, CLIENT, at(0));
    assert_eq!(permit.charge(limit, at(0)), Charge::Grant(limit));
    let mut credit = permit.credit().unwrap();
    assert!(!credit.renew(at(1)));
    assert!(credit.renew(at(WINDOW + 400)), "its window is empty");

    let permit = admit(&policy, EXEMPT, at(0));
    let mut credit = permit.credit().unwrap();
    assert!(credit.renew(at(0)));
    credit.spend(1 << 40, at(1));
    assert!(!credit.is_low() && credit.lent() > 1 << 50);
    assert_eq!(lent(&permit), 0, "nobody has to wait for it");
}

/// What happens to one client with some flows.
#[derive(Clone, Debug)]
enum Step {
    /// So many bytes are to be copied.
    Copy(u64),
    /// A flow asks for credit.
    Renew(usize),
    /// A flow moves so many thousandths of what it was lent.
    Move(usize, u64),
    /// What a flow has moved is counted.
    Count(usize),
    /// A flow leaves, and another comes.
    Leave(usize),
    /// So many milliseconds go by.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let flow = || 0..FLOWS;
    prop_oneof![
        3 => (1..3_000_000_u64).prop_map(Step::Copy),
        4 => flow().prop_map(Step::Renew),
        4 => (flow(), 0..=1000_u64).prop_map(|(flow, part)| Step::Move(flow, part)),
        2 => flow().prop_map(Step::Count),
        1 => flow().prop_map(Step::Leave),
        2 => (1..3_000_u64).prop_map(Step::Pass),
    ]
}

struct Flow {
    credit: Credit,
    /// Moved and not counted yet.
    pending: u64,
}

struct World {
    limit: u64,
    permit: Permit,
    flows: Vec<Flow>,
    now: u64,
    /// When how many bytes moved, and were counted.
    moved: Vec<(u64, u64)>,
    counted: Vec<(u64, u64)>,
}

impl World {
    fn new(limit: u64) -> Self {
        let permit = admit(&lending(limit, Action::Drop), CLIENT, at(0));
        let flows = (0..FLOWS).map(|_| Flow::new(&permit)).collect();
        Self {
            limit,
            permit,
            flows,
            now: 0,
            moved: Vec::new(),
            counted: Vec::new(),
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Copy(want) => self.copy(want),
            Step::Renew(flow) => drop(self.flows[flow].credit.renew(at(self.now))),
            Step::Move(flow, part) => {
                let flow = &mut self.flows[flow];
                let most = flow.credit.lent() - flow.pending;
                let bytes = most * part / 1000;
                flow.pending += bytes;
                self.moved.push((self.now, bytes));
            }
            Step::Count(flow) => self.count(flow),
            Step::Leave(flow) => {
                self.count(flow);
                self.flows[flow] = Flow::new(&self.permit);
            }
            Step::Pass(millis) => self.now += millis,
        }
    }

    fn copy(&mut self, want: u64) {
        let mut charge = self.permit.charge(want, at(self.now));
        if matches!(charge, Charge::Wait(_)) {
            for flow in 0..FLOWS {
                if self.flows[flow].credit.recall().is_cancelled() {
                    self.count(flow);
                    self.flows[flow].credit.give_back();
                }
            }
            charge = self.permit.charge(want, at(self.now));
        }
        match charge {
            Charge::Grant(bytes) => {
                assert!((1..=want).contains(&bytes));
                self.moved.push((self.now, bytes));
                self.counted.push((self.now, bytes));
            }
            Charge::Over => {
                assert_eq!(lent(&self.permit), 0, "refused while credit lies unused");
                let remembered = self.within(&self.counted, WINDOW + WINDOW / 32 + 1);
                assert!(remembered >= self.limit, "refused with {remembered}");
            }
            other => panic!("{other:?} after all was given back"),
        }
    }

    fn count(&mut self, flow: usize) {
        let flow = &mut self.flows[flow];
        flow.credit.spend(flow.pending, at(self.now));
        self.counted.push((self.now, flow.pending));
        flow.pending = 0;
    }

    fn within(&self, bytes: &[(u64, u64)], window: u64) -> u64 {
        let recent = bytes.iter().filter(|(at, _)| at + window > self.now);
        recent.map(|(_, bytes)| bytes).sum()
    }
}

impl Flow {
    fn new(permit: &Permit) -> Self {
        Self {
            credit: permit.credit().unwrap(),
            pending: 0,
        }
    }
}

proptest! {
    #[test]
    fn never_a_byte_too_many_and_nobody_is_refused_early(
        limit in 1..30_000_000_u64,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(limit);
        for step in &steps {
            world.run(step);
            let moved = world.within(&world.moved, WINDOW);
            assert!(moved <= limit, "{moved} of {limit} after {step:?}");
            let of_flows: u64 = world.flows.iter().map(|flow| flow.credit.lent()).sum();
            assert_eq!(lent(&world.permit), of_flows);
        }
        world.flows.clear();
        assert_eq!(lent(&world.permit), 0);
    }
}

const FLOWS: usize = 4;
