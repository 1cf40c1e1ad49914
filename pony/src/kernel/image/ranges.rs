//! From access lists to disjoint ranges of addresses, each of one class.

use std::collections::HashMap;

use pony_common::layout::policy::Standing;

use super::TooComplex;
use crate::config::{Access, IpNet};

/// An address as a number.
pub(super) trait Number: Copy + Ord {
    const ZERO: Self;
    const LAST: Self;
    /// The next number, if this is not the last.
    fn next(self) -> Option<Self>;
    /// The number before. Not for zero.
    fn before(self) -> Self;
}

impl Number for u32 {
    const ZERO: Self = 0;
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn before(self) -> Self {
        self.wrapping_sub(1)
    }
}

impl Number for u128 {
    const ZERO: Self = 0;
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn before(self) -> Self {
        self.wrapping_sub(1)
    }
}

/// From which address on a listener stands how to clients, in ascending order. The first is zero.
pub(super) type FamilySteps<N> = Vec<(N, Standing)>;

/// How a listener stands to all addresses.
#[derive(Eq, PartialEq)]
pub(super) struct Steps {
    pub(super) v4: FamilySteps<u32>,
    pub(super) v6: FamilySteps<u128>,
}

impl Steps {
    pub(super) fn new(access: &Access) -> Self {
        let v4 = |net: &IpNet| match net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(_) => None,
        };
        let v6 = |net: &IpNet| match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
        };
        Self {
            v4: family_steps(access, v4),
            v6: family_steps(access, v6),
        }
    }
}

/// `range` gives the first and the last address of a prefix, if it is of the right family.
fn family_steps<N: Number>(
    access: &Access,
    range: impl Fn(&IpNet) -> Option<(N, N)>,
) -> FamilySteps<N> {
    let lists = [&access.allow, &access.deny, &access.exempt];
    let mut edges = Vec::with_capacity(2 * lists.iter().map(|list| list.len()).sum::<usize>());
    for (list, nets) in (0_u8..).zip(lists) {
        for (first, last) in nets.iter().filter_map(&range) {
            edges.push((first, list, true));
            if let Some(next) = last.next() {
                edges.push((next, list, false));
            }
        }
    }
    edges.sort_unstable_by_key(|(at, ..)| *at);

    // How many prefixes of each list the address is in.
    let mut inside = [0_usize; 3];
    let mut steps = vec![(N::ZERO, Standing::Denied)];
    for together in edges.chunk_by(|a, b| a.0 == b.0) {
        for (_, list, begins) in together {
            let inside = &mut inside[usize::from(*list)];
            *inside = if *begins {
                inside.wrapping_add(1)
            } else {
                inside.wrapping_sub(1)
            };
        }
        let standing = match inside {
            [0, ..] => Standing::Denied,
            [_, 0, 0] => Standing::Limited,
            [_, 0, _] => Standing::Exempt,
            _ => Standing::Denied,
        };
        push_step(&mut steps, together[0].0, standing);
    }
    steps
}

fn push_step<N: Number, T: PartialEq>(steps: &mut Vec<(N, T)>, at: N, value: T) {
    match steps.last_mut() {
        Some((last, known)) if *last == at => *known = value,
        Some((_, known)) if *known == value => {}
        _ => steps.push((at, value)),
    }
}

/// Kinds of addresses.
#[derive(Default)]
pub(super) struct Classes {
    /// How every group of listeners stands to each class.
    pub(super) standings: Vec<Box<[Standing]>>,
    numbers: HashMap<Box<[Standing]>, u16>,
}

/// The last address of each range, in ascending order, and its class.
pub(super) type Ranges<N> = Vec<(N, u16)>;

impl Classes {
    /// Divides a family into ranges that no group tells apart, given the steps of every group.
    pub(super) fn divide<N: Number>(
        &mut self,
        groups: Vec<FamilySteps<N>>,
    ) -> Result<Ranges<N>, TooComplex> {
        let mut changes = Vec::with_capacity(groups.iter().map(Vec::len).sum());
        let mut current = vec![Standing::Limited; groups.len()];
        for (group, steps) in (0_u32..).zip(groups) {
            let steps = steps.into_iter();
            changes.extend(steps.map(|(at, standing)| (at, group, standing)));
        }
        changes.sort_unstable_by_key(|(at, ..)| *at);

        let mut begins = Vec::with_capacity(changes.len().max(1));
        for together in changes.chunk_by(|a, b| a.0 == b.0) {
            for (_, group, standing) in together {
                current[*group as usize] = *standing;
            }
            push_step(&mut begins, together[0].0, self.number(&current)?);
        }
        if begins.is_empty() {
            begins.push((N::ZERO, self.number(&current)?));
        }
        Ok(ends(begins))
    }

    fn number(&mut self, standings: &[Standing]) -> Result<u16, TooComplex> {
        // With few there is nothing faster than looking.
        let first = (0..).zip(self.standings.iter().take(LOOKED_AT));
        for (number, known) in first {
            if **known == *standings {
                return Ok(number);
            }
        }
        if let Some(known) = self.numbers.get(standings) {
            return Ok(*known);
        }
        let number = u16::try_from(self.standings.len()).map_err(|_full| TooComplex::Classes)?;
        self.standings.push(standings.into());
        self.numbers.insert(standings.into(), number);
        Ok(number)
    }
}

/// How many classes are looked at before a table is asked.
const LOOKED_AT: usize = 4;

/// From where each range begins to where it ends.
fn ends<N: Number>(mut ranges: Ranges<N>) -> Ranges<N> {
    for at in 1..ranges.len() {
        ranges[at - 1].0 = ranges[at].0.before();
    }
    if let Some((last, _)) = ranges.last_mut() {
        *last = N::LAST;
    }
    ranges
}
