//! Lays out what leads from an address to its class, see [`pony_common::layout::policy::tree`].

use pony_common::layout::policy::{
    Row,
    tree::{
        PLACES_PER_ROW, Place, V4_INNER_KEYS, V4_LEAF_KEYS, V4_MAX_SHIFT, V6_INNER_KEYS,
        V6_LEAF_KEYS, V6_MAX_HEIGHT,
    },
};

use super::{TooComplex, grow, next_row, ranges::Ranges};

/// A node that has been laid out, as its parent sees it: the last number below it, and its row.
type Node<K> = (K, u32);

/// Adds the places of IPv4 and their trees, and answers how many bits do not choose a place.
pub(super) fn push_v4(rows: &mut Vec<Row>, ranges: &Ranges<u32>) -> Result<u32, TooComplex> {
    // As many places as make half a leaf of each.
    let wanted = ranges.len() / (V4_LEAF_KEYS / 2);
    let shift = (u32::BITS - wanted.max(1).ilog2()).clamp(V4_MIN_SHIFT, V4_MAX_SHIFT);
    let places = 1_u32 << (u32::BITS - shift);
    let first = rows.len();
    grow(rows, (places / PLACES_PER_ROW) as usize)?;
    let (mut at, mut below) = (0, Vec::new());
    for upper in 0..places {
        let last = upper << shift | ((1 << shift) - 1);
        below.clear();
        while ranges[at].0 < last {
            below.push((lower_half(ranges[at].0), ranges[at].1));
            at += 1;
        }
        below.push((lower_half(last), ranges[at].1));
        if ranges[at].0 == last {
            at += 1;
        }
        let place = match below[..] {
            [(_, class)] => Place::class(class),
            _ => push_v4_tree(rows, &below)?,
        };
        let row = first + (upper / PLACES_PER_ROW) as usize;
        set_u32(&mut rows[row], (upper % PLACES_PER_ROW) as usize, place.0);
    }
    Ok(shift)
}

/// At most a million places, which are four megabytes.
const V4_MIN_SHIFT: u32 = 12;

fn push_v4_tree(rows: &mut Vec<Row>, ranges: &[(u16, u16)]) -> Result<Place, TooComplex> {
    let leaves = ranges.chunks(V4_LEAF_KEYS).map(|chunk| {
        let mut row = Row([u64::MAX; 8]);
        for (at, (key, class)) in chunk.iter().enumerate() {
            set_u16(&mut row, at, *key);
            set_u16(&mut row, V4_LEAF_KEYS + at, *class);
        }
        (last_key(chunk), row)
    });
    let leaves = push_nodes(rows, leaves)?;
    push_inner(rows, leaves, V4_INNER_KEYS, |keys, first| {
        let mut row = Row([u64::MAX; 8]);
        for (at, key) in keys.enumerate() {
            set_u16(&mut row, at, key);
        }
        set_u32(&mut row, V4_INNER_KEYS / 2, first);
        row
    })
}

/// Adds the trees of IPv6, and answers its place.
pub(super) fn push_v6(rows: &mut Vec<Row>, ranges: &Ranges<u128>) -> Result<Place, TooComplex> {
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
            let place = push_v6_tree(rows, &lower)?;
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
        _ => push_v6_tree(rows, &upper),
    }
}

fn push_v6_tree(rows: &mut Vec<Row>, ranges: &[(u64, Place)]) -> Result<Place, TooComplex> {
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
    let leaves = push_nodes(rows, leaves)?;
    push_inner(rows, leaves, V6_INNER_KEYS, |keys, first| {
        let mut row = Row([u64::MAX; 8]);
        for (at, key) in keys.enumerate() {
            row.0[at] = key;
        }
        row.0[V6_INNER_KEYS] = u64::from(first);
        row
    })
}

/// Adds level upon level until one node is above all others, and answers where it is.
///
/// `row` lays out an inner node of at most `max_keys` keys, given the row of the first child.
fn push_inner<K: Copy>(
    rows: &mut Vec<Row>,
    mut level: Vec<Node<K>>,
    max_keys: usize,
    row: impl Fn(&mut dyn Iterator<Item = K>, u32) -> Row,
) -> Result<Place, TooComplex> {
    let mut height = 0;
    while level.len() > 1 {
        let nodes = level.chunks(max_keys + 1).map(|children| {
            let mut keys = children.iter().take(max_keys).map(|(key, _)| *key);
            (last_key(children), row(&mut keys, children[0].1))
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
fn push_nodes<K>(
    rows: &mut Vec<Row>,
    nodes: impl ExactSizeIterator<Item = (K, Row)>,
) -> Result<Vec<Node<K>>, TooComplex> {
    let mut level = Vec::with_capacity(nodes.len());
    for (last, row) in nodes {
        level.push((last, next_row(rows)?));
        rows.push(row);
    }
    Ok(level)
}

fn last_key<K: Copy, V>(chunk: &[(K, V)]) -> K {
    chunk.last().expect("chunks are not empty").0
}

fn set_u16(row: &mut Row, at: usize, value: u16) {
    let (word, shift) = (&mut row.0[at / 4], at % 4 * 16);
    *word = *word & !(0xffff << shift) | u64::from(value) << shift;
}

fn set_u32(row: &mut Row, at: usize, value: u32) {
    let (word, shift) = (&mut row.0[at / 2], at % 2 * 32);
    *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is not wanted"
)]
const fn lower_half(number: u32) -> u16 {
    number as u16
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
