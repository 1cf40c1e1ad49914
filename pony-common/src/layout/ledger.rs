//! `LEDGER_SETS` and `LEDGER`: what every client has used on every listener.
//!
//! A table of fixed size. A hash that only this machine can compute names a *set* of eight
//! *ways*; each way is a client, whose entry is in `LEDGER` at the same place. A client that is
//! not there takes a way that is free, or the one that was used longest ago; one that comes again
//! counts as used a second later than it was. So an attacker with a million addresses makes the
//! guard forget who is quiet, but not who keeps sending, and never makes it grow or wait.
//!
//! What holds at every moment:
//!
//! - Whoever finds an entry finds that of the client that it asked for, empty or with what this
//!   client has used; never what another client has left there.
//! - A way is taken over by one at a time. A client that comes twice at the same moment gets one
//!   entry; the other of the two is told that there is none, and tries no longer than a moment.
//! - What is counted into an entry while it is taken over is lost, or counts for the next client:
//!   at most what was in flight.

use core::hint::black_box;

use super::{high, low, pair, policy::tree::less};
use crate::{addr::Addr16, cell::Cell64, hash::HashKey, limit::Window, time::Nanos};

/// How many clients a set has room for.
pub const WAYS: u32 = 8;

/// Value of `LEDGER_SETS`: the ways of one set, a cache line.
///
/// A way is the tag of its client in the upper half, which is another part of the hash, and when
/// it was last used in the lower half, in [ticks](tick), a second later than it was if it had been
/// used before. All zeros: free.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub struct SetRow<T> {
    ways: [T; WAYS as usize],
}

const _: () = assert!(size_of::<SetRow<u64>>() == 64);

/// Value of `LEDGER`: what one client has used on one listener.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Entry<T, I = Identity> {
    /// Whose it is.
    pub identity: I,
    /// Packets from the client that were not refused before the ledger, as the interface handed
    /// them up: several that it merged count as one.
    pub packets_in: T,
    /// Their payload bytes of TCP or UDP.
    pub bytes_in: T,
    /// Packets to the client.
    pub packets_out: T,
    /// Their payload bytes.
    pub bytes_out: T,
    /// SYNs that were not seen before.
    pub attempts: T,
    /// The recent attempts of a TCP client, or the recent bytes of a UDP client.
    pub window: Window<T>,
    /// So that every entry begins with a cache line: a new client touches three and no more.
    pub padding: [u64; 5],
}

const _: () = assert!(size_of::<Entry<u64>>() == 24 + 5 * 8 + 280 + 40);
const _: () = assert!(size_of::<Entry<u64>>().is_multiple_of(64));

/// Who an entry belongs to. All zeros: nobody yet.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(C, align(8))]
pub struct Identity {
    /// An IPv4 address in its mapped form, or an IPv6 prefix with the other bits zero.
    pub client: Addr16,
    /// The listener's number.
    pub listener: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Identity>() == 16 + 4 + 4);

impl Identity {
    /// This client on this listener.
    #[inline]
    pub const fn new(client: Addr16, listener: u32) -> Self {
        Self {
            client,
            listener,
            reserved: 0,
        }
    }
}

/// An [`Identity`] that one writes while others read. They may see a mix of old and new.
pub trait IdentityCell {
    /// Whose it is.
    fn load(&self) -> Identity;
    /// Makes it somebody else's.
    fn store(&self, identity: Identity);
}

/// The table, wherever it is.
pub trait Ledger {
    /// What it counts with.
    type Cell: Cell64;
    /// How it says whose an entry is.
    type Identity: IdentityCell;

    /// How many sets there are: a power of two.
    fn sets(&self) -> u32;
    /// A set.
    fn set(&self, index: u32) -> Option<&SetRow<Self::Cell>>;
    /// An entry. Those of a set come one after the other, in the order of the sets.
    fn entry(&self, index: u32) -> Option<&Entry<Self::Cell, Self::Identity>>;
}

/// The entry of a client, which is made if there is none.
///
/// `None` in the rare moment in which another CPU is about to put a client into the same set: it
/// may be the same one. What is not counted then is in flight.
#[inline(always)]
pub fn find<'a, L: Ledger>(
    ledger: &'a L,
    key: &HashKey,
    identity: Identity,
    now: Nanos,
) -> Option<&'a Entry<L::Cell, L::Identity>> {
    ledger.entry(place(ledger, key, identity, now)?)
}

/// Where the entry of a client is, see [`find`].
#[inline(always)]
pub fn place<L: Ledger>(ledger: &L, key: &HashKey, identity: Identity, now: Nanos) -> Option<u32> {
    let hash = hash(key, identity);
    let set = low(hash) & ledger.sets().wrapping_sub(1);
    let ways = ledger.set(set)?;
    let wanted = Wanted {
        tag: tag(hash),
        tick: tick(now),
    };
    // Opaque bounds, here and below: a loop that is unrolled needs more stack than there is.
    for _ in 0..black_box(TRIES) {
        let Some((number, value)) = ways.choose(wanted) else {
            continue;
        };
        let way = ways.ways.get(number as usize)?;
        let place = set.wrapping_mul(WAYS).wrapping_add(number);
        let entry = ledger.entry(place)?;
        if high(value) == wanted.tag && entry.identity.load() == identity {
            let used = wanted.as_way_used_again();
            if value != used {
                // Whoever was faster has said the same.
                let _changed = way.swap_if(value, used);
            }
            return Some(place);
        }
        if !wanted.is_busy(value) && way.swap_if(value, wanted.as_busy()).is_ok() {
            entry.hand_over(identity);
            way.store(wanted.as_way());
            return Some(place);
        }
    }
    None
}

impl<T: Cell64> SetRow<T> {
    /// The way with the tag, else the coldest, and what is in it. `None` if somebody is about to
    /// take one.
    ///
    /// Decided without branches: the verifier would follow each combination of them to the end of
    /// the program. What the compiler can't know to be zero keeps it from making branches again.
    #[inline(always)]
    fn choose(&self, wanted: Wanted) -> Option<(u32, u64)> {
        let zero = black_box(0_u64);
        let tag = u64::from(wanted.tag) ^ zero;
        let (mut best, mut found, mut is_busy) = (0_u64, 0, 0);
        for number in 0..black_box(WAYS as usize) {
            let value = self.ways.get(number)?.load();
            let age = u64::from(wanted.age(value));
            let is_found = (value >> 32 ^ tag).wrapping_sub(1) >> 63 ^ zero;
            let is_free = less(value, 1) ^ zero;
            let age_or_more = is_found << FOUND_SHIFT | is_free << FREE_SHIFT | age << WAY_BITS;
            let this = age_or_more | number as u64;
            let is_better = (less(best, this) ^ zero).wrapping_neg();
            best ^= (best ^ this) & is_better;
            found ^= (found ^ value) & is_better;
            // Without a tag, and not free: all zeros would become all ones.
            let has_no_tag = less(value.wrapping_sub(1), u32::MAX.into()) ^ zero;
            is_busy |= has_no_tag & (less(age, STUCK.into()) ^ zero);
        }
        let is_found = best >> FOUND_SHIFT != 0;
        (is_found || is_busy == 0).then_some((low(best) & (WAYS - 1), found))
    }
}

impl<T: Cell64, I: IdentityCell> Entry<T, I> {
    /// Gives the entry, emptied, to a client.
    #[inline(always)]
    fn hand_over(&self, identity: Identity) {
        self.identity.store(identity);
        self.packets_in.store(0);
        self.bytes_in.store(0);
        self.packets_out.store(0);
        self.bytes_out.store(0);
        self.attempts.store(0);
        self.window.clear();
    }
}

/// The time in the unit of a way: about 67 ms. It begins again after nine years; a client that was
/// not seen for longer may then seem warm.
#[inline(always)]
pub const fn tick(now: Nanos) -> u32 {
    low(now.0 >> TICK_SHIFT)
}

/// What is looked for in a set.
#[derive(Clone, Copy)]
struct Wanted {
    tag: u32,
    tick: u32,
}

impl Wanted {
    /// How long ago a way was used, and a little more: a way may have been used just now, by a
    /// clock that is read a little later. Means nothing for a way that is free.
    #[inline(always)]
    const fn age(self, way: u64) -> u32 {
        self.tick.wrapping_add(AHEAD).wrapping_sub(low(way))
    }

    /// Whether the entry of a way is being handed over.
    #[inline(always)]
    const fn is_busy(self, way: u64) -> bool {
        high(way) == BUSY && way != FREE && self.age(way) < STUCK
    }

    #[inline(always)]
    const fn as_way(self) -> u64 {
        pair(self.tick, self.tag)
    }

    /// In a flood of clients of which each comes once, however fast, those who come again stay.
    #[inline(always)]
    const fn as_way_used_again(self) -> u64 {
        pair(self.tick.wrapping_add(CREDIT), self.tag)
    }

    #[inline(always)]
    const fn as_busy(self) -> u64 {
        // At tick zero it would be free.
        pair(self.tick | 1, BUSY)
    }
}

/// A way without a client.
const FREE: u64 = 0;
/// In place of a tag: the way's entry is being handed over.
const BUSY: u32 = 0;
/// 2²⁶ ns.
const TICK_SHIFT: u32 = 26;
/// In ticks, a second: so much younger is a client taken for that was there before.
const CREDIT: u32 = 15;
/// In ticks, how far ahead of the clock a way may seem to be: another CPU's may be a little later.
const AHEAD: u32 = CREDIT + 2;
/// In ticks, a second: no CPU takes that long to hand an entry over.
const STUCK: u32 = 16 + AHEAD;
/// The bits of a way's number, below those of its age.
const WAY_BITS: u32 = WAYS.ilog2();
/// Above both: it is free.
const FREE_SHIFT: u32 = u32::BITS + WAY_BITS;
/// Above all: it is the one that is looked for.
const FOUND_SHIFT: u32 = FREE_SHIFT + 1;
/// How often a set is looked at.
const TRIES: u32 = 4;

/// The tag of a client, never [`BUSY`]. The lower half of the hash chooses the set.
#[inline(always)]
const fn tag(hash: u64) -> u32 {
    match high(hash) {
        BUSY => 1,
        tag => tag,
    }
}

/// The hash of an identity. One of IPv4 is a single word; how many there are is hashed too, so that
/// it is never that of another.
#[inline(always)]
fn hash(key: &HashKey, identity: Identity) -> u64 {
    let (upper, lower) = identity.client.halves();
    if identity.client.is_v4() {
        return key.hash([pair(low(lower), identity.listener)]);
    }
    key.hash([upper, lower, identity.listener.into()])
}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for SetRow<u64> {}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Entry<u64> {}

#[cfg(test)]
mod tests;
