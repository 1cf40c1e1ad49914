//! Every map of the program that moves bytes from socket to socket.
//!
//! The daemon sets the sizes when it loads the object, by how many flows may be in the lane at
//! once. A direction of a flow has a number, see `pony_common::layout::lane`.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf, SockMap},
    macros::btf_map,
};
use pony_common::layout::lane::{Moved, Orders, SLIPS};

use crate::cell::MapCell;

/// The sockets, each under the number of the direction whose bytes come from it.
///
/// The daemon inserts, and removes sockets of flows that are over; `tcp_leave` removes those of
/// flows that go on; the kernel removes a socket that is closed or reset.
/// `sk_verdict` runs for what arrives on those here, and redirects to them. As large as the number
/// of directions, so it is never full.
#[btf_map]
pub(crate) static SOCKETS: SockMap<2> = SockMap::new();

/// The number of a direction by the cookie of the socket that its bytes come from.
///
/// The daemon inserts before the socket is in [`SOCKETS`] and removes after it; the programs
/// read. As large as the number of directions, so it is never full.
#[btf_map]
pub(crate) static COOKIES: HashMap<u64, u32, 2, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// What was done with the bytes of each direction.
///
/// `sk_verdict` alone writes, under the lock of the socket; the daemon reads through a mapping.
#[btf_map]
pub(crate) static MOVED: Array<Moved<MapCell>, 2, { BPF_F_MMAPABLE as usize }> = Array::new();

/// What the daemon wants of each direction.
///
/// The daemon alone writes, through a mapping; `sk_verdict` reads.
#[btf_map]
pub(crate) static ORDERS: Array<Orders<MapCell>, 2, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Where the next piece of each direction begins, see `pony_common::layout::lane::KNOWN`.
///
/// The programs write and read, under the lock of the socket; the daemon reads, and clears it
/// through a mapping before a socket is in [`SOCKETS`].
#[btf_map]
pub(crate) static NEXT: Array<MapCell, 2, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Which directions are to leave [`SOCKETS`], see `pony_common::layout::lane::never`.
///
/// The daemon alone writes, through a mapping; `tcp_leave` reads.
#[btf_map]
pub(crate) static LEAVE_AT: Array<MapCell, 2, { BPF_F_MMAPABLE as usize }> = Array::new();

/// The numbers of directions that the daemon has to look at.
///
/// `sk_verdict` writes, the daemon reads. A direction is here once at most, and there is room for
/// all, so it is never full.
#[btf_map]
pub(crate) static CALLS: RingBuf<u32, 4096> = RingBuf::new();

/// What should not have happened, by what it is: a slot for each
/// [`Slip`](pony_common::layout::lane::Slip).
///
/// `sk_verdict` writes, the daemon's metrics read. Per CPU, so counting needs no lock.
#[btf_map]
pub(crate) static SLIPPED: PerCpuArray<u64, { SLIPS as usize }> = PerCpuArray::new();

/// Where in the kernel's `struct tcp_sock` the acknowledged bytes are counted. The daemon takes it
/// from the kernel's type information when it loads the object.
#[unsafe(no_mangle)]
pub(crate) static ACKED_OFFSET: Global<u32> = Global::new(0);

/// Where it says up to which sequence number bytes were read from the socket. As the one above.
#[unsafe(no_mangle)]
pub(crate) static COPIED_OFFSET: Global<u32> = Global::new(0);
