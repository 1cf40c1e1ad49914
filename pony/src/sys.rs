//! The little that the daemon asks of the system below the standard library.
//!
//! Owns every `unsafe` block of the daemon. Does not know what a listener, a client or a flow is.

pub mod buffers;
pub mod destination;
pub mod foreign;
mod memory;
pub mod netlink;
pub mod tcp;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use pony_common::time::Nanos;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use tokio::io::{Interest, unix::AsyncFd};

pub use self::memory::{Atomics, View, fill};

/// The time since boot, by the clock that the kernel programs read too (`CLOCK_MONOTONIC`).
pub fn now() -> Nanos {
    read(ClockId::Monotonic)
}

/// How much of a processor's time this thread has had.
pub fn thread_time() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Raises the number of files this process may open to the most that it is allowed, and returns it.
///
/// Every flow needs two descriptors; the usual soft limit of 1,024 is meant for `select(2)`.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// How much memory the machine has, in bytes.
pub fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    // Wider than the kernel's own type on some machines, and not on others.
    #[allow(
        clippy::useless_conversion,
        reason = "it is a `u32` on 32-bit machines"
    )]
    let pages = u64::from(info.totalram);
    pages.saturating_mul(info.mem_unit.into())
}

/// Lets the kernel fragment the datagrams that `socket` sends.
///
/// A proxy forwards what it gets: a reply larger than the path's MTU must go out in fragments, as
/// it would have without us. `quinn-udp` forbids that, because QUIC probes the path itself.
pub fn allow_fragments(socket: &impl AsRawFd, is_v6: bool) -> io::Result<()> {
    set_int(
        socket,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_WANT,
    )?;
    if is_v6 {
        set_int(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_WANT,
        )?;
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
    }
    Ok(())
}

/// Has the coming `bind` take an address only, and leave the port to `connect`.
pub fn bind_without_port(socket: &impl AsRawFd) -> io::Result<()> {
    // Sockets of IPv6 listen to this one too.
    set_int(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

fn set_int(socket: &impl AsRawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `len` bytes from a
    // `c_int` that lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has the runtime watch a descriptor that somebody else owns.
pub fn watch(
    descriptor: BorrowedFd<'_>,
    interest: Interest,
) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: it is always the same descriptor, and open for as long as it is borrowed.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    watched.map_err(|error| error.into_parts().1)
}

/// Has the runtime watch another descriptor of the same file.
pub fn watch_twin(of: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let twin = of.try_clone_to_owned()?;
    // SAFETY: it is always the same descriptor, and open until what owns it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(twin, interest) };
    watched.map_err(|error| error.into_parts().1)
}
