//! How sockets get into the lane and out of it while bytes arrive.
//!
//! What the program left to the daemon is in a queue that the kernel throws away with the last map
//! that the socket is in. What arrives while a socket is taken out could be thrown away too, where
//! the program runs but is not found. So it must not run: a socket whose peer may still send as
//! much, and whose reader wants to be told of no less, keeps what arrives in its ordinary queue.
//! Since that holds only until the window is full, which can't be ruled out, it is checked: a second
//! map keeps the other queue until nothing can get into it any more, and if there is something in
//! it then, the socket goes back. In the end every byte that the socket received must be accounted
//! for, or the flow is lost, and known to be.

use std::{
    io,
    os::fd::BorrowedFd,
    thread,
    time::{Duration, Instant},
};

use super::{direction::Direction, error::JoinError};
use crate::sys::tcp::{Stage, TcpInfo, receive_buffer, set_receive_mark};

/// How sockets got out of the lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Withdrawal {
    Out,
    /// They are in it as before.
    Busy,
    /// Bytes are missing.
    Lost,
}

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

/// Puts both sockets of a flow into the lane, or none. They must be held, and nothing be handed over.
///
/// If one cannot be put there when the other is, and bytes of that are left to the daemon already,
/// it stays, and nothing will be handed over.
pub(super) fn insert(directions: &[Direction<'_>; 2]) -> Result<(), JoinError> {
    let [first, second] = directions;
    put(first)?;
    let Err(error) = put(second) else {
        return Ok(());
    };
    match withdraw(std::slice::from_ref(first)) {
        Withdrawal::Out => Err(error),
        Withdrawal::Busy => {
            first.pin();
            second.pin();
            second.leave_out();
            Ok(())
        }
        Withdrawal::Lost => Err(JoinError::Lost),
    }
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

/// Takes sockets out of the lane, all or none.
pub(super) fn withdraw(directions: &[Direction<'_>]) -> Withdrawal {
    if directions.iter().any(Direction::is_pinned) {
        return Withdrawal::Busy;
    }
    let is_held = directions.iter().all(|direction| {
        is_open(direction) && hold(direction.source).is_ok() && keep(direction).is_ok()
    });
    // From here on the program changes nothing, unless a window gets full. If it does, the bytes
    // are left to the daemon.
    let allowed: Vec<_> = directions.iter().map(Direction::allowed).collect();
    for direction in directions {
        direction.withhold();
        serialize(direction);
    }
    let mut removed = 0;
    if is_held && settle(directions) {
        removed = remove(directions);
    }
    if removed == directions.len() && directions.iter().all(Direction::is_taken) {
        return finish(directions);
    }
    let back = come_back(directions, removed);
    for (direction, allowed) in directions.iter().zip(allowed) {
        direction.allow(allowed);
    }
    back
}

/// Removes the sockets one after the other, as long as that is safe, and answers how many.
fn remove(directions: &[Direction<'_>]) -> usize {
    let mut removed = 0;
    for direction in directions {
        // A run that does not find the program any more throws away what it was to judge.
        if !direction.hold_lasts().unwrap_or(false) {
            break;
        }
        direction.table.maps().remove(direction.number);
        removed += 1;
    }
    directions[..removed].iter().for_each(serialize);
    removed
}

/// Waits for a run of the program that is under way. It is under the lock that this takes.
fn serialize(direction: &Direction<'_>) {
    drop(direction.stage());
}

/// Forgets sockets that were removed in time, and makes sure that they were.
fn finish(directions: &[Direction<'_>]) -> Withdrawal {
    let mut complete = 0;
    for direction in directions {
        let mut maps = direction.table.maps();
        maps.let_go(direction.number);
        maps.forget(direction.cookie);
        drop(maps);
        complete += usize::from(direction.is_complete().unwrap_or(false));
        release(direction.source);
    }
    if complete < directions.len() {
        return Withdrawal::Lost;
    }
    Withdrawal::Out
}

fn is_open(direction: &Direction<'_>) -> bool {
    direction.stage().is_ok_and(|stage| stage == Stage::Open)
}

fn keep(direction: &Direction<'_>) -> Result<(), JoinError> {
    let mut maps = direction.table.maps();
    maps.keep(direction.number, direction.source)
}

/// Waits for what was handed over to reach the sinks, and answers whether it did, and the daemon
/// has read what was left to it.
fn settle(directions: &[Direction<'_>]) -> bool {
    let start = Instant::now();
    directions.iter().all(|direction| {
        loop {
            if !direction.is_taken() {
                return false;
            }
            match direction.is_drained() {
                Ok(true) => return true,
                Ok(false) if start.elapsed() < PATIENCE => thread::yield_now(),
                _ => return false,
            }
        }
    })
}

/// Puts those sockets back that were removed, the first so many, and has all be as before. What was
/// left to the daemon meanwhile is still there.
fn come_back(directions: &[Direction<'_>], removed: usize) -> Withdrawal {
    let (removed, others) = directions.split_at(removed);
    for direction in others {
        direction.table.maps().let_go(direction.number);
    }
    let back = removed.iter().map(put_back).max().unwrap_or(Back::In);
    for direction in directions {
        if back != Back::In {
            direction.pin();
        }
        release(direction.source);
    }
    if back == Back::Lost {
        return Withdrawal::Lost;
    }
    Withdrawal::Busy
}

/// Whether a socket is in the lane again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Back {
    In,
    /// It is not, since its peer has ended the stream. What there is of it can be read, and nothing
    /// may be handed over to it.
    Out,
    /// It is not, and what there is of it cannot be read.
    Lost,
}

fn put_back(direction: &Direction<'_>) -> Back {
    let mut maps = direction.table.maps();
    if maps.insert(direction.number, direction.source).is_ok() {
        maps.let_go(direction.number);
        return Back::In;
    }
    drop(maps);
    // Both were left to the daemon and in the ordinary queue: the kernel does not find the one
    // after the other.
    if !direction.is_taken() && !direction.is_accounted().unwrap_or(false) {
        return Back::Lost;
    }
    direction.leave_out();
    Back::Out
}

/// How long to wait for the kernel to move what it already has: many times as long as it takes,
/// unless the peer does not keep up.
const PATIENCE: Duration = Duration::from_micros(500);
