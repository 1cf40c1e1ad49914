//! `POLICY`: the rules in force, and putting others in their place in one step.

use std::{
    io,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{ArrayOfMaps, MapData, MapError, MapType},
};
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use pony_common::{layout::policy::Row, names};

use super::{
    error::StartError,
    image::{self, ListenerPolicy, TooComplex},
    object,
    settings::SettingsMap,
};
use crate::{
    config::{Access, Limits, Protocol, Refuse},
    sys,
};

/// The rules of one listener, as the kernel judges by them.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub protocol: Protocol,
    pub access: &'a Access,
    pub limits: &'a Limits,
}

/// Why a policy could not be put in place. The one before it stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    TooComplex(#[from] TooComplex),
    #[error("the kernel refused a policy of {rows} rows")]
    Map { rows: usize, source: MapError },
    #[error("a policy of {rows} rows cannot be written")]
    Fill { rows: usize, source: io::Error },
}

/// See the module.
pub(super) struct PolicyMap {
    state: Mutex<State>,
    settings: Arc<SettingsMap>,
    refuse: Refuse,
}

struct State {
    map: ArrayOfMaps<MapData, MapData>,
    generation: u64,
}

impl PolicyMap {
    pub(super) fn take(
        ebpf: &mut Ebpf,
        settings: Arc<SettingsMap>,
        refuse: Refuse,
    ) -> Result<Self, StartError> {
        let map = object::take(ebpf, names::POLICY)?;
        Ok(Self {
            state: Mutex::new(State { map, generation: 0 }),
            settings,
            refuse,
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Replaces the policy, and answers which generation it is.
    ///
    /// Returns when the kernel has no packet any more that is judged by the one before.
    pub(super) fn replace(&self, rules: &[Rules<'_>]) -> Result<Installed, PolicyError> {
        let mut state = self.lock();
        let generation = state.generation + 1;
        let image = self.image(generation, rules)?;
        let rows = image.len();
        let map_error = |source| PolicyError::Map { rows, source };

        let map = rows_map(rows).map_err(map_error)?;
        sys::fill(map.fd().as_fd(), &image).map_err(|source| PolicyError::Fill { rows, source })?;
        state.map.set(0, &map, 0).map_err(map_error)?;
        state.generation = generation;
        // For those who look in from outside; the image has it too.
        let _shown: Result<(), MapError> = self.settings.set_generation(generation);
        Ok(Installed { generation, rows })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn image(&self, generation: u64, rules: &[Rules<'_>]) -> Result<Vec<Row>, TooComplex> {
        let listeners = rules.iter().map(|rules| {
            let &Rules {
                protocol,
                access,
                limits,
            } = rules;
            let rule = image::rule(protocol, limits, self.refuse);
            ListenerPolicy { access, rule }
        });
        image::build(generation, &listeners.collect::<Vec<_>>())
    }
}

/// A policy that is in force.
#[derive(Clone, Copy, Debug)]
pub struct Installed {
    /// Counts the policies of this guard.
    pub generation: u64,
    /// Its size, in rows of 64 bytes.
    pub rows: usize,
}

/// An array that can be the element of `POLICY`, whatever its size, and be filled at once.
fn rows_map(rows: usize) -> Result<MapData, MapError> {
    let definition = aya_obj::Map::new_from_params(
        MapType::Array as u32,
        object::INDEX_SIZE,
        ROW_SIZE,
        u32::try_from(rows).unwrap_or(u32::MAX),
        BPF_F_INNER_MAP | BPF_F_MMAPABLE,
    );
    MapData::create(definition, names::POLICY_ROWS, None)
}

const ROW_SIZE: u32 = 64;
const _: () = assert!(size_of::<Row>() == ROW_SIZE as usize);
