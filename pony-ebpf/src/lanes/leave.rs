//! `tcp_leave`: takes the sockets out of the lane that are to leave it.
//!
//! A socket must not be removed while the program runs for what arrives on it: a run that does not
//! find the socket any more throws away what it was to judge. And nothing may be left to the daemon
//! that it has not read: that goes with the socket. So both must be known at one moment, which is
//! what the lock of the socket is for. The daemon cannot take it; here the kernel holds it.

use core::{ffi::c_void, ptr::from_ref};

use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_map_delete_elem};
use pony_common::{
    cell::Cell64 as _,
    layout::lane::{BROKEN, KNOWN, OUT},
};

use crate::{
    maps::{COOKIES, LEAVE_AT, MOVED, NEXT, SOCKETS},
    socket,
};

/// The kernel's `struct bpf_iter__tcp`.
#[repr(C)]
struct Step {
    meta: *mut c_void,
    /// Null after the last one.
    socket: *mut c_void,
    uid: u32,
}

/// Lets a socket go, if it is to leave and nothing would be lost by it. The kernel runs it for one
/// TCP socket of the network namespace after the other, under its lock.
///
/// # Safety
///
/// `step` is what the kernel gives a program of this kind.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
unsafe extern "C" fn tcp_leave(step: *const Step) -> i32 {
    // SAFETY: the caller is the kernel.
    let socket = unsafe { (*step).socket };
    if !socket.is_null() {
        let_go(socket);
    }
    // Go on with the next one.
    0
}

/// Nothing if the socket is not in the lane.
#[inline(always)]
fn let_go(socket: *mut c_void) -> Option<()> {
    // SAFETY: the kernel gave us the socket, and holds it.
    let cookie = unsafe { bpf_get_socket_cookie(socket) };
    // SAFETY: the number is copied at once. The daemon gives it to another flow only after it has
    // waited for the lock under which this runs.
    let direction = unsafe { COOKIES.get(cookie) }.copied()?;
    let next = NEXT.get(direction)?;
    let is_read = LEAVE_AT.get(direction)?.load() == MOVED.get(direction)?.passed.load();
    if !is_read || !is_in_place(socket, next.load()) {
        return None;
    }
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: the map is one, and the key lives until the call returns.
    if unsafe { bpf_map_delete_elem(map, from_ref(&direction).cast()) } == 0 {
        next.store(OUT);
    }
    Some(())
}

/// Whether whoever reads the socket goes on where the program was: nothing is missing.
#[inline(always)]
fn is_in_place(socket: *mut c_void, next: u64) -> bool {
    match next {
        BROKEN | OUT => false,
        // Nothing has come yet.
        0 => true,
        known => socket::copied(socket).is_some_and(|read| known == KNOWN | u64::from(read)),
    }
}
