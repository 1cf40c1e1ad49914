//! What one direction of a flow has of the [`Memory`] that all share, and what follows for its
//! sockets and for what it carries at once.
//!
//! What holds: a direction that has moved little costs no system call; nor does one that has no
//! limit. What it has goes back when it ends, and when it has been at rest with nothing on its way.

use std::{
    mem,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::{
    memory::{Asking, FLOOR, Grant, LIGHT, Memory},
    pipe::PIPE_LEN,
};
use crate::sys::{
    buffers::{Queue, lift, limit, most},
    tcp::unacked,
};

/// See the module. Dropped with the flow.
pub(super) struct Allowance<'a> {
    memory: &'a Memory,
    held: u64,
    moved: u64,
    /// It asks for more when it has moved so much.
    ask_at: u64,
    /// What the sockets are limited to, if they are.
    limit: Option<u64>,
    /// When to see whether it is at rest, while it has something.
    look: Option<Pin<Box<Sleep>>>,
    has_moved: bool,
}

impl<'a> Allowance<'a> {
    pub(super) const fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            held: 0,
            moved: 0,
            ask_at: LIGHT,
            limit: None,
            look: None,
            has_moved: false,
        }
    }

    /// `len` bytes were taken from `from`, and are about to go to `to`.
    pub(super) fn took(&mut self, len: usize, from: &impl AsFd, to: &impl AsFd) {
        self.moved += len as u64;
        self.has_moved = true;
        if self.moved >= self.ask_at {
            self.ask(from.as_fd(), to.as_fd());
        }
    }

    /// `to` takes nothing now.
    pub(super) fn blocked(&mut self, from: &impl AsFd, to: &impl AsFd) {
        if self.held == 0 {
            self.ask(from.as_fd(), to.as_fd());
        }
    }

    /// How many bytes to carry at once, of at most `room`.
    pub(super) fn room(&self, room: usize) -> usize {
        let carried = self.limit.map_or(room, |limit| {
            usize::try_from(carried(limit)).unwrap_or(room)
        });
        carried.min(room)
    }

    /// Sees whether the direction, which waits for bytes to arrive, is at rest.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>, to: &impl AsFd) {
        if self.held == 0 {
            return;
        }
        let look = self.look.get_or_insert_with(|| Box::pin(sleep(REST)));
        while look.as_mut().poll(cx) == Poll::Ready(()) {
            look.as_mut().reset(Instant::now() + REST);
            if is_at_rest(&mut self.has_moved, to) {
                return self.give_back();
            }
        }
    }

    /// For a stay in the kernel's lane: how many bytes may be on their way to the reader. Before it,
    /// because a socket's queue must not become smaller there.
    pub(super) fn for_lane(&mut self, is_forced: bool, from: &impl AsFd, to: &impl AsFd) -> u64 {
        self.give_back();
        let parts = if is_forced { FORCED_PARTS } else { LANE_PARTS };
        let (held, is_plenty) = self.memory.ask_for_lane(parts, 2 * MOST_IN_LANE);
        self.held = held;
        if is_plenty {
            self.lift(from.as_fd(), to.as_fd());
        } else {
            self.set_limit(held.max(FLOOR), from.as_fd(), to.as_fd());
        }
        // The other half is for what waits to be handed over.
        (held / 2).clamp(LIGHT, MOST_IN_LANE)
    }

    /// Gives back all it has. Limits of the sockets stay until it asks again.
    pub(super) fn give_back(&mut self) {
        self.memory.take_back(self.held);
        (self.held, self.moved, self.ask_at) = (0, 0, LIGHT);
        self.look = None;
    }

    fn ask(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
        let grant = self.memory.ask(Asking {
            held: self.held,
            moved: self.moved,
            is_limited: self.limit.is_some(),
        });
        self.held = grant.bytes();
        match grant {
            Grant::Plenty(_) => {
                self.lift(from, to);
                self.ask_at = if self.held >= self.memory.most() {
                    u64::MAX
                } else {
                    self.moved.saturating_mul(2).max(LIGHT)
                };
            }
            Grant::Limit(limit) => {
                self.set_limit(limit, from, to);
                self.ask_at = self.moved.saturating_add(PROGRESS * self.held);
            }
        }
    }

    fn set_limit(&mut self, bytes: u64, from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
        if self.limit.replace(bytes) == Some(bytes) {
            return;
        }
        let queue = (bytes - carried(bytes)) / 2;
        // They fail only on a connection that is gone, which the next read or write notices.
        drop(limit(from, Queue::Receive, queue));
        drop(limit(to, Queue::Send, queue));
    }

    fn lift(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
        if self.limit.take().is_none() {
            return;
        }
        for (socket, queue) in [(from, Queue::Receive), (to, Queue::Send)] {
            if lift(socket, queue).is_err() {
                // A kernel that cannot: the queue gets as much as it could have come to take.
                drop(limit(socket, queue, most(queue)));
            }
        }
    }
}

impl Drop for Allowance<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Whether nothing has moved since it was asked last, and nothing much is on its way to the reader.
fn is_at_rest(has_moved: &mut bool, to: &impl AsFd) -> bool {
    !mem::take(has_moved) && unacked(to.as_fd()).is_ok_and(|len| len <= LIGHT)
}

/// How much of a limit is for what the daemon has in hand; its queues share the rest.
fn carried(limit: u64) -> u64 {
    (limit / CARRIED).clamp(LEAST_CARRIED, PIPE_LEN as u64)
}

/// A direction that has nothing to move for so long, and up to twice that, is at rest.
const REST: Duration = Duration::from_secs(2);

/// Who has moved so many times what it has does not just fill queues with it: those of the peers
/// are beyond our sockets.
const PROGRESS: u64 = 4;

/// One part of so many of a limit is for what the daemon has in hand.
const CARRIED: u64 = 8;

/// Less at once would be more system calls than it is worth.
const LEAST_CARRIED: u64 = 8 << 10;

/// How many bytes of a direction may be on their way to a peer in the kernel's lane.
const MOST_IN_LANE: u64 = 4 << 20;

/// Into so many parts is divided what is left, for the kernel's lane: it is for conversations, of
/// which there may be ten thousand, and which say little at once.
const LANE_PARTS: u64 = 8192;

/// The same where everything has to use that lane.
const FORCED_PARTS: u64 = 128;

#[cfg(test)]
mod tests;
