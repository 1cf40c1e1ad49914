//! From the embedded object to a loaded and attached program with its maps.

use std::{
    fs,
    os::fd::AsFd as _,
    sync::{Mutex, atomic::AtomicU64},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, PerCpuArray, RingBuf, SockMap},
    programs::{ProgramError, SkSkb},
};
use pony_common::{
    layout::lane::{Moved, Orders},
    names,
};

use super::{
    error::LanesError,
    table::{Maps, Table},
    types,
};
use crate::{
    kernel::{error::StartError, object},
    sys::View,
};

/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(lanes_object)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("PONY_LANES_OBJECT")));
/// The object that `cargo xtask build-ebpf` made, if it was there when this was compiled.
#[cfg(not(lanes_object))]
const EMBEDDED: Option<&[u8]> = None;

/// Loads the program with room for so many flows, and attaches it to its map, which is empty.
pub(super) fn load(max_flows: u32) -> Result<(Table, RingBuf<MapData>), LanesError> {
    let object = EMBEDDED.ok_or(LanesError::NoObject)?;
    let flows = max_flows.clamp(1, MOST_FLOWS);
    let directions = 2 * flows;
    let [acked, copied] = offsets(["bytes_acked", "copied_seq"])?;
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(names::SOCKETS, directions)
        .map_max_entries(names::KEPT, directions)
        .map_max_entries(names::COOKIES, directions)
        .map_max_entries(names::MOVED, directions)
        .map_max_entries(names::ORDERS, directions)
        .map_max_entries(names::CALLS, calls_bytes(directions))
        .map_max_entries(names::NEXT, directions)
        .override_global(names::ACKED_OFFSET, &acked, true)
        .override_global(names::COPIED_OFFSET, &copied, true)
        .load(object)
        .map_err(|source| StartError::refused("the lane's maps", source.into()))?;
    let sockets: SockMap<_> = object::take(&mut ebpf, names::SOCKETS)?;
    attach(&mut ebpf, &sockets)?;
    let kept: SockMap<_> = object::take(&mut ebpf, names::KEPT)?;
    let cookies: HashMap<_, u64, u32> = object::take(&mut ebpf, names::COOKIES)?;
    let slipped: PerCpuArray<_, u64> = object::take(&mut ebpf, names::SLIPPED)?;
    let calls = object::take(&mut ebpf, names::CALLS)?;
    let moved: View<Moved<AtomicU64>> = view(&ebpf, names::MOVED, directions)?;
    let orders: View<Orders<AtomicU64>> = object::shared(&ebpf, names::ORDERS, directions)?;
    let next: View<AtomicU64> = object::shared(&ebpf, names::NEXT, directions)?;
    let maps = Maps {
        sockets,
        kept,
        cookies,
        free: (0..flows).rev().collect(),
    };
    let table = Table {
        maps: Mutex::new(maps),
        moved,
        orders,
        next,
        slipped,
        _program: ebpf,
    };
    Ok((table, calls))
}

/// Has the kernel check the program, and run it for every socket that will be in the map: none is
/// yet, since sockets in a map without a program misbehave.
fn attach(ebpf: &mut Ebpf, sockets: &SockMap<MapData>) -> Result<(), LanesError> {
    let refused = |source: ProgramError| StartError::refused(names::SK_VERDICT, source.into());
    let program = ebpf
        .program_mut(names::SK_VERDICT)
        .ok_or_else(|| object::missing(names::SK_VERDICT))?;
    let program: &mut SkSkb = program.try_into().map_err(refused)?;
    program
        .load()
        .map_err(|source| StartError::from_verifier(names::SK_VERDICT, source))?;
    // No link to keep: it is attached until the map is gone.
    program.attach(sockets.fd()).map_err(refused)?;
    Ok(())
}

/// An array of the object, as memory that the program writes.
fn view(ebpf: &Ebpf, name: &'static str, len: u32) -> Result<View<Moved<AtomicU64>>, StartError> {
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(object::missing(name));
    };
    View::new(map.fd().as_fd(), len as usize)
        .map_err(|source| StartError::refused(name, source.into()))
}

/// Where fields of the kernel's `struct tcp_sock` are.
fn offsets<const N: usize>(fields: [&'static str; N]) -> Result<[u32; N], LanesError> {
    let types = fs::read(TYPES).map_err(|source| LanesError::NoTypes {
        path: TYPES,
        source,
    })?;
    let mut offsets = [0; N];
    for (offset, field) in offsets.iter_mut().zip(fields) {
        let found = types::offset(&types, "tcp_sock", field);
        *offset = found.ok_or(LanesError::NoField { path: TYPES, field })?;
    }
    Ok(offsets)
}

/// The kernel wants a power of two, and whole pages.
const fn calls_bytes(directions: u32) -> u32 {
    let bytes = (directions * CALL_BYTES).next_power_of_two();
    if bytes < LEAST_CALLS_BYTES {
        return LEAST_CALLS_BYTES;
    }
    bytes
}

const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// More than one process can have open.
const MOST_FLOWS: u32 = 1 << 20;
/// A number with what the ring buffer puts before it, and room for as many again: a buffer of
/// this kind is full one byte before it is.
const CALL_BYTES: u32 = 2 * 16;
/// A multiple of every size of a page.
const LEAST_CALLS_BYTES: u32 = 64 * 1024;
