//! Lays out what leads from an IPv4 address to its class, see
//! [`pony_common::layout::policy::tree`].

use pony_common::layout::policy::{
    Row,
    tree::{
        Leaf, MAX_SECTION_BITS, PART_BITS, Place, SECTIONS_PER_ROW, Section, V4_LEAF_BITS,
        V4_LEAF_KEYS, V4_PAIR_KEYS, V4_ROOT_BITS,
    },
};

use super::{TooComplex, grow, next_row, ranges::Ranges, set_u16};

/// Adds the sections of IPv4 and all below them, and answers the row of the first.
pub(super) fn push(rows: &mut Vec<Row>, ranges: &Ranges<u32>) -> Result<u32, TooComplex> {
    push_sections(
        rows,
        ranges,
        Span {
            first: 0,
            size: u32::BITS,
        },
        V4_ROOT_BITS,
    )
}

/// 2^`size` addresses.
#[derive(Clone, Copy)]
struct Span {
    first: u32,
    size: u32,
}

impl Span {
    fn last(self) -> u32 {
        self.first | !(u32::MAX.checked_shl(self.size).unwrap_or(0))
    }
}

/// Adds 2^`bits` sections that make the whole span. `ranges` are those that it has a part in.
fn push_sections(
    rows: &mut Vec<Row>,
    mut ranges: &[(u32, u16)],
    span: Span,
    bits: u32,
) -> Result<u32, TooComplex> {
    let row = next_row(rows)?;
    let sections = 1 << bits;
    grow(rows, (sections / SECTIONS_PER_ROW) as usize)?;
    for at in 0..sections {
        let size = span.size - bits;
        let part = Span {
            first: span.first | at << size,
            size,
        };
        ranges = &ranges[ranges.partition_point(|(last, _)| *last < part.first)..];
        let end = ranges.partition_point(|(last, _)| *last < part.last());
        let section = push_below(rows, &ranges[..=end], part)?;
        let words = &mut rows[(row + at / SECTIONS_PER_ROW) as usize].0;
        let word = (at % SECTIONS_PER_ROW * 2) as usize;
        words[word..word + 2].copy_from_slice(&section.to_words());
    }
    Ok(row)
}

/// Adds what is below a section.
fn push_below(
    rows: &mut Vec<Row>,
    ranges: &[(u32, u16)],
    span: Span,
) -> Result<Section, TooComplex> {
    if let [(_, class)] = *ranges {
        return Ok(Section {
            mixed: 0,
            below: Place(0),
            class,
        });
    }
    let (class, mixed) = main_class(ranges, span);
    let below = match leaf(ranges) {
        Some(leaf) if span.size <= V4_LEAF_BITS => push_leaf(rows, ranges, leaf)?,
        _ => {
            let bits = section_bits(ranges.len(), span.size);
            Place::sections(push_sections(rows, ranges, span, bits)?, bits)
        }
    };
    Ok(Section {
        mixed,
        below,
        class,
    })
}

/// The class that most parts of a section have as a whole, and for each part whether it has not.
fn main_class(ranges: &[(u32, u16)], span: Span) -> (u16, u64) {
    // The parts of each class, and those that have several.
    let (mut whole, mut shared) = (Vec::<(u16, u64)>::new(), 0_u64);
    let part_size = span.size.saturating_sub(PART_BITS);
    let mut first = span.first;
    for (last, class) in ranges {
        let last = (*last).min(span.last());
        let [from, to] = [first, last].map(|addr| Section::part(addr, span.size));
        let parts = u64::MAX << from & u64::MAX >> (63 - to);
        if first.trailing_zeros() < part_size {
            shared |= 1 << from;
        }
        if last.trailing_ones() < part_size {
            shared |= 1 << to;
        }
        match whole.iter_mut().find(|(known, _)| known == class) {
            Some((_, known)) => *known |= parts,
            None => whole.push((*class, parts)),
        }
        first = last.wrapping_add(1);
    }
    let main = whole
        .into_iter()
        .max_by_key(|(_, parts)| (parts & !shared).count_ones());
    main.map_or((0, u64::MAX), |(class, parts)| (class, !parts | shared))
}

/// The leaf that has room for these ranges, if one has.
fn leaf(ranges: &[(u32, u16)]) -> Option<Leaf> {
    let is_pair = ranges.iter().zip(&ranges[2..]).all(|(a, b)| a.1 == b.1);
    match ranges.len() {
        // The last range needs no key.
        ..=PAIR_RANGES if is_pair => Some(Leaf::Pair),
        ..=V4_LEAF_KEYS => Some(Leaf::Any),
        ..=WIDE_PAIR_RANGES if is_pair => Some(Leaf::WidePair),
        _ => None,
    }
}

fn push_leaf(rows: &mut Vec<Row>, ranges: &[(u32, u16)], leaf: Leaf) -> Result<Place, TooComplex> {
    let place = Place::leaf(next_row(rows)?, leaf);
    let mut keys = ranges.iter().map(|(last, _)| lower_half(*last));
    if leaf == Leaf::Any {
        let mut row = Row([u64::MAX; 8]);
        for (at, (key, (_, class))) in keys.zip(ranges).enumerate() {
            set_u16(&mut row, at, key);
            set_u16(&mut row, V4_LEAF_KEYS + at, *class);
        }
        // The last range may end behind the leaf.
        set_u16(&mut row, ranges.len() - 1, u16::MAX);
        rows.push(row);
        return Ok(place);
    }
    // The last range needs none.
    keys.next_back();
    for _ in 0..leaf as u32 {
        next_row(rows)?;
        let mut row = Row([u64::MAX; 8]);
        for (at, key) in keys.by_ref().take(V4_PAIR_KEYS).enumerate() {
            set_u16(&mut row, at, key);
        }
        for (at, (_, class)) in ranges.iter().take(2).enumerate() {
            set_u16(&mut row, V4_PAIR_KEYS + at, *class);
        }
        rows.push(row);
    }
    Ok(place)
}

/// How many bits of an address choose one of the sections below a section of 2^`size` addresses
/// with so many ranges: as few as make most of them fit into a leaf of two rows, because sections
/// are what every packet looks at, and more of them are farther from the processor.
fn section_bits(ranges: usize, size: u32) -> u32 {
    // Nothing is told apart by a leaf before that many are.
    let least = size.saturating_sub(V4_LEAF_BITS).max(2);
    let fits = |bits: &u32| ranges >> bits <= WIDE_PAIR_RANGES * 2 / 3;
    let bits = (least..MAX_SECTION_BITS).step_by(2).find(fits);
    bits.unwrap_or(MAX_SECTION_BITS).min(size)
}

const PAIR_RANGES: usize = V4_PAIR_KEYS + 1;
const WIDE_PAIR_RANGES: usize = 2 * V4_PAIR_KEYS + 1;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the other half is not wanted"
)]
const fn lower_half(number: u32) -> u16 {
    number as u16
}
