//! The keys of the hashes by which packets find their places in the tables.

use std::io;

use pony_common::hash::{HashKey, LINEAR_PAIRS, LinearWords};
use rustix::rand::{GetRandomFlags, getrandom};

/// Whoever knows a key can aim at a set of the ledger, so it is told to nobody but the programs, and
/// is another one for every guard.
pub(super) struct Secrets {
    /// For the ledger and the reports.
    pub(super) hash_key: HashKey,
    /// For connection attempts.
    pub(super) attempts_key: LinearWords,
}

impl Secrets {
    pub(super) fn draw() -> io::Result<Self> {
        let mut attempts_key = LinearWords([[0; 2]; LINEAR_PAIRS]);
        for word in attempts_key.0.as_flattened_mut() {
            *word = random()?;
        }
        Ok(Self {
            hash_key: HashKey([random()?, random()?]),
            attempts_key,
        })
    }
}

fn random() -> io::Result<u64> {
    let mut word = [0; 8];
    // A read of so few bytes is never cut short once the generator is seeded.
    getrandom(&mut word, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(word))
}
