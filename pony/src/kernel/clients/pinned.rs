//! The pinned maps of one daemon.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{
    Pod,
    maps::{Array, ArrayOfMaps, Map, MapData, MapError},
};
use pony_common::{
    layout::{
        listener::Transport,
        name::ListenerName,
        policy::{self, FIRST_LISTENER, Header, Row, Rule},
        settings::{SCHEMA, Settings},
    },
    names,
};

use super::{ClientsError, Seen};
use crate::{kernel::error::errno, sys::View};

/// What is known of a listener.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) name: Arc<str>,
    pub(super) ipv6_prefix: u16,
    pub(super) transport: Option<Transport>,
    /// `None` if no policy is in force.
    pub(super) rule: Option<Rule>,
}

/// A directory whose maps have the layout that this program knows.
pub(super) struct Pinned {
    directory: PathBuf,
    settings: Settings,
}

impl Pinned {
    pub(super) fn open(instance: &str, directory: &Path) -> Result<Self, ClientsError> {
        let settings = match settings(directory) {
            Ok(settings) if settings.schema == SCHEMA => settings,
            Err(error) if !is_foreign(&error) => {
                return Err(ClientsError::map(names::SETTINGS, error.into()));
            }
            _ => {
                return Err(ClientsError::OtherVersion {
                    instance: instance.to_owned(),
                });
            }
        };
        Ok(Self {
            directory: directory.to_owned(),
            settings,
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.settings.generation
    }

    /// The listeners, by number.
    pub(super) fn listeners(&self) -> Result<Vec<Listener>, ClientsError> {
        let rows = self.read(names::POLICY, policy_rows)?;
        let names = self.read(names::NAMES, values::<ListenerName>)?;
        let numbered = (0..).zip(names);
        Ok(numbered
            .map(|(number, name)| Listener {
                name: name.as_str().into(),
                ipv6_prefix: name.ipv6_prefix,
                transport: name.transport(),
                rule: policy::Listener::read(&*rows, number).map(policy::Listener::rule),
            })
            .collect())
    }

    /// The ledger, as it is now and will be.
    pub(super) fn ledger(&self) -> Result<View<Seen>, ClientsError> {
        self.read(names::LEDGER, |map| {
            let Map::Array(data) = map else {
                return Err(MapError::InvalidMapType { map_type: 0 });
            };
            let info = data.info()?;
            let (size, expected) = (info.value_size() as usize, size_of::<Seen>());
            if size != expected {
                return Err(MapError::InvalidValueSize { size, expected });
            }
            Ok(View::new(data.fd().as_fd(), info.max_entries() as usize)?)
        })
    }

    fn read<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(Map) -> Result<T, MapError>,
    ) -> Result<T, ClientsError> {
        open(&self.directory, name)
            .and_then(read)
            .map_err(|source| ClientsError::map(name, source.into()))
    }
}

fn open(directory: &Path, name: &str) -> Result<Map, MapError> {
    Map::from_map_data(MapData::from_pin(directory.join(name))?)
}

fn settings(directory: &Path) -> Result<Settings, MapError> {
    Array::try_from(open(directory, names::SETTINGS)?)?.get(&0, 0)
}

/// Whether a map is not what it would have to be, instead of not readable.
fn is_foreign(error: &MapError) -> bool {
    match error {
        MapError::InvalidMapType { .. }
        | MapError::InvalidKeySize { .. }
        | MapError::InvalidValueSize { .. } => true,
        error => errno(error) == Some(libc::ENOENT),
    }
}

fn values<V: Pod>(map: Map) -> Result<Vec<V>, MapError> {
    Array::try_from(map)?.iter().collect()
}

/// The beginning of the policy in force, with all rules. Empty if there is none.
fn policy_rows(map: Map) -> Result<Vec<Row>, MapError> {
    let policy = ArrayOfMaps::<_, Array<MapData, Row>>::try_from(map)?;
    let image = match policy.get(&0, 0) {
        Err(MapError::KeyNotFound) => return Ok(Vec::new()),
        image => image?,
    };
    let first = image.get(&0, 0)?;
    let Some(header) = Header::read(&[first][..]) else {
        return Ok(Vec::new());
    };
    let end = FIRST_LISTENER.saturating_add(header.listeners);
    (0..end.min(image.len()))
        .map(|index| image.get(&index, 0))
        .collect()
}
