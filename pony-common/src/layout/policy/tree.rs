//! From an address to its class.
//!
//! IPv4: *sections*, equal parts of all addresses, four in a row. A section says of each 64th of
//! it whether that is all of the section's main class; only where it is not does the way lead on,
//! into a leaf or into smaller sections. So of a list of a million addresses, a packet from one
//! that is not on it hardly ever needs what the list takes most room for: that is far from the
//! processor, and costs more than all else together.
//! IPv6: one place, a tree over the upper half of an address, whose places may be trees over the
//! lower half.
//!
//! A leaf or node is a row, or two. Keys ascend, and each is the *last* number of what is below it,
//! so the way down is the number of keys that are less than what is looked for, and unused keys are
//! all ones. Counting is done without branches: an attacker's random addresses would have half of
//! them predicted wrong, and the kernel's verifier follows every one.
//!
//! | row | keys | below |
//! |---|---|---|
//! | four IPv4 sections | | each a word of parts, and a word of place, `u32`, and class, `u16` |
//! | IPv4 leaf | 16 × `u16` | 16 classes, `u16` |
//! | IPv4 leaf of two classes | 30 × `u16` | the classes of the first range, of the second, and so on in turns |
//! | the second row of such a leaf | 30 × `u16` | |
//! | IPv6 inner | 7 × `u64` | row of the first of 8 nodes, in 64 bits |
//! | IPv6 leaf | 5 × `u64` | 6 places, `u32` |

use super::{
    super::{high, low},
    Row, Rows,
};
use crate::addr::Addr16;

/// The bits of an IPv4 address that choose its first section.
pub const V4_ROOT_BITS: u32 = 8;
/// The most bits that choose a smaller section.
pub const MAX_SECTION_BITS: u32 = 10;
/// How many sections there are in a row.
pub const SECTIONS_PER_ROW: u32 = 4;
/// In how many parts a section is told apart, as a power of two.
pub const PART_BITS: u32 = 6;
/// A leaf is over this many bits of an address at most.
pub const V4_LEAF_BITS: u32 = 16;
/// Keys of an IPv4 leaf: as many as it has classes.
pub const V4_LEAF_KEYS: usize = 16;
/// Keys of a row of an IPv4 leaf of two classes.
pub const V4_PAIR_KEYS: usize = 30;
/// How often an IPv4 section leads to smaller ones, each time with two bits or more of the
/// address, and with eight or more as long as more than [`V4_LEAF_BITS`] are left.
pub const V4_MAX_LEVELS: u32 = 10;
/// Keys of an IPv6 leaf, one less than it has places.
pub const V6_LEAF_KEYS: usize = 5;
/// Keys of an IPv6 inner node, one less than it has children.
pub const V6_INNER_KEYS: usize = 7;
/// How high an IPv6 tree can be: 6 × 8⁷ ranges.
pub const V6_MAX_HEIGHT: u32 = 7;

/// What comes next on the way from an address to its class: where it is, and what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct Place(pub u32);

impl Place {
    /// A class, for IPv6.
    pub const fn class(class: u16) -> Self {
        Self(IS_CLASS | class as u32)
    }

    /// A tree, for IPv6: the row of its root and how many inner nodes there are above a leaf. `row`
    /// is at most [`Place::MAX_ROW`], `height` at most [`V6_MAX_HEIGHT`].
    #[inline(always)]
    pub const fn tree(row: u32, height: u32) -> Self {
        Self((height << HEIGHT_SHIFT) | (row & Self::MAX_ROW))
    }

    /// A leaf, for IPv4.
    pub const fn leaf(row: u32, leaf: Leaf) -> Self {
        Self::tree(row, leaf as u32)
    }

    /// Sections, for IPv4: the row of the first, and how many bits of the address choose one of
    /// them: an even number from 2 to [`MAX_SECTION_BITS`].
    pub const fn sections(row: u32, bits: u32) -> Self {
        Self::tree(row, SECTIONS + bits / 2)
    }

    /// The largest row number that fits.
    pub const MAX_ROW: u32 = (1 << HEIGHT_SHIFT) - 1;

    #[inline(always)]
    const fn is_class(self) -> bool {
        self.0 & IS_CLASS != 0
    }

    #[inline(always)]
    const fn to_class(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    #[inline(always)]
    const fn row(self) -> u32 {
        self.0 & Self::MAX_ROW
    }

    #[inline(always)]
    const fn height(self) -> u32 {
        self.0 >> HEIGHT_SHIFT & 7
    }

    /// The bits that choose one of the sections. `None` if it is a leaf.
    #[inline(always)]
    const fn section_bits(self) -> Option<u32> {
        match self.height() {
            height @ FIRST_SECTIONS.. => Some((height - SECTIONS) * 2),
            _ => None,
        }
    }
}

const IS_CLASS: u32 = 1 << 31;
const HEIGHT_SHIFT: u32 = 28;
/// In place of a height: sections by no bits at all.
const SECTIONS: u32 = 2;
const FIRST_SECTIONS: u32 = SECTIONS + 1;

/// The kinds of leaves of IPv4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Leaf {
    /// Of up to 16 ranges, of any classes.
    Any = 0,
    /// Of up to 31 ranges, of two classes in turns.
    Pair = 1,
    /// Of up to 61 ranges, of two classes in turns, in two rows.
    WidePair = 2,
}

/// A part of the IPv4 addresses. Two words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Section {
    /// For each part, from the lowest bit, whether it has an address that is not of `class`.
    pub mixed: u64,
    /// Where the classes of such a part are found.
    pub below: Place,
    /// The class of all other parts.
    pub class: u16,
}

impl Section {
    /// As it stands in a row.
    pub const fn to_words(self) -> [u64; 2] {
        [self.mixed, self.below.0 as u64 | (self.class as u64) << 32]
    }

    /// The part that an address is in, of a section of 2^`size` addresses. One that has fewer
    /// addresses than parts uses those that the lowest bits of its addresses choose.
    #[inline(always)]
    pub const fn part(addr: u32, size: u32) -> u32 {
        let shift = size.saturating_sub(PART_BITS);
        addr >> (shift % u32::BITS) & ((1 << PART_BITS) - 1)
    }
}

/// The class of an address, given the row of the first section of IPv4 and the place of IPv6.
/// `None` if the image is broken.
#[inline(always)]
pub(super) fn class<R: Rows + ?Sized>(rows: &R, v4: u32, v6: Place, addr: Addr16) -> Option<u16> {
    let (upper, lower) = addr.halves();
    if addr.is_v4() {
        return v4_class(rows, v4, low(lower));
    }
    v6_class(rows, v6, upper, lower)
}

#[inline(always)]
fn v4_class<R: Rows + ?Sized>(rows: &R, root: u32, addr: u32) -> Option<u16> {
    let (mut first, mut bits, mut size) = (root, V4_ROOT_BITS, u32::BITS);
    for _ in 0..V4_MAX_LEVELS {
        size = size.wrapping_sub(bits);
        let at = addr >> (size % u32::BITS) & !(u32::MAX << bits);
        let row = rows.row(first.wrapping_add(at / SECTIONS_PER_ROW))?;
        let word = (at % SECTIONS_PER_ROW * 2) as usize;
        let (mixed, below) = (*row.0.get(word)?, *row.0.get(word + 1)?);
        if mixed >> Section::part(addr, size) & 1 == 0 {
            return Some((high(below) & 0xffff) as u16);
        }
        let place = Place(low(below));
        let Some(more_bits) = place.section_bits() else {
            return v4_leaf(rows, place, addr & 0xffff);
        };
        (first, bits) = (place.row(), more_bits);
    }
    None
}

#[inline(always)]
fn v4_leaf<R: Rows + ?Sized>(rows: &R, place: Place, addr: u32) -> Option<u16> {
    let row = rows.row(place.row())?;
    if place.height() == Leaf::Any as u32 {
        let at = lanes_less(row.0.first_chunk::<4>()?, addr) % 16;
        let word = row.0.get(4 + at as usize / 4)?;
        return Some((word >> (at % 4 * 16) & 0xffff) as u16);
    }
    let mut at = pair_keys_less(row, addr);
    if place.height() == Leaf::WidePair as u32 {
        at += pair_keys_less(rows.row(place.row() + 1)?, addr);
    }
    let [.., classes] = row.0;
    Some((classes >> (32 + at % 2 * 16) & 0xffff) as u16)
}

/// How many keys of a row of a leaf of two classes are less than the lower half of an address.
#[inline(always)]
fn pair_keys_less(row: &Row, addr: u32) -> u32 {
    let [keys @ .., last] = &row.0;
    // All ones are never less.
    lanes_less(keys, addr) + lanes_less(&[last | 0xffff_ffff << 32], addr)
}

/// How many of the 16-bit numbers are less than `x`, which has 16 bits too.
#[inline(always)]
fn lanes_less<const N: usize>(words: &[u64; N], x: u32) -> u32 {
    // Every other lane at a time, so that each has room for a 17th bit: that of
    // `2¹⁶ + x - 1 - key`, which is one if and only if the key is less than `x`.
    let minuend = (0xffff + u64::from(x)) * ONES;
    let less = |keys: u64| (minuend.wrapping_sub(keys & LANES) >> 16) & ONES;
    let mut sum = 0;
    for word in words {
        sum += less(*word) + less(word >> 16);
    }
    low(sum) + high(sum)
}

/// A one in each of the two lanes of 32 bits.
const ONES: u64 = 0x1_0000_0001;
/// Two lanes of 16 bits, with room above each.
const LANES: u64 = 0xffff * ONES;

#[inline(always)]
fn v6_class<R: Rows + ?Sized>(rows: &R, mut place: Place, upper: u64, lower: u64) -> Option<u16> {
    let mut addr = upper;
    for _ in 0..2 * (V6_MAX_HEIGHT + 1) {
        if place.is_class() {
            break;
        }
        let row = rows.row(place.row())?;
        if place.height() == 0 {
            place = v6_leaf(row, addr)?;
            // If it is a tree, it is over the lower half.
            addr = lower;
        } else {
            place = v6_inner(row, addr, place.height());
        }
    }
    place.is_class().then_some(place.to_class())
}

#[inline(always)]
fn v6_leaf(row: &Row, addr: u64) -> Option<Place> {
    let keys = row.0.first_chunk::<V6_LEAF_KEYS>()?;
    nth_u32(row, FIRST_PLACE + count_less(keys, addr))
}

#[inline(always)]
fn v6_inner(row: &Row, addr: u64, height: u32) -> Place {
    let [keys @ .., first] = &row.0;
    let at = count_less(keys, addr);
    Place::tree(low(*first).wrapping_add(at), height - 1)
}

/// Where the places of an IPv6 leaf begin, of the sixteen for which a row has room.
const FIRST_PLACE: u32 = 10;

/// How many of the keys are less than `x`.
#[inline(always)]
fn count_less<const N: usize>(keys: &[u64; N], x: u64) -> u32 {
    let mut count = 0;
    for key in keys {
        count += less(*key, x);
    }
    low(count)
}

/// One if `a < b`, else zero: the borrow of `a - b`.
#[inline(always)]
pub(crate) const fn less(a: u64, b: u64) -> u64 {
    ((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63
}

/// The place at `at` of the sixteen that a row has room for.
#[inline(always)]
fn nth_u32(row: &Row, at: u32) -> Option<Place> {
    let word = row.0.get(at as usize / 2)?;
    Some(Place(low(word >> (at % 2 * 32))))
}
