//! The daemon's steps while the direction is in the lane.
//!
//! A step is one system call, or one load or store of a number in the maps. Calls that take the
//! lock of the source wait until the program's run is over; those on the peer, and the maps, do not.

use crate::{
    flaw::Flaw,
    model::{SYN, World},
    queue::Queue,
    state::{End, Next, Run, SenderEnd, State, Then},
};

/// What `recv` on the source answers.
enum Received {
    Bytes(Queue),
    /// 0 bytes.
    End,
    /// `EAGAIN`.
    Nothing,
    /// It ran the program first.
    Later,
}

impl World {
    /// Whether the daemon's next step is possible. Waiting for the barrier and for room is too.
    pub(crate) fn daemon_can(&self, state: &State) -> bool {
        let source = &state.source;
        let is_unlocked = source.run == Run::Idle;
        match state.daemon.next {
            Next::InsertSource
            | Next::Kick
            | Next::Receive
            | Next::ReceiveAgain
            | Next::Account
            | Next::Hold
            | Next::Release => is_unlocked,
            Next::Sleep { polls } => {
                // It would look again and again.
                let is_hidden = source.is_held && !source.queue.is_empty();
                let is_late = polls && !source.passed.is_empty() && !is_hidden;
                source.called || source.fin_event || is_late || source.is_out
            }
            // It would look again and again.
            Next::Await(_) => self.is_settled(state, SYN + state.peer.acked, Self::outq(state)),
            Next::Write | Next::CopyWrite => Self::outq(state) < self.room,
            Next::Unaccounted => !source.passed.is_empty(),
            Next::Copy => {
                is_unlocked
                    && (state.sender.end.is_some()
                        || source
                            .queue
                            .front()
                            .is_some_and(|piece| self.is_next(state, piece)))
            }
            Next::Ended(_) => false,
            _ => true,
        }
    }

    pub(crate) fn daemon(&self, state: &mut State) {
        match state.daemon.next {
            Next::InsertSource | Next::InsertPeer | Next::Open | Next::Kick => self.join(state),
            // It is told when a walk is over.
            Next::Sleep { .. } if state.source.is_out => state.daemon.next = Next::Release,
            Next::Sleep { .. } => {
                state.daemon.is_called |= std::mem::take(&mut state.source.called);
                state.source.fin_event = false;
                state.daemon.next = if self.hears_late() {
                    Next::Receive
                } else {
                    Next::Hear
                };
            }
            // Only then is there never more than one record of the direction in the ring.
            Next::Hear if state.daemon.is_called || self.has(Flaw::HearsUncalled) => {
                state.daemon.next = Next::Heard(state.counts.calls);
            }
            Next::Hear => state.daemon.next = Next::Mark,
            Next::Heard(calls) => {
                state.orders.heard = calls;
                state.daemon.is_called = false;
                state.daemon.next = Next::Mark;
            }
            Next::Mark if is_marked(state) => {
                state.daemon.next = Next::Marked(state.counts.redirected + self.mark);
            }
            Next::Mark => state.daemon.next = self.once_heard(),
            Next::Marked(call_at) => {
                state.orders.call_at = call_at;
                state.daemon.next = self.once_heard();
            }
            Next::Receive | Next::ReceiveAgain => self.receive(state),
            Next::Await(then) => state.daemon.next = Next::Acked(then),
            Next::Acked(then) => {
                let first = if self.has(Flaw::OutqFirst) {
                    Self::outq(state)
                } else {
                    SYN + state.peer.acked
                };
                state.daemon.next = Next::Compare(then, first);
            }
            Next::Compare(then, first) => self.compare(state, then, first),
            Next::Write => Self::write(state, Next::Receive),
            Next::Promote => {
                let consumed = if self.has(Flaw::PromotesUnread) {
                    state.counts.passed
                } else {
                    state.daemon.consumed
                };
                state.orders.promote_at = consumed.cast_signed();
                state.daemon.next = if self.sleeps_at_once() {
                    self.sleep(state)
                } else {
                    Next::ReceiveAgain
                };
            }
            Next::Account => self.account(state),
            Next::Unaccounted => state.daemon.next = Next::Receive,
            _ => self.leave(state),
        }
    }

    fn join(&self, state: &mut State) {
        state.daemon.next = match state.daemon.next {
            Next::InsertSource => {
                state.source.is_in_map = true;
                Next::InsertPeer
            }
            Next::InsertPeer => {
                state.peer.is_in_map = true;
                Next::Open
            }
            Next::Open => {
                state.orders.promote_at = 0;
                Next::Kick
            }
            _ => {
                if !self.has(Flaw::NoKick) {
                    state.source.run();
                }
                Next::Sleep { polls: false }
            }
        };
    }

    /// `recv` on the source, and what follows from its answer.
    fn receive(&self, state: &mut State) {
        let is_again = state.daemon.next == Next::ReceiveAgain;
        state.daemon.next = match self.recv(state) {
            Received::Later => state.daemon.next,
            Received::Bytes(bytes) => {
                state.daemon.consumed += bytes.len();
                if state.daemon.is_door_open && !self.has(Flaw::ReadsInSilence) {
                    state.orders.leave_at = state.daemon.consumed.cast_signed();
                }
                state.daemon.buffer = bytes;
                if self.has(Flaw::WritesAtOnce) {
                    Next::Write
                } else {
                    Next::Acked(Then::Write)
                }
            }
            Received::End if self.has(Flaw::ShutsDownAtOnce) => Next::Ended(End::Shutdown),
            Received::End => Next::Account,
            Received::Nothing if state.daemon.is_leaving && !state.daemon.is_door_open => {
                if self.has(Flaw::LeavesAtOnce) {
                    Next::OpenDoor
                } else {
                    Next::Acked(Then::OpenDoor)
                }
            }
            Received::Nothing if is_again => self.sleep(state),
            Received::Nothing if state.daemon.is_leaving && !self.hears_late() => self.sleep(state),
            Received::Nothing if self.hears_late() => Next::Hear,
            Received::Nothing => Next::Promote,
        };
    }

    fn once_heard(&self) -> Next {
        if self.hears_late() {
            Next::Promote
        } else {
            Next::Receive
        }
    }

    /// Sleeps; with a timer if the program says that it passed more than could be received.
    ///
    /// The look at the mark is behind a `recv`, that is, behind the lock under which the program
    /// looks at the mark: who came second saw what the other had stored.
    fn sleep(&self, state: &State) -> Next {
        if is_marked(state) && !self.has(Flaw::MarksBlindly) {
            return Next::Mark;
        }
        let is_short = state.counts.passed != state.daemon.consumed;
        Next::Sleep {
            polls: is_short && self.polls(),
        }
    }

    fn compare(&self, state: &mut State, then: Then, first: u8) {
        let is_settled = if self.has(Flaw::OutqFirst) {
            self.is_settled(state, SYN + state.peer.acked, first)
        } else {
            self.is_settled(state, first, Self::outq(state))
        };
        state.daemon.next = match then {
            _ if !is_settled => Next::Await(then),
            Then::Write => Next::Write,
            Then::Shutdown => Next::Ended(End::Shutdown),
            Then::OpenDoor => Next::OpenDoor,
        };
    }

    /// The barrier: whether all redirected bytes have reached the peer's send queue.
    fn is_settled(&self, state: &State, acked: u8, outq: u8) -> bool {
        acked + outq >= self.base() + state.counts.redirected + state.orders.handed
    }

    fn outq(state: &State) -> u8 {
        state.peer.written - state.peer.acked
    }

    /// Writes a byte of the buffer to the peer, and counts it.
    pub(crate) fn write(state: &mut State, then: Next) {
        if let Some(byte) = state.daemon.buffer.pop() {
            state.peer.write(byte);
            state.orders.handed += 1;
        }
        if state.daemon.buffer.is_empty() {
            state.daemon.next = then;
        }
    }

    /// `bytes_received` counts the FIN, and nothing else that is not data.
    fn account(&self, state: &mut State) {
        let fin = u8::from(state.sender.end == Some(SenderEnd::Closed));
        let fin_wanted = u8::from(!self.has(Flaw::IgnoresFin));
        let is_complete = state.sender.bytes + fin.min(fin_wanted)
            == state.counts.passed + state.counts.redirected + fin_wanted
            && state.counts.passed == state.daemon.consumed;
        state.daemon.next = if is_complete {
            Next::Acked(Then::Shutdown)
        } else if state.sender.end == Some(SenderEnd::Reset) {
            Next::Ended(End::Aborted)
        } else if state.source.is_out {
            Next::Release
        } else {
            Next::Unaccounted
        };
    }

    /// `tcp_bpf_recvmsg_parser`, or `tcp_recvmsg` if a walk has met the socket; without waiting.
    fn recv(&self, state: &mut State) -> Received {
        if state.source.is_out
            && let Some(piece) = state.source.queue.front()
            && self.is_next(state, piece)
        {
            state.source.queue.pop();
            state.source.copied += self.len(piece);
            return Received::Bytes(self.bytes(piece));
        }
        let source = &mut state.source;
        if source.is_in_map && !source.queue.is_empty() {
            if source.is_held && state.sender.end != Some(SenderEnd::Closed) {
                return Received::Nothing;
            }
            source.run();
            return Received::Later;
        }
        let bytes = source.passed.take();
        if !bytes.is_empty() {
            source.copied += bytes.len();
            return Received::Bytes(bytes);
        }
        // An error is told once only, and something else may have been told.
        match state.sender.end {
            Some(_) => Received::End,
            None => Received::Nothing,
        }
    }
}

/// Whether so much was redirected that the program had to call.
pub(crate) fn is_marked(state: &State) -> bool {
    state.counts.redirected >= state.orders.call_at
}
