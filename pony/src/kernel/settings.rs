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
    hash::HashKey,
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

/// Whoever knows the key can aim at a set of the ledger, so it is told to nobody.
fn random_key() -> io::Result<HashKey> {
    let mut words = [[0; 8]; 2];
    for word in &mut words {
        // A read of so few bytes is never cut short once the generator is seeded.
        getrandom(word, GetRandomFlags::empty())?;
    }
    Ok(HashKey(words.map(u64::from_ne_bytes)))
}

impl SettingsMap {
    /// Takes the map and fills it.
    pub(super) fn fill(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        let mut map: Array<_, _> = object::take(ebpf, names::SETTINGS)?;
        let settings = Settings {
            schema: SCHEMA,
            blocks: 0,
            generation: 0,
            hash_key: random_key().map_err(|source| StartError::Random { source })?,
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
