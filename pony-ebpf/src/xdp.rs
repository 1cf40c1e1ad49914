//! `xdp_guard`: the first program to see a packet that comes in.

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, xdp_action, xdp_md},
    helpers::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
use pony_common::{
    layout::{
        budget::Budget,
        event::Event,
        reads::NotOurs,
        report::{self, About},
        stats::{Slot, Tally},
    },
    time::Nanos,
};
use pony_ebpf::{
    cursor::{Cursor, Writer},
    header::reset,
    parse::Packet,
    verdict::{Answer, Decision, verdict},
};

use crate::{
    count::{READ, count, find, now, read_into},
    kernel::Kernel,
    log,
    maps::{BUDGET, EVENTS, HASH_KEY, READS, REPORTS},
    socket,
};

/// Judges what is sent to the listeners; everything else goes on to the stack, unread or not.
///
/// `frags`: packets in several buffers come here too. Without it the kernel would take segment
/// offload and large MTUs from an interface that runs the program in its driver.
#[xdp(frags)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro makes the context and gives it away"
)]
fn xdp_guard(ctx: XdpContext) -> u32 {
    let mut packet = Packet::NONE;
    let slot = match xdp_read(ctx.ctx, &raw mut packet) {
        READ => match find(&packet.to) {
            Some(listener) if listener.is_shared() && is_in_connection(&ctx, &packet) => {
                NotOurs::InConnection as u32
            }
            Some(listener) => return guard(&ctx, &packet, listener.number()),
            None => NotOurs::NoListener as u32,
        },
        unread => unread,
    };
    count_read(slot);
    xdp_action::XDP_PASS
}

/// Reads the packet, and answers [`READ`] or the slot of `READS` that it counts in.
///
/// With a C name the verifier checks it once, by itself, and after it knows nothing of the
/// packet; else it would follow each kind of header to the end of the program.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdp_read(ctx: *mut xdp_md, packet: *mut Packet) -> u32 {
    let ctx = XdpContext::new(ctx);
    // SAFETY: the kernel keeps `data..data_end` readable while the program runs.
    let mut cursor = unsafe { Cursor::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let packet = unsafe { packet.as_mut() };
    packet.map_or(READ, |packet| {
        read_into(&mut cursor, frame_len(&ctx), packet)
    })
}

/// The length of the frame with all its buffers.
#[inline(always)]
fn frame_len(ctx: &XdpContext) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's own length is 32 bits wide"
    )]
    // SAFETY: the helper only reads the context, which is the one that the kernel gave us.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    frame_len
}

/// Whether a packet on a port that a listener shares with others may belong to one of their
/// connections. Whose it is can be told only of what opens one.
#[inline(always)]
fn is_in_connection(ctx: &XdpContext, packet: &Packet) -> bool {
    match packet.tcp() {
        Some(segment) => !segment.flags.is_attempt() && !segment.flags.are_bogus(),
        None => socket::is_connected(ctx, packet),
    }
}

/// Judges a packet for a listener, counts and reports what is done with it, and does it.
#[inline(always)]
fn guard(ctx: &XdpContext, packet: &Packet, listener: u32) -> u32 {
    let now = now();
    let decision = verdict(&Kernel, packet, listener, now);
    let tally = Tally {
        packets: 1,
        bytes: u64::from(packet.payload_len),
        attempts: decision.attempts,
    };
    count(listener, decision.slot(), &tally);
    log::say(ctx, packet, listener, &decision);
    if !matches!(decision.slot(), Slot::Pass) {
        report(listener, &decision, tally, now);
    }
    match decision.answer {
        Answer::Pass => xdp_action::XDP_PASS,
        Answer::Drop => xdp_action::XDP_DROP,
        Answer::Reset => answer(ctx, packet),
    }
}

/// Turns the packet into its answer, and sends it back to where it came from.
#[inline(never)]
fn answer(ctx: &XdpContext, packet: &Packet) -> u32 {
    let Some(asked) = packet.tcp() else {
        return xdp_action::XDP_DROP;
    };
    let surplus = frame_len(ctx).wrapping_sub(reset::frame_len(packet));
    // SAFETY: the context is the one that the kernel gave us. Nothing read before is used after.
    let cut = unsafe { bpf_xdp_adjust_tail(ctx.ctx, surplus.wrapping_neg().cast_signed()) };
    if cut != 0 {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the kernel keeps `data..data_end` writable while the program runs.
    let mut frame = unsafe { Writer::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) };
    match reset::write(&mut frame, packet, asked) {
        Ok(()) => xdp_action::XDP_TX,
        Err(_) => xdp_action::XDP_DROP,
    }
}

/// Tells the daemon, if it is time to tell it about this listener, client and slot.
#[inline(never)]
fn report(listener: u32, decision: &Decision, tally: Tally, now: Nanos) {
    let about = About {
        client: decision.client,
        listener,
        slot: decision.slot().value(),
    };
    let hash = about.hash(&HASH_KEY.load());
    let Some(row) = REPORTS.get(report::index(hash)) else {
        return;
    };
    let may_tell = || budget().is_some_and(|budget| budget.take(now));
    let Some(told) = row.add((about, hash), tally, now, may_tell) else {
        return;
    };
    let event = Event {
        at: now,
        listener,
        slot: about.slot,
        client: about.client,
        packets: told.packets,
        bytes: told.bytes,
        attempts: told.attempts,
    };
    if EVENTS.output(event, u64::from(BPF_RB_NO_WAKEUP)).is_err()
        && let Some(budget) = budget()
    {
        budget.withheld = budget.withheld.wrapping_add(1);
    }
}

/// The reports that this CPU may still make.
#[inline(always)]
fn budget() -> Option<&'static mut Budget> {
    // SAFETY: the element is this CPU's own, nobody here asks for it twice at a time, and nothing
    // interrupts an XDP program on its CPU to run another one.
    BUDGET.get_ptr_mut(0).map(|budget| unsafe { &mut *budget })
}

#[inline(always)]
fn count_read(slot: u32) {
    if let Some(counter) = READS.get_ptr_mut(slot) {
        // SAFETY: the slot is this CPU's own, and nothing interrupts an XDP program on its CPU to
        // run another one.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}
