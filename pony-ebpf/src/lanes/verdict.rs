//! `sk_verdict`: sees every piece of a stream when it arrives, and hands it over or leaves it.

use aya_ebpf::{
    EbpfContext as _,
    bindings::sk_action::{SK_DROP, SK_PASS},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_coarse_ns},
    macros::stream_verdict,
    programs::SkBuffContext,
};
use pony_common::{
    lane::{call, call_failed, judge},
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
/// What cannot be handed over is left to the daemon. It drops no byte, unless some before are
/// missing already.
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
    let Some((direction, moved, orders)) = find(&ctx) else {
        count(Slip::UnknownSocket);
        return SK_PASS;
    };
    if !cut_repeated(&ctx, direction) {
        // Whatever were made of it, the stream would have a hole that nobody sees.
        if call(moved, orders) {
            call_daemon(direction, moved);
        }
        return SK_DROP;
    }
    hand_over(&ctx, direction, moved, orders);
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
    if verdict.calls {
        call_daemon(direction, moved);
    }
}

#[inline(always)]
fn call_daemon(direction: u32, moved: &Moved<MapCell>) {
    if CALLS.output(direction, 0).is_err() {
        call_failed(moved);
        count(Slip::NoCall);
    }
}
