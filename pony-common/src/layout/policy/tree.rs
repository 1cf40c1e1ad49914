//! From an address to its class.
//!
//! IPv4: places, one for each value of an address's upper bits, sixteen in a row; each is a class
//! or a tree over the lower half. The more ranges, the more bits, so that most trees are leaves.
//! IPv6: one place, a tree over the upper half of an address, whose places may be trees over the
//! lower half.
//!
//! A tree's node is a row. Keys ascend, and each is the *last* number of what is below it, so the
//! way down is the number of keys that are less than what is looked for, and unused keys are all
//! ones. Counting is done without branches: an attacker's random addresses would have half of
//! them predicted wrong, and the kernel's verifier follows every one.
//!
//! | node | keys | below |
//! |---|---|---|
//! | IPv4 inner | 30 × `u16` | row of the first of 31 nodes, `u32` |
//! | IPv4 leaf | 16 × `u16` | 16 classes, `u16` |
//! | IPv6 inner | 7 × `u64` | row of the first of 8 nodes, in 64 bits |
//! | IPv6 leaf | 5 × `u64` | 6 places, `u32` |

use super::{
    super::{high, low},
    Header, Row, Rows,
};
use crate::addr::Addr16;

/// At least the upper half of an IPv4 address chooses its place.
pub const V4_MAX_SHIFT: u32 = 16;
/// How many places there are in a row.
pub const PLACES_PER_ROW: u32 = 16;
/// Keys of an IPv4 leaf: as many as it has classes.
pub const V4_LEAF_KEYS: usize = 16;
/// Keys of an IPv4 inner node, one less than it has children.
pub const V4_INNER_KEYS: usize = 30;
/// Keys of an IPv6 leaf, one less than it has places.
pub const V6_LEAF_KEYS: usize = 5;
/// Keys of an IPv6 inner node, one less than it has children.
pub const V6_INNER_KEYS: usize = 7;
/// How high an IPv4 tree can be: 16 × 31³ ranges are more than there are addresses below it.
pub const V4_MAX_HEIGHT: u32 = 3;
/// How high an IPv6 tree can be: 6 × 8⁷ ranges.
pub const V6_MAX_HEIGHT: u32 = 7;

/// A class, or a tree: the row of its root and how many inner nodes there are above a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct Place(pub u32);

impl Place {
    /// A class.
    pub const fn class(class: u16) -> Self {
        Self(IS_CLASS | class as u32)
    }

    /// A tree. `row` is below [`Place::MAX_ROW`], `height` at most [`V6_MAX_HEIGHT`].
    #[inline(always)]
    pub const fn tree(row: u32, height: u32) -> Self {
        Self((height << HEIGHT_SHIFT) | (row & Self::MAX_ROW))
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
}

const IS_CLASS: u32 = 1 << 31;
const HEIGHT_SHIFT: u32 = 28;

/// The class of an address. `None` if the image is broken.
#[inline(always)]
pub(super) fn class<R: Rows + ?Sized>(rows: &R, header: &Header, addr: Addr16) -> Option<u16> {
    let (upper, lower) = addr.halves();
    if addr.is_v4() {
        return v4_class(rows, header, low(lower));
    }
    v6_class(rows, header.v6, upper, lower)
}

#[inline(always)]
fn v4_class<R: Rows + ?Sized>(rows: &R, header: &Header, addr: u32) -> Option<u16> {
    let at = addr >> (header.v4_shift % u32::BITS);
    let row = rows.row(header.v4.wrapping_add(at / PLACES_PER_ROW))?;
    let mut place = nth_u32(row, at % PLACES_PER_ROW)?;
    for _ in 0..=V4_MAX_HEIGHT {
        if place.is_class() {
            break;
        }
        let row = rows.row(place.row())?;
        place = if place.height() == 0 {
            Place::class(v4_leaf(row, addr & 0xffff)?)
        } else {
            v4_inner(row, addr & 0xffff, place.height())
        };
    }
    place.is_class().then_some(place.to_class())
}

#[inline(always)]
fn v4_leaf(row: &Row, addr: u32) -> Option<u16> {
    let keys = row.0.first_chunk::<4>()?;
    let at = lanes_less(keys, addr) % 16;
    let word = row.0.get(4 + at as usize / 4)?;
    Some((word >> (at % 4 * 16) & 0xffff) as u16)
}

#[inline(always)]
fn v4_inner(row: &Row, addr: u32, height: u32) -> Place {
    let [keys @ .., last] = &row.0;
    // Two keys and a row. All ones are never less.
    let at = lanes_less(keys, addr) + lanes_less(&[last | 0xffff_ffff << 32], addr);
    Place::tree(high(*last).wrapping_add(at), height - 1)
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
