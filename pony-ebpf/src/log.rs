//! What `xdp_guard` says of single packets, for diagnosis. The daemon reads it with `aya-log`.
//!
//! The level is a constant of the loaded object. Where it is too low the verifier sees that
//! nothing here can be reached, and removes it.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
    trace,
};
use pony_common::layout::stats::Slot;
use pony_ebpf::{parse::Packet, verdict::Decision};

/// Says what was decided about a packet: for a refused one at `debug`, for others at `trace`.
#[inline(always)]
pub(crate) fn say(ctx: &XdpContext, packet: &Packet, listener: u32, decision: &Decision) {
    // The macros ask the same. Asked here, it also saves the call.
    if matches!(decision.slot(), Slot::Pass) {
        if level_enabled(Level::Trace) {
            passed(ctx, packet, listener);
        }
    } else if level_enabled(Level::Debug) {
        refused(ctx, packet, listener, decision);
    }
}

#[inline(never)]
fn passed(ctx: &XdpContext, packet: &Packet, listener: u32) {
    trace!(
        ctx,
        "listener {}: pass of {} bytes from {:i} port {}",
        listener,
        packet.payload_len,
        packet.from.addr.0,
        packet.from.port.to_host()
    );
}

#[inline(never)]
fn refused(ctx: &XdpContext, packet: &Packet, listener: u32, decision: &Decision) {
    debug!(
        ctx,
        "listener {}: {} of {} bytes from {:i} port {}: {}",
        listener,
        decision.slot().verdict(),
        packet.payload_len,
        packet.from.addr.0,
        packet.from.port.to_host(),
        decision.slot().reason()
    );
}
