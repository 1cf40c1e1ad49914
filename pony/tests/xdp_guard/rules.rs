//! Listeners for the guard, and what it counted for them.

use std::{net::SocketAddr, sync::LazyLock};

use pony::{
    config::{Access, Limits, Protocol},
    kernel::{At, Guard, GuardListener, Rules},
};
use pony_common::layout::stats::{Slot, Tally};

/// A listener that lets everybody in and limits nobody.
pub(crate) fn open_listener(
    name: &'static str,
    protocol: Protocol,
    addr: SocketAddr,
) -> GuardListener<'static> {
    static ACCESS: LazyLock<Access> = LazyLock::new(|| Access {
        allow: ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap()).into(),
        ..Access::default()
    });
    static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
    GuardListener {
        name,
        at: At::Socket(addr),
        v6_only: false,
        rules: Rules {
            protocol,
            access: &ACCESS,
            limits: &LIMITS,
        },
    }
}

/// What passed to the listener with this number.
pub(crate) fn passed(guard: &Guard, listener: u32) -> Tally {
    guard.counters().tally(listener, Slot::Pass).unwrap()
}
