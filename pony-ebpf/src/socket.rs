//! Whose a datagram is, on a port that a listener shares with others.
//!
//! A connected socket gets what its peer sends, whoever listens on its port; and a listener has
//! only sockets without a peer.

use core::ptr::addr_of;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, xdp_md},
    helpers::{bpf_sk_lookup_udp, bpf_sk_release},
    programs::{TcContext, XdpContext},
};
use pony_common::addr::{Addr16, Be16};
use pony_ebpf::parse::Packet;

/// Whether a connected socket of this machine gets the datagram.
#[inline(always)]
pub(crate) fn is_connected(ctx: &XdpContext, packet: &Packet) -> bool {
    xdp_is_connected(ctx.ctx, &raw const *packet) != 0
}

/// Whether a socket without a peer has sent the packet.
#[inline(always)]
pub(crate) fn has_unconnected_sender(ctx: &TcContext) -> bool {
    let skb: *const __sk_buff = ctx.skb.skb;
    // SAFETY: the context is the one that the kernel gave us, and the field is one of it. What it
    // points to is there as long as the packet.
    unsafe {
        let socket = addr_of!((*skb).__bindgen_anon_2.sk).read_volatile();
        !socket.is_null() && !has_peer(socket)
    }
}

/// As `xdp_read`, for asking whose a datagram is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdp_is_connected(ctx: *mut xdp_md, packet: *const Packet) -> u32 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return 0;
    };
    let (from, to) = (&packet.from, &packet.to);
    let ports = [from.port, to.port];
    let is_connected = if from.addr.is_v4() {
        let addrs = [from.addr, to.addr].map(|Addr16([.., a, b, c, d])| [a, b, c, d]);
        lookup(ctx, Tuple { addrs, ports })
    } else {
        let addrs = [from.addr, to.addr];
        lookup(ctx, Tuple { addrs, ports })
    };
    u32::from(is_connected)
}

/// One of the two forms of `bpf_sock_tuple`, which the kernel tells apart by their size.
#[repr(C, align(4))]
struct Tuple<A> {
    addrs: [A; 2],
    ports: [Be16; 2],
}

const _: () = assert!(size_of::<Tuple<[u8; 4]>>() == 4 + 4 + 2 + 2);
const _: () = assert!(size_of::<Tuple<Addr16>>() == 16 + 16 + 2 + 2);

#[inline(always)]
fn lookup<A>(ctx: *mut xdp_md, mut tuple: Tuple<A>) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
    let size = size_of::<Tuple<A>>() as u32;
    let tuple = (&raw mut tuple).cast();
    // SAFETY: the context is the one that the kernel gave us, and the tuple has this size. The
    // socket is ours until it is given back, and not asked after that.
    unsafe {
        let socket = bpf_sk_lookup_udp(ctx.cast(), tuple, size, CURRENT_NAMESPACE, 0);
        if socket.is_null() {
            return false;
        }
        let is_connected = has_peer(socket);
        let _done = bpf_sk_release(socket.cast());
        is_connected
    }
}

/// # Safety
///
/// The kernel gave us the socket, and has not got it back.
#[inline(always)]
unsafe fn has_peer(socket: *const bpf_sock) -> bool {
    // SAFETY: the field is one of the socket. The verifier wants it read as the two bytes that it is.
    unsafe { addr_of!((*socket).dst_port).read_volatile() != 0 }
}

/// That of the interface: `BPF_F_CURRENT_NETNS`.
const CURRENT_NAMESPACE: u64 = u64::MAX;
