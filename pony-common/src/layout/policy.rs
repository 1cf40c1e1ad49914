//! `POLICY`: the rules of all listeners as one image, which is replaced whole.
//!
//! The image is an array of [`Row`]s, each a cache line:
//!
//! - row 0 is the [`Header`]: the schema, the generation, and where the standings are;
//! - a row per [`Listener`]: its [`Rule`], where the way to a class begins, and how it stands to
//!   the first classes. A class is a set of addresses that no listener tells apart, so that a
//!   packet costs the same whatever the number of listeners;
//! - the *standings*: a byte per class and listener;
//! - what leads from an address to its class, see [`tree`].
//!
//! The daemon builds an image from the configuration and tells nobody before it is complete; the
//! guard reads one image per packet. So no packet is judged by half of an old and half of a new
//! policy.

pub mod tree;

use self::tree::Place;
use super::{high, low, pair, settings::SCHEMA};
use crate::{
    addr::Addr16,
    limit::{Action, AttemptLimit, BandwidthLimit},
    time::Nanos,
};

/// A part of the image.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C, align(8))]
pub struct Row(pub [u64; 8]);

const _: () = assert!(size_of::<Row>() == 64);

/// An image, wherever it is.
pub trait Rows {
    /// The row with this number, if there is one.
    fn row(&self, index: u32) -> Option<&Row>;
}

impl Rows for [Row] {
    #[inline]
    fn row(&self, index: u32) -> Option<&Row> {
        self.get(index as usize)
    }
}

/// Row 0: of what follows, all that no packet needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Counts the images.
    pub generation: u64,
    /// How many listeners there are.
    pub listeners: u32,
    /// The first row of the standings.
    pub standings: u32,
}

impl Header {
    /// The header of an image. `None` if there is none, or it is of another schema.
    #[inline(always)]
    pub fn read<R: Rows + ?Sized>(rows: &R) -> Option<Self> {
        let Row([schema, generation, starts, ..]) = rows.row(0)?;
        (*schema == u64::from(SCHEMA)).then_some(Self {
            generation: *generation,
            listeners: low(*starts),
            standings: high(*starts),
        })
    }

    /// The same as a row.
    pub const fn to_row(self) -> Row {
        let starts = pair(self.listeners, self.standings);
        Row([SCHEMA as u64, self.generation, starts, 0, 0, 0, 0, 0])
    }

    /// How a class stands to a listener.
    #[inline(always)]
    fn standing<R: Rows + ?Sized>(&self, rows: &R, listener: u32, class: u16) -> Option<Standing> {
        let (row, word, shift) = standing_at(class, listener, self.listeners);
        let row = rows.row(self.standings.wrapping_add(row))?;
        let word = row.0.get(word as usize)?;
        Some(Standing::from_bits(low(word >> shift) & 0xff))
    }
}

/// The row of the first listener.
pub const FIRST_LISTENER: u32 = 1;

/// A listener as the guard finds it: everything that most packets need, in one row.
#[derive(Clone, Copy)]
pub struct Listener<'a>(&'a Row);

impl<'a> Listener<'a> {
    /// The listener with this number. `None` if the image does not know it, or is of another
    /// schema.
    #[inline(always)]
    pub fn read<R: Rows + ?Sized>(rows: &'a R, number: u32) -> Option<Self> {
        let row = rows.row(FIRST_LISTENER.wrapping_add(number))?;
        (low(row.0[0]) >> MARK_SHIFT == MARK).then_some(Self(row))
    }

    /// Its rule, with all its parts.
    pub fn rule(self) -> Rule {
        Rule {
            reset: self.is_reset(),
            action: self.action(),
            ipv6_prefix: self.ipv6_prefix(),
            attempts: self.attempts(),
            bandwidth: self.bandwidth(),
        }
    }

    /// See [`Rule::reset`].
    #[inline(always)]
    pub fn is_reset(self) -> bool {
        low(self.0.0[0]) & RESET != 0
    }

    /// See [`Rule::action`].
    #[inline(always)]
    pub fn action(self) -> Action {
        match low(self.0.0[0]) >> ACTION_SHIFT & 0xff {
            0 => Action::Drop,
            1 => Action::Throttle,
            // What refuses nothing is the safe way to misunderstand.
            _ => Action::LogOnly,
        }
    }

    /// See [`Rule::ipv6_prefix`].
    #[inline(always)]
    pub fn ipv6_prefix(self) -> u8 {
        (low(self.0.0[0]) >> IPV6_PREFIX_SHIFT & 0xff) as u8
    }

    /// See [`Rule::attempts`].
    #[inline(always)]
    pub fn attempts(self) -> AttemptLimit {
        let Row([first, window, ..]) = *self.0;
        AttemptLimit {
            max: high(first),
            window: Nanos(window),
        }
    }

    /// See [`Rule::bandwidth`].
    #[inline(always)]
    pub fn bandwidth(self) -> BandwidthLimit {
        let Row([_, _, limit, window, throttle_minimum, ..]) = *self.0;
        BandwidthLimit {
            limit,
            window: Nanos(window),
            action: self.action(),
            throttle_minimum,
        }
    }

    /// Counts the images.
    #[inline(always)]
    pub fn generation(self) -> u64 {
        self.0.0[GENERATION]
    }

    /// How the listener, which has this number, stands to the client with this address, which is
    /// that of the packet and not cut to a prefix.
    ///
    /// Where the image does not say it, everybody is limited and nobody denied.
    #[inline(always)]
    pub fn standing<R: Rows + ?Sized>(self, rows: &R, number: u32, addr: Addr16) -> Standing {
        let Row([.., roots, near]) = *self.0;
        let Some(class) = tree::class(rows, low(roots), Place(high(roots)), addr) else {
            return Standing::Limited;
        };
        if class < NEAR_CLASSES {
            return Standing::from_bits(low(near >> (class * NEAR_BITS)) & 3);
        }
        let far = Header::read(rows).and_then(|header| header.standing(rows, number, class));
        far.unwrap_or(Standing::Limited)
    }
}

/// What the row of a listener has besides its rule.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    /// Counts the images.
    pub generation: u64,
    /// The row of the first section of IPv4.
    pub v4: u32,
    /// The place of IPv6.
    pub v6: Place,
    /// How the listener stands to each class.
    pub standings: &'a [Standing],
}

/// How many classes a listener's row has room for. Few images have more; those are found by way of
/// the [`Header`].
const NEAR_CLASSES: u16 = 32;
const NEAR_BITS: u16 = 2;

/// Where in a listener's row its generation is.
const GENERATION: usize = 5;

// In the first word of a listener's row.
const RESET: u32 = 1;
const ACTION_SHIFT: u32 = 8;
const IPV6_PREFIX_SHIFT: u32 = 16;
/// In the first word of a listener's row: that it is one, and of this schema. No standing looks
/// like it.
const MARK: u32 = 0xa0 + SCHEMA;
const MARK_SHIFT: u32 = 24;

/// Where the standing of a class to a listener is: row, word in the row, lowest bit in the word.
#[inline(always)]
pub const fn standing_at(class: u16, listener: u32, listeners: u32) -> (u32, u32, u32) {
    let byte = (class as u32)
        .wrapping_mul(listeners)
        .wrapping_add(listener);
    (byte / 64, byte / 8 % 8, byte % 8 * 8)
}

/// What the guard must know of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Whether a refused TCP client is told so, with a RST.
    pub reset: bool,
    /// What happens to a client that is over a limit.
    pub action: Action,
    /// How many bits of an IPv6 address make a client.
    pub ipv6_prefix: u8,
    /// For TCP. No limit if its window is zero.
    pub attempts: AttemptLimit,
    /// For UDP. No limit if its window is zero.
    pub bandwidth: BandwidthLimit,
}

impl Rule {
    /// The row of a listener.
    pub fn to_row(self, lists: &Lists<'_>) -> Row {
        let flags = if self.reset { RESET } else { 0 };
        let flags = flags | (self.action as u32) << ACTION_SHIFT;
        let flags = flags | u32::from(self.ipv6_prefix) << IPV6_PREFIX_SHIFT | MARK << MARK_SHIFT;
        let near = (0..NEAR_CLASSES).map(|class| {
            let standing = lists.standings.get(usize::from(class));
            (*standing.unwrap_or(&Standing::Limited) as u64) << (class * NEAR_BITS)
        });
        Row([
            pair(flags, self.attempts.max),
            self.attempts.window.0,
            self.bandwidth.limit,
            self.bandwidth.window.0,
            self.bandwidth.throttle_minimum,
            lists.generation,
            pair(lists.v4, lists.v6.0),
            near.sum(),
        ])
    }
}

/// How a listener stands to a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Standing {
    /// It may not come in.
    Denied = 0,
    /// It may, within the limits.
    Limited = 1,
    /// It may; it is counted, never limited.
    Exempt = 2,
}

impl Standing {
    #[inline(always)]
    const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Denied,
            2 => Self::Exempt,
            _ => Self::Limited,
        }
    }
}

// SAFETY: eight `u64`s, no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Row {}

#[cfg(test)]
mod tests;
