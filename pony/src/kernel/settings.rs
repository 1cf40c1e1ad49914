//! `SETTINGS`: the one value that every program reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
};
use pony_common::{
    layout::settings::{SCHEMA, Settings},
    names,
};

use super::{error::StartError, object};

/// The map, and what is in it. Several parts of the daemon each change one field.
pub(super) struct SettingsMap {
    state: Mutex<State>,
}

struct State {
    map: Array<MapData, Settings>,
    settings: Settings,
}

impl SettingsMap {
    /// Takes the map and fills it.
    pub(super) fn fill(ebpf: &mut Ebpf) -> Result<Self, StartError> {
        let mut map: Array<_, _> = object::take(ebpf, names::SETTINGS)?;
        let settings = Settings {
            schema: SCHEMA,
            blocks: 0,
            generation: 0,
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
