//! How sockets get into the lane and out of it while bytes arrive.
//!
//! Into it: a socket whose peer may still send as much, and whose reader wants to be told of no
//! less, keeps what arrives in its ordinary queue until both sockets are in.
//!
//! Out of it: the kernel takes no lock of a socket that a system call removes from a map. A segment
//! that just then makes it run the program would be thrown away, and so would what the program left
//! to the daemon and the daemon has not read. So a program removes them, `tcp_leave`, which looks
//! and removes under the lock. The daemon makes sure before that nothing is handed over to either
//! socket any more, and reads what is left to it; one socket may be out long before the other.

use std::{io, os::fd::BorrowedFd};

use super::{direction::Direction, error::JoinError};
use crate::sys::tcp::{
    TcpInfo, fix_buffers, fixed_buffers, receive_buffer, set_receive_buffer, set_receive_mark,
};

/// Keeps what arrives in the socket's ordinary queue, as long as the peer's window lasts.
pub(super) fn hold(socket: BorrowedFd<'_>) -> io::Result<()> {
    // More, and the kernel would enlarge the buffer.
    let half = receive_buffer(socket)? / 2;
    let window = TcpInfo::of(socket)?.receive_window;
    let window = window.map_or(half, |window| window as usize);
    let mark = i32::try_from(half.min(window)).unwrap_or(i32::MAX);
    set_receive_mark(socket, mark.max(1))
}

/// Ends that. If something is in the queue, the program sees it now, or whoever waits is told.
pub(super) fn release(socket: BorrowedFd<'_>) {
    // It cannot fail on a TCP socket.
    drop(set_receive_mark(socket, 1));
}

/// How large a socket's receive buffer was, and which of its buffers were fixed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    receive: usize,
    fixed: i32,
}

/// Has the peer send nothing more, but for a byte now and then that it probes with, once it has seen
/// that nothing is taken from it. Answers what to [start] it with again.
pub(super) fn stop(socket: BorrowedFd<'_>) -> io::Result<Buffers> {
    let before = Buffers {
        receive: receive_buffer(socket)?,
        fixed: fixed_buffers(socket)?,
    };
    // As small as the kernel makes them. What comes all the same is taken.
    set_receive_buffer(socket, 0)?;
    Ok(before)
}

/// Has it send again as soon as it probes.
pub(super) fn start(socket: BorrowedFd<'_>, before: Buffers) {
    // These cannot fail on a TCP socket. Where the kernel does not make the buffer as large as it
    // was, it lets it grow again.
    drop(set_receive_buffer(socket, before.receive));
    drop(fix_buffers(socket, before.fixed));
}

/// Puts both sockets of a flow into the lane, or none. They must be held, and nothing be handed over.
///
/// If one cannot be put there when the other is, bytes of that may be left to the daemon already. So
/// it stays, and leaves as others do.
pub(super) fn insert(directions: &[Direction<'_>; 2]) -> Result<(), JoinError> {
    let [first, second] = directions;
    put(first)?;
    if put(second).is_err() {
        first.close();
        second.close();
        second.leave_out();
    }
    Ok(())
}

fn put(direction: &Direction<'_>) -> Result<(), JoinError> {
    let mut maps = direction.table.maps();
    maps.know(direction.cookie, direction.number)?;
    let result = maps.insert(direction.number, direction.source);
    if result.is_err() {
        maps.forget(direction.cookie);
    }
    result
}
