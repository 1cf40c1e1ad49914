//! `SETTINGS`: the one value that every program reads.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
};
use pony_common::{
    hash::{HashKey, LinearKey},
    layout::settings::{SCHEMA, Settings},
    names,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{error::StartError, object};

/// The map, and what is in it. Several parts of the daemon each change one field.
pub(super) struct SettingsMap {
    state: Mutex<State>,
}

struct State {
    map: Array<MapData, Settings>,
    settings: Settings,
}

/// Whoever knows a key can aim at a set of the ledger, so it is told to nobody.
fn random() -> io::Result<u64> {
    let mut word = [0; 8];
    // A read of so few bytes is never cut short once the generator is seeded.
    getrandom(&mut word, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(word))
}

fn random_keys() -> io::Result<(HashKey, LinearKey)> {
    let mut linear = LinearKey([[0; 2]; 1 + LinearKey::MAX_WORDS]);
    for word in linear.0.as_flattened_mut() {
        *word = random()?;
    }
    Ok((HashKey([random()?, random()?]), linear))
}

impl SettingsMap {
    /// Takes the map and fills it.
    pub(super) fn fill(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        let mut map: Array<_, _> = object::take(ebpf, names::SETTINGS)?;
        let keys = random_keys().map_err(|source| StartError::Random { source })?;
        let (hash_key, attempts_key) = keys;
        let settings = Settings {
            schema: SCHEMA,
            blocks: 0,
            generation: 0,
            hash_key,
            attempts_key,
        };
        map.set(0, settings, 0)
            .map_err(|source| StartError::map(names::SETTINGS, source))?;
        Ok(Self {
            state: Mutex::new(State { map, settings }),
        })
    }

    /// Says which kinds of blocks there are.
    pub(super) fn set_blocks(&self, blocks: u32) -> Result<(), MapError> {
        self.change(|settings| settings.blocks = blocks)
    }

    /// Says which policy is in force.
    pub(super) fn set_generation(&self, generation: u64) -> Result<(), MapError> {
        self.change(|settings| settings.generation = generation)
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), MapError> {
        let mut state = self.lock();
        let mut settings = state.settings;
        change(&mut settings);
        state.map.set(0, settings, 0)?;
        state.settings = settings;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
