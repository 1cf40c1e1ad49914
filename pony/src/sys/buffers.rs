//! How much memory a socket's two queues may take.
//!
//! Left alone, the kernel sizes them by what the connection shows of itself, up to `tcp_rmem` and
//! `tcp_wmem`. A limit ends that until it is lifted. Sizes are as the kernel charges them: with its
//! own bookkeeping, which is about as much as the bytes when these come in small pieces.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::set_int;

/// One of a socket's two queues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queue {
    /// What has arrived and is not read.
    Receive,
    /// What was written and is not acknowledged.
    Send,
}

/// Has `queue` take no more than about `bytes`.
///
/// Beyond `net.core.rmem_max` and `wmem_max` that takes `CAP_NET_ADMIN`. Without it the limit is the
/// lower one.
pub fn limit(socket: BorrowedFd<'_>, queue: Queue, bytes: u64) -> io::Result<()> {
    let (name, forced) = match queue {
        Queue::Receive => (libc::SO_RCVBUF, libc::SO_RCVBUFFORCE),
        Queue::Send => (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE),
    };
    // The kernel doubles it.
    let half = i32::try_from(bytes / 2).unwrap_or(i32::MAX / 2);
    if bytes > ALWAYS_ALLOWED && set_int(&socket, libc::SOL_SOCKET, forced, half).is_ok() {
        return Ok(());
    }
    set_int(&socket, libc::SOL_SOCKET, name, half)
}

/// Leaves `queue` to the kernel again. Linux 5.14.
pub fn lift(socket: BorrowedFd<'_>, queue: Queue) -> io::Result<()> {
    let locks = locks(socket)?;
    let others = locks & !queue.lock();
    if others == locks {
        return Ok(());
    }
    set_int(&socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK, others)
}

/// Whether `queue` has a limit. Linux 5.14.
pub fn is_limited(socket: BorrowedFd<'_>, queue: Queue) -> io::Result<bool> {
    Ok(locks(socket)? & queue.lock() != 0)
}

/// The most that the kernel lets a queue become by itself.
pub fn most(queue: Queue) -> u64 {
    let path = match queue {
        Queue::Receive => "/proc/sys/net/ipv4/tcp_rmem",
        Queue::Send => "/proc/sys/net/ipv4/tcp_wmem",
    };
    let text = fs::read_to_string(path).ok();
    let most = text.and_then(|text| text.split_whitespace().nth(2)?.parse().ok());
    most.unwrap_or(USUAL_MOST)
}

impl Queue {
    /// Its bit in `SO_BUF_LOCK`.
    const fn lock(self) -> i32 {
        match self {
            Self::Send => 1,
            Self::Receive => 2,
        }
    }
}

fn locks(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut locks: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes at most `len`
    // bytes, into a `c_int`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BUF_LOCK,
            (&raw mut locks).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(locks)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Twice the least that `rmem_max` and `wmem_max` usually are.
const ALWAYS_ALLOWED: u64 = 2 * 212_992;

/// The kernel's own default on machines with enough memory.
const USUAL_MOST: u64 = 6 << 20;

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, net::TcpStream, os::fd::AsFd as _};

    use super::*;
    use crate::sys::tcp::receive_buffer;

    #[test]
    fn a_limit_holds_for_one_queue_until_it_is_lifted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = socket.as_fd();
        limit(socket, Queue::Receive, 48 << 10).unwrap();
        assert_eq!(receive_buffer(socket).unwrap(), 48 << 10);
        assert!(is_limited(socket, Queue::Receive).unwrap());
        assert!(!is_limited(socket, Queue::Send).unwrap());
        limit(socket, Queue::Send, 48 << 10).unwrap();
        lift(socket, Queue::Receive).unwrap();
        assert!(!is_limited(socket, Queue::Receive).unwrap());
        assert!(is_limited(socket, Queue::Send).unwrap());
    }

    #[test]
    fn knows_how_large_queues_may_become() {
        assert!(most(Queue::Receive) >= 64 << 10);
        assert!(most(Queue::Send) >= 64 << 10);
    }
}
