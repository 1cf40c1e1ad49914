//! `xdp_guard`: the first program to see a packet.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::xdp_action, helpers::bpf_xdp_get_buff_len, macros::xdp, programs::XdpContext,
};
use pony_common::layout::{
    ledger::{LedgerKey, Traffic},
    listener::{ListenerEntry, ListenerKey},
    reads::{Malformed, NotOurs},
};
use pony_ebpf::{
    cursor::Cursor,
    parse::{Packet, Parsed, parse},
};

use crate::maps::{LEDGER, LISTENERS, READS, STATS};

/// Counts what is sent to the listeners. It decides nothing: every packet goes on to the stack.
///
/// `frags`: packets in several buffers come here too. Without it the kernel would take segment
/// offload and large MTUs from an interface that runs the program in its driver.
#[xdp(frags)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro makes the context and gives it away"
)]
fn xdp_guard(ctx: XdpContext) -> u32 {
    match read(&ctx) {
        Ok(Parsed::Packet(packet)) => match find(packet.to) {
            Some(listener) => count(&packet, listener),
            None => count_read(NotOurs::NoListener as u32),
        },
        Ok(Parsed::NotOurs(why)) => count_read(why as u32),
        Err(why) => count_read(why as u32),
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn read(ctx: &XdpContext) -> Result<Parsed, Malformed> {
    // SAFETY: the helper only reads the context, which is the one that the kernel gave us.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    // SAFETY: the kernel keeps `data..data_end` readable while the program runs.
    let mut packet = unsafe { Cursor::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's own length is 32 bits wide"
    )]
    let frame_len = frame_len as u32;
    parse(&mut packet, frame_len)
}

/// The listener of an address and port: one on exactly this address, else one on all addresses.
#[inline(always)]
fn find(to: ListenerKey) -> Option<&'static ListenerEntry> {
    // SAFETY: nobody writes to the map while the program is attached.
    unsafe { LISTENERS.get(to).or_else(|| LISTENERS.get(to.wildcard())) }
}

#[inline(always)]
fn count(packet: &Packet, listener: &ListenerEntry) {
    if let Some(stats) = STATS.get_ptr_mut(listener.number) {
        // SAFETY: the slot is this CPU's own, and nothing interrupts an XDP program on its CPU to
        // run another one.
        unsafe {
            (*stats).packets += 1;
            (*stats).bytes += u64::from(packet.payload_len);
        }
    }
    let client = packet.src.prefix(listener.ipv6_prefix);
    count_client(
        &LedgerKey {
            listener: listener.number,
            client,
        },
        packet.payload_len,
    );
}

#[inline(always)]
fn count_client(key: &LedgerKey, bytes: u32) {
    let bytes = u64::from(bytes);
    if add(key, bytes) {
        return;
    }
    // Another CPU may be first with the same new client; then there is something to add to.
    let first = Traffic { packets: 1, bytes };
    if LEDGER.insert(key, first, BPF_NOEXIST).is_err() {
        add(key, bytes);
    }
}

/// Whether the client was there to add to.
#[inline(always)]
fn add(key: &LedgerKey, bytes: u64) -> bool {
    let Some(traffic) = LEDGER.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the value stays readable and writable while the program runs, also when the client
    // is forgotten meanwhile; all writers add atomically.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*traffic).packets, 1);
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(&raw mut (*traffic).bytes, bytes);
    }
    true
}

#[inline(always)]
fn count_read(slot: u32) {
    if let Some(counter) = READS.get_ptr_mut(slot) {
        // SAFETY: the slot is this CPU's own, and nothing interrupts an XDP program on its CPU to
        // run another one.
        unsafe { *counter += 1 };
    }
}

const BPF_NOEXIST: u64 = aya_ebpf::bindings::BPF_NOEXIST as u64;
