//! Builds the policy image that the guard reads, see [`pony_common::layout::policy`].
//!
//! The access lists of all listeners become disjoint ranges of addresses, ranges that no listener
//! tells apart become one class, and what leads from an address to its class is laid out for the
//! guard. Pure: lists in, rows out.
//!
//! Time and memory are those of sorting all prefixes. A million take about a second, and for that
//! time up to 200 MB. The image then has 7 MB for a million IPv4 addresses, 24 MB for IPv6 sites,
//! and 90 MB for IPv6 addresses each at another site.

mod ranges;
mod sections;
mod trees;

use pony_common::{
    layout::policy::{FIRST_LISTENER, Header, Lists, Row, Rule, standing_at},
    limit::{AttemptLimit, BandwidthLimit},
    time::Nanos,
};

use self::ranges::{Classes, Steps};
use crate::config::{Access, Limits, Protocol, Refuse};

/// What the image says about one listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerPolicy<'a> {
    pub access: &'a Access,
    pub rule: Rule,
}

/// Why there is no image of a policy. The daemon then enforces it alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TooComplex {
    #[error("the listeners' access lists tell more than {MAX_CLASSES} kinds of clients apart")]
    Classes,
    #[error("the access lists take more than {} MiB as a table", MAX_ROWS >> 14)]
    Size,
}

/// Builds the image. A listener's number is its place in `listeners`.
pub fn build(generation: u64, listeners: &[ListenerPolicy<'_>]) -> Result<Vec<Row>, TooComplex> {
    let number = u32::try_from(listeners.len()).map_err(|_too_many| TooComplex::Size)?;
    let (mut groups, mut steps) = (Vec::with_capacity(listeners.len()), Vec::new());
    for listener in listeners {
        groups.push(group(&mut steps, Steps::new(listener.access)));
    }
    let (v4_steps, v6_steps): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .map(|steps: Steps| (steps.v4, steps.v6))
        .unzip();
    let mut classes = Classes::default();
    let v4 = classes.divide(v4_steps)?;
    let v6 = classes.divide(v6_steps)?;

    // Row 0, and a row for each listener.
    let mut rows = vec![Row::default(); 1 + listeners.len()];
    let standings = next_row(&rows)?;
    push_standings(&mut rows, &classes, &groups)?;
    let v4 = sections::push(&mut rows, &v4)?;
    let v6 = trees::push(&mut rows, &v6)?;
    let header = Header {
        generation,
        listeners: number,
        standings,
    };
    rows[0] = header.to_row();
    let own_rows = &mut rows[FIRST_LISTENER as usize..];
    for ((row, listener), group) in own_rows.iter_mut().zip(listeners).zip(groups) {
        let standings: Vec<_> = classes.standings.iter().map(|class| class[group]).collect();
        *row = listener.rule.to_row(&Lists {
            generation,
            v4,
            v6,
            standings: &standings,
        });
    }
    Ok(rows)
}

/// What the guard enforces of a listener's limits by itself.
///
/// The rest takes knowledge of connections and sessions, which only the daemon has.
pub fn rule(protocol: Protocol, limits: &Limits, refuse: Refuse) -> Rule {
    let no_attempts = AttemptLimit {
        max: 0,
        window: Nanos::ZERO,
    };
    let no_bandwidth = BandwidthLimit {
        limit: 0,
        window: Nanos::ZERO,
        action: limits.action,
        throttle_minimum: 0,
    };
    let attempts = limits.attempts.map(|limit| AttemptLimit {
        max: limit.max,
        window: limit.window.into(),
    });
    let bandwidth = limits.bandwidth.map(|limit| BandwidthLimit {
        action: limits.action,
        ..limit
    });
    Rule {
        reset: refuse == Refuse::Reset,
        action: limits.action,
        ipv6_prefix: limits.ipv6_prefix,
        attempts: match protocol {
            Protocol::Tcp => attempts.unwrap_or(no_attempts),
            Protocol::Udp => no_attempts,
        },
        bandwidth: match protocol {
            Protocol::Tcp => no_bandwidth,
            Protocol::Udp => bandwidth.unwrap_or(no_bandwidth),
        },
    }
}

/// The group of listeners that have the same steps.
fn group(groups: &mut Vec<Steps>, steps: Steps) -> usize {
    if let Some(known) = groups.iter().position(|known| *known == steps) {
        return known;
    }
    groups.push(steps);
    groups.len() - 1
}

/// A byte per class and listener.
fn push_standings(
    rows: &mut Vec<Row>,
    classes: &Classes,
    groups: &[usize],
) -> Result<(), TooComplex> {
    let first = rows.len();
    let bytes = classes.standings.len() * groups.len();
    grow(rows, bytes.div_ceil(size_of::<Row>()))?;
    let listeners = u32::try_from(groups.len()).map_err(|_too_many| TooComplex::Size)?;
    for (class, standings) in (0..=u16::MAX).zip(&classes.standings) {
        for (listener, group) in (0..listeners).zip(groups) {
            let (row, word, shift) = standing_at(class, listener, listeners);
            let word = &mut rows[first + row as usize].0[word as usize];
            *word |= u64::from(standings[*group] as u8) << shift;
        }
    }
    Ok(())
}

/// Adds empty rows.
fn grow(rows: &mut Vec<Row>, by: usize) -> Result<(), TooComplex> {
    if rows.len() + by > MAX_ROWS {
        return Err(TooComplex::Size);
    }
    rows.resize(rows.len() + by, Row::default());
    Ok(())
}

fn set_u16(row: &mut Row, at: usize, value: u16) {
    let (word, shift) = (&mut row.0[at / 4], at % 4 * 16);
    *word = *word & !(0xffff << shift) | u64::from(value) << shift;
}

fn set_u32(row: &mut Row, at: usize, value: u32) {
    let (word, shift) = (&mut row.0[at / 2], at % 2 * 32);
    *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

/// The number of the row that is added next.
fn next_row(rows: &[Row]) -> Result<u32, TooComplex> {
    match u32::try_from(rows.len()) {
        Ok(row) if rows.len() < MAX_ROWS => Ok(row),
        _ => Err(TooComplex::Size),
    }
}

/// A class is a `u16`.
const MAX_CLASSES: usize = 1 << 16;
/// 256 MiB.
const MAX_ROWS: usize = 1 << 22;

#[cfg(test)]
mod tests;
