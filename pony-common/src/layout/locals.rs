//! `LOCALS`: the addresses of this machine.
//!
//! Asked for each packet to a listener on all addresses, so it is an array with few addresses in
//! each element, and not a hash table of the kernel, which takes seven times as long.

use crate::addr::Addr16;

/// How many elements there are.
pub const ROWS: u32 = 1 << 12;
/// How many addresses an element has room for.
pub const WAYS: usize = 4;

/// One element: the addresses with the same [`place`], as their halves. All zeros: none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C, align(8))]
pub struct LocalsRow([[u64; 2]; WAYS]);

const _: () = assert!(size_of::<LocalsRow>() == 64);

impl LocalsRow {
    /// Whether the address is here.
    #[inline(always)]
    pub fn has(&self, addr: &Addr16) -> bool {
        let (upper, lower) = addr.halves();
        // Without a branch for each, which the verifier would follow.
        let differs = self.0.map(|[a, b]| (a ^ upper | b ^ lower) != 0);
        differs.into_iter().any(|differs| !differs)
    }

    /// The same with one more address. `None`: there is no room.
    #[must_use]
    pub fn and(mut self, addr: &Addr16) -> Option<Self> {
        let (upper, lower) = addr.halves();
        let free = self.0.iter_mut().find(|way| **way == [0, 0])?;
        *free = [upper, lower];
        Some(self)
    }
}

/// The element that an address belongs to. Neighbours belong to different ones.
#[inline(always)]
pub const fn place(addr: &Addr16) -> u32 {
    let (upper, lower) = addr.halves();
    let folded = lower ^ lower >> 12 ^ upper ^ upper >> 32;
    #[expect(clippy::cast_possible_truncation, reason = "a few bits")]
    let place = (folded ^ folded >> 32) as u32 & (ROWS - 1);
    place
}

// SAFETY: `u64`s, no padding.
#[cfg(feature = "user")]
unsafe impl aya::Pod for LocalsRow {}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::collections::HashSet;

    use super::*;

    fn v4(bits: u32) -> Addr16 {
        Ipv4Addr::from_bits(bits).into()
    }

    #[test]
    fn has_what_was_put_in_until_it_is_full() {
        let addresses: [_; WAYS] = [0, 1, 2, 3].map(|at| v4(0x0a00_0000 + at));
        let mut row = LocalsRow::default();
        for addr in &addresses {
            assert!(!row.has(addr));
            row = row.and(addr).unwrap();
            assert!(row.has(addr));
        }
        assert!(addresses.iter().all(|addr| row.has(addr)));
        assert!(!row.has(&v4(0x0a00_0000 + 77)));
        assert_eq!(row.and(&v4(1)), None);
    }

    #[test]
    fn neighbours_have_places_of_their_own() {
        let places: HashSet<_> = (0..ROWS).map(|n| place(&v4(0x0a00_0000 + n))).collect();
        assert_eq!(places.len(), ROWS as usize);
        let sites = (0..64).map(|n| Addr16::from_halves(0x2001_0db8_0000_0000 + n, 1));
        let places: HashSet<_> = sites.map(|addr| place(&addr)).collect();
        assert_eq!(places.len(), 64);
        let places: HashSet<_> = (0..8)
            .map(|n| place(&v4(0x0a00_0001 + (n << 16))))
            .collect();
        assert_eq!(places.len(), 8);
    }
}
