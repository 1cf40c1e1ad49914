//! The daemon's steps when the direction leaves the lane with a live sender, and after.
//!
//! In between it goes on as before, until a walk has met the source.

use crate::{
    flaw::Flaw,
    model::World,
    state::{End, Next, SenderEnd, State},
};

impl World {
    pub(crate) fn leave(&self, state: &mut State) {
        state.daemon.next = match state.daemon.next {
            Next::LoadRedirected if self.has(Flaw::LeavesWithCredit) => Next::Hear,
            Next::LoadRedirected => Next::CloseCredit(state.counts.redirected),
            Next::CloseCredit(redirected) => {
                state.orders.credit = redirected;
                Next::Hear
            }
            Next::OpenDoor => {
                state.daemon.is_door_open = true;
                let read = if self.has(Flaw::RemovesUnread) {
                    state.counts.passed
                } else {
                    state.daemon.consumed
                };
                state.orders.leave_at = read.cast_signed();
                if self.holds {
                    Next::Hold
                } else {
                    Next::Receive
                }
            }
            Next::Hold => {
                state.source.is_held = true;
                // The end of the stream is not held.
                if state.source.is_in_map && state.sender.end == Some(SenderEnd::Closed) {
                    state.source.run();
                }
                Next::Receive
            }
            Next::Release => {
                state.source.is_held = false;
                Next::Copy
            }
            Next::Copy => self.copy(state),
            _ => {
                Self::write(state, Next::Copy);
                state.daemon.next
            }
        };
    }

    /// `recv` on the source, which is not in the map any more.
    fn copy(&self, state: &mut State) -> Next {
        let front = state.source.queue.front();
        let Some(piece) = front.filter(|piece| self.is_next(state, *piece)) else {
            return match state.sender.end {
                Some(SenderEnd::Closed) => Next::Ended(End::Shutdown),
                _ => Next::Ended(End::Aborted),
            };
        };
        state.source.queue.pop();
        state.source.copied += self.len(piece);
        state.daemon.buffer = self.bytes(piece);
        Next::CopyWrite
    }

    /// Whether the socket finds the piece where it looks for it: not if bytes that it does not
    /// know to be read are missing before it. `recv` then warns, and sees an empty queue.
    pub(crate) fn is_next(&self, state: &State, piece: u8) -> bool {
        self.bytes(piece).front() == Some(state.source.copied + 1)
    }
}
