//! From the embedded object to loaded programs with their maps.

use std::{
    ffi::CStr,
    fs,
    os::fd::AsFd as _,
    sync::{Mutex, atomic::AtomicU64},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, PerCpuArray, RingBuf, SockMap},
    programs::{Iter, ProgramError, SkSkb},
};
use pony_common::{
    layout::lane::{Moved, Orders},
    names,
};
use rustix::system::uname;

use super::{
    error::LanesError,
    table::{Maps, Table},
    types,
    walker::Walker,
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

/// Loads the programs with room for so many flows, and attaches `sk_verdict` to its map, which is
/// empty.
pub(super) fn load(max_flows: u32) -> Result<(Table, RingBuf<MapData>), LanesError> {
    check_release(uname().release())?;
    let object = EMBEDDED.ok_or(LanesError::NoObject)?;
    let flows = max_flows.clamp(1, MOST_FLOWS);
    let directions = 2 * flows;
    let [acked, copied] = offsets(["bytes_acked", "copied_seq"])?;
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(names::SOCKETS, directions)
        .map_max_entries(names::COOKIES, directions)
        .map_max_entries(names::MOVED, directions)
        .map_max_entries(names::ORDERS, directions)
        .map_max_entries(names::CALLS, calls_bytes(directions))
        .map_max_entries(names::NEXT, directions)
        .map_max_entries(names::LEAVE_AT, directions)
        .override_global(names::ACKED_OFFSET, &acked, true)
        .override_global(names::COPIED_OFFSET, &copied, true)
        .load(object)
        .map_err(|source| StartError::refused("the lane's maps", source.into()))?;
    let sockets: SockMap<_> = object::take(&mut ebpf, names::SOCKETS)?;
    attach(&mut ebpf, &sockets)?;
    prepare_leaving(&mut ebpf)?;
    let cookies: HashMap<_, u64, u32> = object::take(&mut ebpf, names::COOKIES)?;
    let slipped: PerCpuArray<_, u64> = object::take(&mut ebpf, names::SLIPPED)?;
    let calls = object::take(&mut ebpf, names::CALLS)?;
    let moved: View<Moved<AtomicU64>> = view(&ebpf, names::MOVED, directions)?;
    let orders: View<Orders<AtomicU64>> = object::shared(&ebpf, names::ORDERS, directions)?;
    let next: View<AtomicU64> = object::shared(&ebpf, names::NEXT, directions)?;
    let leave_at: View<AtomicU64> = object::shared(&ebpf, names::LEAVE_AT, directions)?;
    let maps = Maps {
        sockets,
        cookies,
        free: (0..flows).rev().collect(),
    };
    let table = Table {
        maps: Mutex::new(maps),
        moved,
        orders,
        next,
        leave_at,
        slipped,
        walker: Walker::start(ebpf)?,
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

/// Has the kernel check the program that takes sockets out of the map.
fn prepare_leaving(ebpf: &mut Ebpf) -> Result<(), LanesError> {
    let name = names::TCP_LEAVE;
    let refused = |source: ProgramError| StartError::refused(name, source.into());
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| object::missing(name))?;
    let program: &mut Iter = program.try_into().map_err(refused)?;
    let types = Btf::from_sys_fs().map_err(|source| LanesError::Refused {
        what: name,
        source: source.into(),
    })?;
    program
        .load("tcp", &types)
        .map_err(|source| StartError::from_verifier(name, source))?;
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

/// Whether the kernel lets a program go past the TCP sockets with each of them locked as a system
/// call has it.
///
/// It does since 6.5 (commit 9378096e8a65). Before, it kept their packets off with a spin lock,
/// under which a socket's callbacks, which leaving the lane changes, were never meant to be changed.
fn check_release(release: &CStr) -> Result<(), LanesError> {
    let release = release.to_string_lossy();
    let mut numbers = release.split(|digit: char| !digit.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) >= LEAST_RELEASE => Ok(()),
        _ => Err(LanesError::OldKernel {
            release: release.into_owned(),
        }),
    }
}

/// The kernel wants a power of two, and whole pages.
const fn calls_bytes(directions: u32) -> u32 {
    let bytes = (directions * CALL_BYTES).next_power_of_two();
    if bytes < LEAST_CALLS_BYTES {
        return LEAST_CALLS_BYTES;
    }
    bytes
}

const LEAST_RELEASE: (u32, u32) = (6, 5);
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// More than one process can have open.
const MOST_FLOWS: u32 = 1 << 20;
/// A number with what the ring buffer puts before it, and room for as many again: a buffer of
/// this kind is full one byte before it is.
const CALL_BYTES: u32 = 2 * 16;
/// A multiple of every size of a page.
const LEAST_CALLS_BYTES: u32 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_locks_sockets_for_its_walks_will_do() {
        for (release, is_fit) in [
            (c"6.5.0-28-generic", true),
            (c"6.18.44", true),
            (c"10.0", true),
            (c"6.4.16", false),
            (c"5.19.0", false),
            (c"6", false),
            (c"", false),
        ] {
            assert_eq!(check_release(release).is_ok(), is_fit, "{release:?}");
        }
    }
}
