//! Lays out what leads from an IPv6 address to its class, see
//! [`pony_common::layout::policy::tree`].

use pony_common::layout::policy::{
    Row,
    tree::{Place, V6_INNER_KEYS, V6_LEAF_KEYS, V6_MAX_HEIGHT},
};

use super::{TooComplex, next_row, ranges::Ranges, set_u32};

/// A node that has been laid out, as its parent sees it: the last number below it, and its row.
type Node = (u64, u32);

/// Adds the trees of IPv6, and answers its place.
pub(super) fn push(rows: &mut Vec<Row>, ranges: &Ranges<u128>) -> Result<Place, TooComplex> {
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    // Of the last range that was looked at, everything up to here has its place.
    let mut next = 0_u128;
    for (last, class) in ranges {
        let class = Place::class(*class);
        if !lower.is_empty() {
            // Some range ended inside this upper half.
            let end = next | u128::from(u64::MAX);
            lower.push((low(end.min(*last)), class));
            if *last < end {
                continue;
            }
            let place = push_tree(rows, &lower)?;
            upper.push((high(end), place));
            lower.clear();
            next = end.wrapping_add(1);
            if *last == end {
                continue;
            }
        }
        if low(*last) == u64::MAX {
            upper.push((high(*last), class));
            next = last.wrapping_add(1);
            continue;
        }
        let begin = *last & !u128::from(u64::MAX);
        if begin > next {
            upper.push((high(begin - 1), class));
        }
        lower.push((low(*last), class));
        next = begin;
    }
    match upper[..] {
        [(_, place)] => Ok(place),
        _ => push_tree(rows, &upper),
    }
}

fn push_tree(rows: &mut Vec<Row>, ranges: &[(u64, Place)]) -> Result<Place, TooComplex> {
    let leaves = ranges.chunks(V6_LEAF_KEYS + 1).map(|chunk| {
        let mut row = Row([u64::MAX; 8]);
        for (at, (key, place)) in chunk.iter().enumerate() {
            if at < V6_LEAF_KEYS {
                row.0[at] = *key;
            }
            set_u32(&mut row, 2 * V6_LEAF_KEYS + at, place.0);
        }
        (last_key(chunk), row)
    });
    let mut level = push_nodes(rows, leaves)?;
    let mut height = 0;
    while level.len() > 1 {
        let nodes = level.chunks(V6_INNER_KEYS + 1).map(|children| {
            let mut row = Row([u64::MAX; 8]);
            for (at, (key, _)) in children.iter().take(V6_INNER_KEYS).enumerate() {
                row.0[at] = *key;
            }
            row.0[V6_INNER_KEYS] = u64::from(children[0].1);
            (last_key(children), row)
        });
        level = push_nodes(rows, nodes)?;
        height += 1;
    }
    if height > V6_MAX_HEIGHT {
        return Err(TooComplex::Size);
    }
    Ok(Place::tree(level[0].1, height))
}

/// Adds the nodes of a level, one after the other.
fn push_nodes(
    rows: &mut Vec<Row>,
    nodes: impl ExactSizeIterator<Item = (u64, Row)>,
) -> Result<Vec<Node>, TooComplex> {
    let mut level = Vec::with_capacity(nodes.len());
    for (last, row) in nodes {
        level.push((last, next_row(rows)?));
        rows.push(row);
    }
    Ok(level)
}

fn last_key<V>(chunk: &[(u64, V)]) -> u64 {
    chunk.last().expect("chunks are not empty").0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is not wanted"
)]
const fn low(number: u128) -> u64 {
    number as u64
}

const fn high(number: u128) -> u64 {
    low(number >> 64)
}
