//! What both programs do with every packet: find its listener, read the clock, count.

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_ktime_get_coarse_ns};
use pony_common::{
    addr::Addr16,
    layout::{
        listener::{Found, ListenerKey, ListenerRef, NetKey},
        locals::place,
        reads::SLOTS,
        stats::{Slot, Tally},
    },
    time::Nanos,
};
use pony_ebpf::{
    cursor::Cursor,
    parse::{Packet, read},
};

use crate::maps::{LISTENERS, LOCALS, NETS, PORTS, STATS};

/// Reads a packet. Answers [`READ`], or the slot of `READS` that it counts in.
#[inline(always)]
pub(crate) fn read_into(frame: &mut Cursor<'_>, frame_len: u32, packet: &mut Packet) -> u32 {
    match read(frame, frame_len, packet) {
        Ok(None) => READ,
        Ok(Some(why)) => why as u32,
        Err(why) => why as u32,
    }
}

/// In place of a slot of `READS`: it was read.
pub(crate) const READ: u32 = SLOTS;

/// The listener on an address and port: one on exactly this address, else one on all addresses,
/// else one on a prefix.
#[inline(always)]
pub(crate) fn find(key: &ListenerKey) -> Option<ListenerRef> {
    let listener = match PORTS.get(key.place())?.find(key.addr) {
        Found::Nobody => return None,
        Found::Listener(listener) => listener,
        Found::Ask(group) => ask(key, group)?,
    };
    let is_here = !listener.is_on_any_address() || is_local(&key.addr);
    is_here.then_some(listener)
}

/// Whether it is an address of this machine.
#[inline(always)]
fn is_local(addr: &Addr16) -> bool {
    LOCALS.get(place(addr)).is_some_and(|row| row.has(addr))
}

/// The same, where more than one listener has the port, or one on a prefix.
#[inline(never)]
fn ask(key: &ListenerKey, group: u32) -> Option<ListenerRef> {
    // SAFETY: the daemon replaces no listener while the program is attached.
    let listener = unsafe { LISTENERS.get(key).or_else(|| LISTENERS.get(key.wildcard())) };
    let on_prefix = || {
        let is_of_group = group != 0;
        is_of_group.then(|| NETS.get(&Key::new(NetKey::BITS, NetKey::new(group, key.addr))))?
    };
    listener.or_else(on_prefix)?.guarded()
}

/// The time, as of the kernel's last tick: half the price of the exact one. It is late by a few
/// milliseconds at most and never goes back, and no window is cut so finely.
#[inline(always)]
pub(crate) fn now() -> Nanos {
    // SAFETY: the helper has no arguments and no conditions.
    Nanos(unsafe { bpf_ktime_get_coarse_ns() })
}

/// Counts a packet of a listener in its slot.
#[inline(always)]
pub(crate) fn count(listener: u32, slot: Slot, tally: &Tally) {
    if let Some(counted) = STATS.get_ptr_mut(slot.index(listener)) {
        // SAFETY: the slot is this CPU's own. Each of the two programs has slots of its own, and
        // neither is interrupted on its CPU to run itself again.
        unsafe {
            (*counted).packets = (*counted).packets.wrapping_add(tally.packets);
            (*counted).bytes = (*counted).bytes.wrapping_add(tally.bytes);
            (*counted).attempts = (*counted).attempts.wrapping_add(tally.attempts);
        }
    }
}
