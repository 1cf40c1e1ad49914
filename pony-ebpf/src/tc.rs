//! `tc_egress`: the last program to see a packet that goes out.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use pony_common::layout::stats::{Slot, Tally};
use pony_ebpf::{cursor::Cursor, parse::Packet, verdict::sent};

use crate::{
    count::{READ, count, find, now, read_into},
    kernel::Kernel,
    socket,
};

/// Counts what the listeners send. It changes nothing and lets everything go on.
#[classifier]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro makes the context and gives it away"
)]
fn tc_egress(ctx: TcContext) -> i32 {
    let mut packet = Packet::NONE;
    if tc_read(ctx.skb.skb, &raw mut packet) == READ
        && let Some(listener) = find(&packet.from)
        && (!listener.is_shared() || is_of_no_connection(&ctx, &packet))
    {
        count_sent(&packet, listener.number());
    }
    TC_ACT_UNSPEC
}

/// Reads the packet, and answers [`READ`] if it is TCP or UDP. As `xdp_read`, for this program.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tc_read(ctx: *mut __sk_buff, packet: *mut Packet) -> u32 {
    let ctx = TcContext::new(ctx);
    // SAFETY: the kernel keeps `data..data_end` readable while the program runs. The headers of
    // what a local socket sends are always in this first part.
    let mut cursor = unsafe { Cursor::new(ctx.data() as *const u8, ctx.data_end() as *const u8) };
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let packet = unsafe { packet.as_mut() };
    packet.map_or(READ, |packet| read_into(&mut cursor, ctx.len(), packet))
}

/// Whether a packet from a port that a listener shares with others is certainly not of one of their
/// connections: a datagram that leaves through a socket without a peer.
#[inline(always)]
fn is_of_no_connection(ctx: &TcContext, packet: &Packet) -> bool {
    packet.tcp().is_none() && socket::has_unconnected_sender(ctx)
}

#[inline(always)]
fn count_sent(packet: &Packet, listener: u32) {
    sent(&Kernel, packet, listener, now());
    let tally = Tally {
        packets: 1,
        bytes: u64::from(packet.payload_len),
        attempts: 0,
    };
    count(listener, Slot::Sent, &tally);
}
