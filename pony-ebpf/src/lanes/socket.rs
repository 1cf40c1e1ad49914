//! What a socket of the kernel knows: how far its peer has got, and how far it was read.

use core::{ffi::c_void, ptr::from_ref};

use aya_ebpf::helpers::{
    bpf_map_lookup_elem, bpf_probe_read_kernel_buf, bpf_sk_release, bpf_skc_to_tcp_sock,
};

use crate::maps::{ACKED_OFFSET, COPIED_OFFSET, SOCKETS};

/// How many bytes the peer of the socket of `direction` has acknowledged; `None` if there is no
/// such socket any more.
#[inline(always)]
pub(crate) fn acked(direction: u32) -> Option<u64> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: the map is one, and the key lives until the call returns.
    let socket = unsafe { bpf_map_lookup_elem(map, from_ref(&direction).cast()) };
    if socket.is_null() {
        return None;
    }
    let acked = acked_by(socket);
    // SAFETY: the lookup gave us this reference, and nothing uses it from here on.
    unsafe { bpf_sk_release(socket) };
    acked
}

#[inline(always)]
fn acked_by(socket: *mut c_void) -> Option<u64> {
    let mut acked = [0; 8];
    read(socket, ACKED_OFFSET.load(), &mut acked)?;
    Some(u64::from_ne_bytes(acked))
}

/// The sequence number up to which bytes were read from a socket.
#[inline(always)]
pub(crate) fn copied(socket: *mut c_void) -> Option<u32> {
    let mut copied = [0; 4];
    read(socket, COPIED_OFFSET.load(), &mut copied)?;
    Some(u32::from_ne_bytes(copied))
}

/// Reads a field of the kernel's `struct tcp_sock`.
#[inline(always)]
fn read(socket: *mut c_void, offset: u32, field: &mut [u8]) -> Option<()> {
    // SAFETY: the socket is not null, and stays while the caller or the kernel refers to it.
    let tcp = unsafe { bpf_skc_to_tcp_sock(socket) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: only an address until the helper reads it, which fails where there is nothing.
    let at = unsafe { tcp.cast::<u8>().add(offset as usize) };
    // SAFETY: the helper checks the address that it reads, and writes to our own variable.
    unsafe { bpf_probe_read_kernel_buf(at, field) }.ok()
}
