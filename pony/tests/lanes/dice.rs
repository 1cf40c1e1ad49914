//! Random choices that a seed repeats.

use std::env;

/// `SplitMix64`: tiny, and each seed begins a sequence of its own.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times; never if `n` is 0.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[index(self.below(choices.len() as u64))]
    }
}

/// As an index; everything that is indexed here is in memory.
pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// The seed of this run, another one each time unless `PONY_SEED` says which.
pub(crate) fn seed() -> u64 {
    match env::var("PONY_SEED") {
        Ok(seed) => seed.parse().expect("PONY_SEED is a number"),
        Err(_) => u64::from_le_bytes(random_bytes()) >> 16,
    }
}

/// Whether longer flows, and more of them, are asked for.
pub(crate) fn is_long() -> bool {
    env::var_os("PONY_LONG").is_some_and(|value| value == "1")
}

fn random_bytes() -> [u8; 8] {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    bytes
}
