//! `sk_verdict`: sees every piece of a stream when it arrives, and hands it over or leaves it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::sk_action::{SK_DROP, SK_PASS},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_coarse_ns},
    macros::stream_verdict,
    programs::SkBuffContext,
};
use pony_common::{
    lane::{call_failed, judge},
    layout::lane::{Moved, Orders, Slip, opposite},
    time::Nanos,
};

use crate::{
    cell::MapCell,
    maps::{CALLS, COOKIES, MOVED, ORDERS, SOCKETS},
    place::cut_repeated,
    slip::count,
    socket,
};

/// Does with a piece of a stream what the rule says. The kernel runs it under the lock of the
/// socket that the piece came from.
///
/// It drops no byte: what cannot be handed over is left to the daemon, and counted if it should
/// not have been so.
#[stream_verdict]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro makes the context and gives it away"
)]
fn sk_verdict(ctx: SkBuffContext) -> u32 {
    if ctx.len() == 0 {
        // The end of the stream alone. The socket has it already, as readers see; handed over, or
        // left to wait behind what is handed over to this socket, it would break a connection.
        return SK_DROP;
    }
    match find(&ctx) {
        Some((direction, moved, orders)) => {
            // What is left of it is at least one byte: else it would not be here.
            cut_repeated(&ctx, direction);
            hand_over(&ctx, direction, moved, orders);
        }
        None => count(Slip::UnknownSocket),
    }
    // Where it was redirected the kernel knows it, and this means "not dropped".
    SK_PASS
}

/// The direction that this is a piece of.
#[inline(always)]
fn find(ctx: &SkBuffContext) -> Option<(u32, &'static Moved<MapCell>, &'static Orders<MapCell>)> {
    // SAFETY: the helper only reads the context, which is the one that the kernel gave us.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    // SAFETY: the number is copied at once. The daemon does not remove it while the socket is in
    // `SOCKETS`, and the program only runs for sockets that are.
    let direction = unsafe { COOKIES.get(cookie) }.copied()?;
    Some((direction, MOVED.get(direction)?, ORDERS.get(direction)?))
}

#[inline(always)]
fn hand_over(
    ctx: &SkBuffContext,
    direction: u32,
    moved: &Moved<MapCell>,
    orders: &Orders<MapCell>,
) {
    let to = opposite(direction);
    let len = u64::from(ctx.len());
    // SAFETY: the helper has no arguments and no conditions.
    let now = Nanos(unsafe { bpf_ktime_get_coarse_ns() });
    let verdict = judge(moved, orders, len, now, || socket::acked(to));
    if verdict.is_redirected && SOCKETS.redirect_skb(ctx, to, 0) != i64::from(SK_PASS) {
        // The other socket is gone, and with it the flow.
        count(Slip::NoPeer);
    }
    if verdict.calls && CALLS.output(direction, 0).is_err() {
        call_failed(moved);
        count(Slip::NoCall);
    }
}
