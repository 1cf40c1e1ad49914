//! The embedded kernel object: making it fit the configuration, and finding things in it.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, MapType, lpm_trie::Key},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use pony_common::{
    layout::{
        block::{Block, BlockKey},
        ledger::{Entry, SetRow, WAYS},
        listener::{ListenerKey, ListenerRef, NetKey, PortEntry},
        name::ListenerName,
        stats::SLOTS,
    },
    names,
};

use super::{
    GuardListener, Rules,
    error::StartError,
    keys::{Keys, transport},
    log,
    secrets::Secrets,
};
use crate::{
    config,
    sys::{Atomics, View},
};

/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(bpf_object)]
pub(super) const EMBEDDED: Option<&[u8]> =
    Some(aya::include_bytes_aligned!(env!("PONY_BPF_OBJECT")));
/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(not(bpf_object))]
pub(super) const EMBEDDED: Option<&[u8]> = None;

/// How large the maps are that depend on the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sizes {
    listeners: u32,
    keys: u32,
    nets: u32,
    /// A power of two.
    sets: u32,
    blocks: u32,
}

impl Sizes {
    pub(super) fn new(config: &config::Guard, listeners: usize, keys: &Keys) -> Self {
        Self {
            listeners: size(listeners),
            keys: size(keys.listeners.len()),
            nets: size(keys.nets.len()),
            sets: config.max_clients.div_ceil(WAYS).next_power_of_two(),
            blocks: config.max_blocks,
        }
    }

    /// How many clients the ledger has room for: at least as many as were asked for.
    pub(super) const fn clients(self) -> u32 {
        self.sets * WAYS
    }

    pub(super) const fn blocks(self) -> u32 {
        self.blocks
    }

    /// How many bytes of the kernel's memory that takes, beside one or two megabytes.
    pub(super) fn bytes(self) -> u64 {
        let set = size_of::<SetRow<u64>>() + WAYS as usize * size_of::<Entry<u64>>();
        u64::from(self.sets) * set as u64 + u64::from(self.blocks) * BLOCK_BYTES
    }
}

/// Makes the maps, and fills in the listeners.
pub(super) fn load(
    object: &[u8],
    config: &config::Guard,
    keys: &Keys,
    sizes: Sizes,
) -> Result<Ebpf, StartError> {
    let secrets = Secrets::draw().map_err(|source| StartError::Random { source })?;
    let mut loader = EbpfLoader::new();
    log::prepare(&mut loader, config.kernel_log);
    let mut ebpf = loader
        .map_max_entries(names::LISTENERS, sizes.keys)
        .map_max_entries(names::NETS, sizes.nets)
        .map_max_entries(names::STATS, sizes.listeners.saturating_mul(SLOTS))
        .map_max_entries(names::LEDGER_SETS, sizes.sets)
        .map_max_entries(names::LEDGER, sizes.clients())
        .map_max_entries(names::BLOCKS, sizes.blocks)
        .override_global(names::SETS, &sizes.sets, true)
        .override_global(names::HASH_KEY, &secrets.hash_key, true)
        .override_global(names::ATTEMPTS_KEY, &secrets.attempts_key, true)
        .load(object)
        .map_err(StartError::from_load)?;

    fill(&mut ebpf, keys)?;
    Ok(ebpf)
}

fn fill(ebpf: &mut Ebpf, keys: &Keys) -> Result<(), StartError> {
    let map_error = |source| StartError::map(names::LISTENERS, source);
    let mut map: HashMap<_, ListenerKey, ListenerRef> = find(ebpf, names::LISTENERS)?;
    for (key, listener) in &keys.listeners {
        map.insert(key, listener, 0).map_err(map_error)?;
    }
    let map_error = |source| StartError::map(names::NETS, source);
    let mut map: LpmTrie<_, NetKey, ListenerRef> = find(ebpf, names::NETS)?;
    for (bits, key, listener) in &keys.nets {
        let key = Key::new(*bits, *key);
        map.insert(&key, listener, 0).map_err(map_error)?;
    }
    let map_error = |source| StartError::map(names::PORTS, source);
    let mut map: Array<_, PortEntry> = find(ebpf, names::PORTS)?;
    for (place, port) in &keys.ports {
        map.set(*place, port, 0).map_err(map_error)?;
    }
    Ok(())
}

/// Makes a map that no program reads, with what the listeners are called.
pub(super) fn listener_names(listeners: &[GuardListener<'_>]) -> Result<Map, StartError> {
    let map_error = |source| StartError::map(names::NAMES, source);
    let definition = aya_obj::Map::new_from_params(
        MapType::Array as u32,
        INDEX_SIZE,
        ListenerName::SIZE,
        size(listeners.len()),
        0,
    );
    let map = MapData::create(definition, names::NAMES, None).and_then(Map::from_map_data);
    let mut map = map.map_err(map_error)?;
    let mut array = Array::try_from(&mut map).map_err(map_error)?;
    for (number, listener) in (0..).zip(listeners) {
        let Rules {
            protocol, limits, ..
        } = listener.rules;
        let name = ListenerName::new(listener.name, transport(protocol), limits.ipv6_prefix);
        array.set(number, name, 0).map_err(map_error)?;
    }
    Ok(map)
}

/// Has the kernel check the programs.
pub(super) fn verify(ebpf: &mut Ebpf) -> Result<(), StartError> {
    xdp_guard(ebpf)?
        .load()
        .map_err(|source| StartError::from_verifier(names::XDP_GUARD, source))?;
    tc_egress(ebpf)?
        .load()
        .map_err(|source| StartError::from_verifier(names::TC_EGRESS, source))
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

/// The program for what leaves, loaded or not.
pub(super) fn tc_egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, StartError> {
    let program = ebpf
        .program_mut(names::TC_EGRESS)
        .ok_or_else(|| missing(names::TC_EGRESS))?;
    program
        .try_into()
        .map_err(|source: ProgramError| StartError::Refused {
            what: names::TC_EGRESS,
            source: source.into(),
        })
}

/// The kernel's number of a loaded program.
pub(super) fn number(program: &Xdp) -> Result<u32, StartError> {
    let info = program.info().map_err(|source| StartError::Refused {
        what: names::XDP_GUARD,
        source: source.into(),
    })?;
    Ok(info.id())
}

/// A map of the object, as the type that it has.
pub(super) fn find<'a, M>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<M, StartError>
where
    M: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = ebpf.map_mut(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|source| StartError::map(name, source))
}

/// Takes a map out of the object, as the type that it has. The program keeps its own hold on it.
pub(super) fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, StartError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|source| StartError::map(name, source))
}

/// An array of the object, as memory that the programs and the daemon both write.
pub(super) fn shared<T: Atomics>(
    ebpf: &Ebpf,
    name: &'static str,
    len: u32,
) -> Result<View<T>, StartError> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(missing(name));
    };
    View::writable(map.fd().as_fd(), len as usize)
        .map_err(|source| StartError::map(name, MapError::IoError(source)))
}

/// What is said of an object that lacks something.
pub(super) fn missing(name: &'static str) -> StartError {
    let source = EbpfError::ProgramError(ProgramError::InvalidName {
        name: name.to_owned(),
    });
    StartError::Refused {
        what: name,
        source: source.into(),
    }
}

/// A block with its place in the kernel's hash table.
const BLOCK_BYTES: u64 = 48 + (size_of::<BlockKey>() + 4 + size_of::<Block>()) as u64;

/// The size of an array's key.
pub(super) const INDEX_SIZE: u32 = 4;

/// The size of a map for this many entries. The kernel makes no map for none.
fn size(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_has_room_for_as_many_as_were_asked_for_and_takes_what_is_documented() {
        let sizes = |max_clients| {
            let config = config::Guard {
                max_clients,
                ..config::Guard::default()
            };
            Sizes::new(&config, 0, &Keys::default())
        };
        assert_eq!(sizes(65_536).clients(), 65_536);
        assert_eq!(sizes(65_537).clients(), 131_072);
        assert_eq!(sizes(1_024).clients(), 1_024);
        assert_eq!(sizes(8_388_608).clients(), 8_388_608);
        let megabytes = |max_clients| sizes(max_clients).bytes() / 1_000_000;
        assert_eq!(megabytes(65_536), 27, "configs/full.yaml says so");
        assert_eq!(megabytes(1_048_576), 412);
    }
}
