//! The daemon's steps when the direction leaves the lane with a live sender, and after.

use crate::{
    flaw::Flaw,
    model::World,
    queue::Queue,
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
            Next::Hold => {
                state.source.is_held = !self.has(Flaw::LeavesUnheld);
                // The end of the stream is not held.
                if state.sender.end == Some(SenderEnd::Closed) {
                    state.source.run();
                }
                Next::Check
            }
            Next::Check => {
                let is_read = state.counts.passed == state.daemon.consumed;
                match is_read || self.has(Flaw::RemovesUnread) {
                    true if self.removes_peer_first => Next::RemovePeer,
                    true => Next::RemoveSource,
                    false => Next::Unhold,
                }
            }
            Next::Unhold => {
                state.source.is_held = false;
                state.source.run();
                Next::Hear
            }
            Next::RemoveSource => {
                state.source.is_in_map = false;
                state.source.passed = Queue::default();
                state.source.late = Queue::default();
                if state.peer.is_in_map {
                    Next::RemovePeer
                } else {
                    Next::Verify
                }
            }
            Next::RemovePeer => {
                state.peer.is_in_map = false;
                state.peer.redirects = Queue::default();
                if state.source.is_in_map {
                    Next::RemoveSource
                } else {
                    Next::Verify
                }
            }
            Next::Verify if self.is_whole(state) => Next::Release,
            Next::Verify => Next::Ended(End::Lost),
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

    /// Whether nothing was lost: what was passed was received, and nothing but that and what was
    /// redirected is gone from the socket (`bytes_received - SIOCINQ`).
    fn is_whole(&self, state: &State) -> bool {
        let consumed = state.daemon.consumed;
        let has_read = state.counts.passed == consumed;
        let has_copied = state.source.copied == consumed + state.counts.redirected;
        (has_read || self.has(Flaw::VerifiesCopiedOnly))
            && (has_copied || self.has(Flaw::VerifiesPassedOnly))
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
