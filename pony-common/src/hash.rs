//! Hashes of a few words that nobody aims at who does not know the key.
//!
//! The tables that packets fill are indexed by them. With an open hash an attacker could choose
//! addresses that all fall into one set, and make the guard forget whom he likes.

/// A secret key of `SipHash`-1-3. Random, new with every start of the guard.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct HashKey(pub [u64; 2]);

impl HashKey {
    /// The hash of the bytes of `words`, each in little-endian order.
    #[inline(always)]
    pub fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        let Self([k0, k1]) = *self;
        let mut state = State([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ]);
        for word in words {
            state.absorb(word);
        }
        // The length in bytes, modulo 256, is the top byte of the last word.
        state.absorb((N as u64) << 59);
        state.finish()
    }
}

/// A secret key of a multilinear hash, random like a [`HashKey`].
///
/// The hash is a sum of products of the key with the message, of which the upper halves are kept:
/// of two messages that were chosen without knowing the key, each half of the hash is the same
/// with a probability of 2⁻³² (Lemire and Kaser, "Strongly universal string hashing is fast",
/// 2014). It takes a tenth of the instructions of `SipHash`, as BPF cannot rotate, but whoever sees
/// hashes can compute the key: only for what shows nobody where in a table it is.
pub trait LinearKey {
    /// A pair of words of the key. The first is for no word of the message.
    fn pair(&self, at: usize) -> [u64; 2];

    /// The hash of a message. `kind` tells messages apart that have the same words; it is a number
    /// that no stranger chooses.
    #[inline(always)]
    fn hash<const N: usize>(&self, kind: u64, words: [u32; N]) -> u64 {
        const { assert!(N < LINEAR_PAIRS) };

        let kind = kind.wrapping_mul(ODD);
        let [first, second] = self.pair(0);
        let mut sums = [first.wrapping_add(kind), second ^ kind];
        for (at, word) in words.into_iter().enumerate() {
            let [first, second] = self.pair(1 + at);
            sums[0] = sums[0].wrapping_add(first.wrapping_mul(word.into()));
            sums[1] = sums[1].wrapping_add(second.wrapping_mul(word.into()));
        }
        sums[0] >> 32 | (sums[1] >> 32) << 32
    }
}

/// How many pairs a [`LinearKey`] has. A message may have one word less.
pub const LINEAR_PAIRS: usize = 11;

/// A [`LinearKey`] in memory.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct LinearWords(pub [[u64; 2]; LINEAR_PAIRS]);

impl LinearKey for LinearWords {
    #[inline(always)]
    fn pair(&self, at: usize) -> [u64; 2] {
        self.0[at]
    }
}

/// The golden ratio of 64 bits, which is odd.
pub(crate) const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        let [v0, v1, v2, v3] = self.0;
        v0 ^ v1 ^ v2 ^ v3
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.0;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        self.0 = [v0, v1, v2, v3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the reference test vectors: the bytes 0 to 15.
    const KEY: HashKey = HashKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);

    /// Hashes the message of the reference test vectors: the bytes from 0 on.
    fn reference<const N: usize>() -> u64 {
        let message: [u8; 64] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        let (words, _) = message.as_chunks::<8>();
        KEY.hash::<N>(core::array::from_fn(|at| u64::from_le_bytes(words[at])))
    }

    #[test]
    fn is_the_reference() {
        assert_eq!(reference::<0>(), 0xabac_0158_050f_c4dc);
        assert_eq!(reference::<1>(), 0x3690_9511_8d29_9a8e);
        assert_eq!(reference::<2>(), 0xcc4f_dd1a_7d90_8b66);
        assert_eq!(reference::<3>(), 0xf464_aeb2_6734_9c8c);
        assert_eq!(reference::<4>(), 0x8115_7b6c_16a7_b60d);
        assert_eq!(reference::<5>(), 0xc1d2_3632_99e4_1531);
        assert_eq!(reference::<6>(), 0x9f31_43f8_df07_4c46);
        assert_eq!(reference::<7>(), 0xb4bc_c0db_243c_6d75);
    }

    #[test]
    fn is_what_the_standard_library_computes() {
        use core::hash::Hasher as _;
        let words = [1, u64::MAX, 0x0123_4567_89ab_cdef, 0, 7];
        // Rust's default hasher is SipHash-1-3 with a key of zeros.
        let mut standard = std::collections::hash_map::DefaultHasher::new();
        for word in words {
            standard.write(&word.to_le_bytes());
        }
        assert_eq!(HashKey([0; 2]).hash(words), standard.finish());
    }

    /// Any key will do where every one does.
    fn linear_key() -> LinearWords {
        let word = |at: usize| KEY.hash([at as u64]);
        LinearWords(core::array::from_fn(|at| [word(2 * at), word(2 * at + 1)]))
    }

    #[test]
    fn every_bit_of_every_word_and_the_kind_change_both_halves_of_a_linear_hash() {
        let key = linear_key();
        let words = [0x0123_4567, 0, u32::MAX, 7, 0x89ab_cdef, 1, 2, 3, 4, 5];
        let hash = key.hash(3, words);
        for bit in 0..10 * 32 {
            let mut other = words;
            other[bit / 32] ^= 1 << (bit % 32);
            let changed = hash ^ key.hash(3, other);
            assert!(changed >> 32 != 0 && changed & 0xffff_ffff != 0, "{bit}");
        }
        for kind in [0, 1, 2, 4, u64::MAX] {
            let changed = hash ^ key.hash(kind, words);
            assert!(changed >> 32 != 0 && changed & 0xffff_ffff != 0, "{kind}");
        }
    }

    #[test]
    fn a_linear_hash_spreads_neighbours_evenly() {
        let key = linear_key();
        for shift in [0, 32] {
            let mut places = [0_u32; 1 << 12];
            for port in 0..1_u32 << 16 {
                let hash = key.hash(0, [0xc000_0201, 0xc633_6401, port << 16 | 0x1bb, 1]);
                places[usize::try_from(hash >> shift & 0xfff).unwrap()] += 1;
            }
            // Sixteen in each on average.
            assert!(
                places.iter().all(|count| (1..64).contains(count)),
                "{shift}"
            );
        }
    }
}
