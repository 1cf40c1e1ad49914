//! `POLICY`: the rules of all listeners as one image, which is replaced whole.
//!
//! The image is an array of [`Row`]s, each a cache line:
//!
//! - row 0 is the [`Header`]: the schema, the generation, and where everything is;
//! - a row per listener, its [`Rule`];
//! - the *standings*: a byte per class and listener. A class is a set of addresses that no
//!   listener tells apart, so that a packet costs the same whatever the number of listeners;
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

/// Row 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Counts the images.
    pub generation: u64,
    /// How many listeners there are.
    pub listeners: u32,
    /// The row of the first listener's rule.
    pub rules: u32,
    /// The first row of the standings.
    pub standings: u32,
    /// The first row of the places of IPv4.
    pub v4: u32,
    /// How many bits of an IPv4 address do not choose its place, at most
    /// [`tree::V4_MAX_SHIFT`].
    pub v4_shift: u32,
    /// The place of IPv6.
    pub v6: Place,
}

impl Header {
    /// The header of an image. `None` if there is none, or it is of another schema.
    #[inline(always)]
    pub fn read<R: Rows + ?Sized>(rows: &R) -> Option<Self> {
        let Row([schema, generation, counts, starts, v6, ..]) = rows.row(0)?;
        (*schema == u64::from(SCHEMA)).then_some(Self {
            generation: *generation,
            listeners: low(*counts),
            rules: high(*counts),
            standings: low(*starts),
            v4: high(*starts),
            v6: Place(low(*v6)),
            v4_shift: high(*v6),
        })
    }

    /// The same as a row.
    pub const fn to_row(self) -> Row {
        let counts = pair(self.listeners, self.rules);
        let starts = pair(self.standings, self.v4);
        let v6 = pair(self.v6.0, self.v4_shift);
        Row([SCHEMA as u64, self.generation, counts, starts, v6, 0, 0, 0])
    }

    /// Counts the images.
    #[inline]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The rule of a listener. `None` if the image does not know it.
    #[inline(always)]
    pub fn rule<R: Rows + ?Sized>(&self, rows: &R, listener: u32) -> Option<Rule> {
        if listener >= self.listeners {
            return None;
        }
        rows.row(self.rules.wrapping_add(listener))
            .map(Rule::from_row)
    }

    /// How a listener stands to the client with this address, which is that of the packet and not
    /// cut to a prefix.
    ///
    /// A listener that the image does not know limits everybody and denies nobody.
    #[inline(always)]
    pub fn standing<R: Rows + ?Sized>(&self, rows: &R, listener: u32, addr: Addr16) -> Standing {
        if listener >= self.listeners {
            return Standing::Limited;
        }
        let Some(class) = tree::class(rows, self, addr) else {
            return Standing::Limited;
        };
        let (row, word, shift) = standing_at(class, listener, self.listeners);
        let word = (rows.row(self.standings.wrapping_add(row)))
            .and_then(|row| row.0.get(word as usize))
            .copied();
        Standing::from_byte(low(word.unwrap_or(u64::MAX) >> shift) & 0xff)
    }
}

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
    /// Whether the source of a packet is the client. If not, no rule about clients applies.
    pub per_client: bool,
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
    /// The same as a row.
    pub const fn to_row(self) -> Row {
        let flags = self.per_client as u32 | (self.reset as u32) << 1;
        let flags = flags | (self.action as u32) << 8 | (self.ipv6_prefix as u32) << 16;
        Row([
            pair(flags, self.attempts.max),
            self.attempts.window.0,
            self.bandwidth.limit,
            self.bandwidth.window.0,
            self.bandwidth.throttle_minimum,
            0,
            0,
            0,
        ])
    }

    #[inline(always)]
    fn from_row(row: &Row) -> Self {
        let Row([first, attempts, limit, bandwidth, minimum, ..]) = *row;
        let flags = low(first);
        let action = match flags >> 8 & 0xff {
            0 => Action::Drop,
            1 => Action::Throttle,
            // What refuses nothing is the safe way to misunderstand.
            _ => Action::LogOnly,
        };
        Self {
            per_client: flags & 1 != 0,
            reset: flags & 2 != 0,
            action,
            ipv6_prefix: (flags >> 16 & 0xff) as u8,
            attempts: AttemptLimit {
                max: high(first),
                window: Nanos(attempts),
            },
            bandwidth: BandwidthLimit {
                limit,
                window: Nanos(bandwidth),
                action,
                throttle_minimum: minimum,
            },
        }
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
    const fn from_byte(byte: u32) -> Self {
        match byte {
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
