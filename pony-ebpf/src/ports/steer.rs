//! `sk_ports`: which socket gets a new connection, or a datagram of no connected socket.

use core::ptr::addr_of;

use aya_ebpf::{
    bindings::{bpf_sk_lookup, sk_action},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use pony_common::{
    addr::{Addr16, Be16},
    layout::listener::{ListenerKey, Transport},
};

use crate::maps::{HOLES, LISTENING, SPAN_COUNT, SPANS};

/// Gives what is sent into a span to the span's socket. Everything else finds its socket as if
/// the program was not there; so does all, should the socket be gone.
#[sk_lookup]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro makes the context and gives it away"
)]
fn sk_ports(ctx: SkLookupContext) -> u32 {
    if let Some(socket) = wanted(ctx.lookup).and_then(|key| find(&key)) {
        // It fails where another program was first, or where the daemon is about to end.
        let _assigned = LISTENING.redirect_sk_lookup(&ctx, socket, 0);
    }
    sk_action::SK_PASS
}

/// The socket for what is sent there, unless another of ours has just that.
fn find(key: &ListenerKey) -> Option<u32> {
    let spans = (0..SPAN_COUNT.load()).filter_map(|number| SPANS.get(number));
    let span = spans.into_iter().find(|span| span.covers(key))?;
    let hole = |key: &ListenerKey| {
        // SAFETY: the value is not read.
        unsafe { HOLES.get(key) }.is_some()
    };
    if hole(key) || hole(&key.wildcard()) {
        return None;
    }
    Some(span.socket)
}

/// What it is sent to.
fn wanted(lookup: *const bpf_sk_lookup) -> Option<ListenerKey> {
    // The verifier wants each field read as the four bytes that it is, and not two at once.
    let word = |field: *const u32| {
        // SAFETY: the kernel gave us the context, and the field is one of it.
        unsafe { field.read_volatile() }
    };
    // SAFETY: no field is read here.
    let fields = unsafe {
        [
            addr_of!((*lookup).protocol),
            addr_of!((*lookup).family),
            addr_of!((*lookup).local_port),
            addr_of!((*lookup).local_ip4),
            addr_of!((*lookup).local_ip6).cast(),
        ]
    };
    let [protocol, family, port, v4, v6] = fields;
    let transport = match word(protocol) {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return None,
    };
    let addr = match word(family) {
        AF_INET => Addr16::from_v4(word(v4).to_ne_bytes()),
        AF_INET6 => {
            let word = |at| word(v6.wrapping_add(at)).to_ne_bytes();
            Addr16::from_words([word(0), word(1), word(2), word(3)])
        }
        _ => return None,
    };
    // Of this field alone the kernel has changed the byte order. It is no larger than a port.
    let port = u16::try_from(word(port)).ok()?;
    Some(ListenerKey::new(transport, addr, Be16::from_host(port)))
}

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
