//! The embedded kernel object: making it fit the configuration, and finding things in it.

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, MapData, MapError},
    programs::{ProgramError, Xdp},
};
use pony_common::{
    layout::ledger::{LedgerKey, Traffic},
    names,
};

use super::{GuardListener, error::StartError, keys};

/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(bpf_object)]
pub(super) const EMBEDDED: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(env!("PONY_BPF_OBJECT")));
/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(not(bpf_object))]
pub(super) const EMBEDDED: Option<&[u8]> = None;

/// How many pairs of client and listener the guard remembers, at about 100 bytes each.
pub(super) const LEDGER_CLIENTS: u32 = 65_536;

/// Makes the maps, fills in the listeners, and has the kernel check the program.
pub(super) fn load(object: &[u8], listeners: &[GuardListener]) -> Result<Ebpf, StartError> {
    let entries = keys::listener_entries(listeners);
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(names::LISTENERS, size(entries.len()))
        .map_max_entries(names::STATS, size(listeners.len()))
        .map_max_entries(names::LEDGER, LEDGER_CLIENTS)
        .load(object)
        .map_err(StartError::from_load)?;

    let mut map = HashMap::try_from(map_mut(&mut ebpf, names::LISTENERS)?)
        .map_err(|source| StartError::map(names::LISTENERS, source))?;
    for (key, entry) in entries {
        map.insert(key, entry, 0)
            .map_err(|source| StartError::map(names::LISTENERS, source))?;
    }
    xdp_guard(&mut ebpf)?
        .load()
        .map_err(StartError::from_verifier)?;
    Ok(ebpf)
}

/// The program, loaded or not.
pub(super) fn xdp_guard(ebpf: &mut Ebpf) -> Result<&mut Xdp, StartError> {
    let program = ebpf
        .program_mut(names::XDP_GUARD)
        .ok_or_else(|| missing(names::XDP_GUARD))?;
    program
        .try_into()
        .map_err(|source: ProgramError| StartError::Refused {
            what: names::XDP_GUARD,
            source: source.into(),
        })
}

/// Takes the ledger out of the object. The program keeps its own hold on it.
pub(super) fn take_ledger(
    ebpf: &mut Ebpf,
) -> Result<HashMap<MapData, LedgerKey, Traffic>, StartError> {
    take(ebpf, names::LEDGER)
}

/// Takes a map out of the object, as the type that it has. The program keeps its own hold on it.
pub(super) fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, StartError>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|source| StartError::map(name, source))
}

fn map_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut aya::maps::Map, StartError> {
    ebpf.map_mut(name).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> StartError {
    let source = EbpfError::ProgramError(ProgramError::InvalidName {
        name: name.to_owned(),
    });
    StartError::Refused {
        what: name,
        source: source.into(),
    }
}

/// The size of a map for this many entries. The kernel makes no map for none.
fn size(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX).max(1)
}
