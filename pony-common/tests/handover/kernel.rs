//! What the kernel does with arrivals: its steps from the receive queue to where a piece goes.

use crate::{
    model::{SYN, World},
    program::{Fixed, Judging},
    queue::Queue,
    state::{Action, Peer, Run, Source, State},
};

impl World {
    pub(crate) fn send(&self, state: &mut State) {
        state.sender.pieces += 1;
        state.sender.bytes += self.len(state.sender.pieces);
        state.source.queue.push(state.sender.pieces);
        if state.source.is_in_map && !state.source.is_held {
            state.source.run();
        }
    }

    pub(crate) fn program(&self, state: &mut State, action: Action) {
        match state.source.run {
            Run::Idle => {}
            Run::Next => self.take_piece(state),
            Run::Judging(piece, mut judging) => {
                let fixed = Fixed {
                    base: self.base(),
                    budget: self.budget,
                };
                let outside = (self.len(piece), SYN + state.peer.acked);
                let (counts, decision) = judging.step(self.grain, (state.orders, fixed), outside);
                state.counts = counts;
                state.source.run = match decision {
                    Some(decision) => Run::Decided(piece, decision),
                    None => Run::Judging(piece, judging),
                };
            }
            Run::Decided(piece, mut decision) if decision.calls => {
                state.source.called = true;
                decision.calls = false;
                state.source.run = Run::Decided(piece, decision);
            }
            Run::Decided(piece, decision) => {
                let bytes = self.bytes(piece);
                if decision.is_redirected {
                    redirect(state, bytes);
                } else {
                    pass(state, bytes, action == Action::ProgramShort);
                }
                state.source.run();
            }
        }
    }

    fn take_piece(&self, state: &mut State) {
        let source = &mut state.source;
        let Some(piece) = source.queue.pop() else {
            source.run = Run::Idle;
            return;
        };
        if source.is_in_map {
            source.run = Run::Judging(piece, Judging::begin(state.counts));
        } else {
            // `sk_psock_verdict_recv` without a psock: dropped, and as if it had been read.
            source.copied += self.len(piece);
            source.run();
        }
    }
}

impl Source {
    /// Starts the program, or goes on with it, if there is anything for it.
    pub(crate) fn run(&mut self) {
        self.run = if self.queue.is_empty() {
            Run::Idle
        } else {
            Run::Next
        };
    }
}

impl Peer {
    /// Writes a byte to the send queue.
    pub(crate) fn write(&mut self, byte: u8) {
        self.written += 1;
        self.is_disordered |= byte != self.written;
    }
}

/// `sk_psock_skb_redirect`: what cannot be queued is dropped. Either way it was read.
fn redirect(state: &mut State, bytes: Queue) {
    state.source.copied += bytes.len();
    if state.peer.is_in_map {
        state.peer.redirects.append(bytes);
    }
}

/// `sk_psock_verdict_apply` of a piece that was passed. What cannot be queued is dropped, as if it
/// had been read, or not even that.
fn pass(state: &mut State, bytes: Queue, is_short: bool) {
    let source = &mut state.source;
    if !source.is_in_map {
        source.copied += if is_short { 0 } else { bytes.len() };
    } else if is_short || !source.late.is_empty() {
        source.late.append(bytes);
    } else {
        source.passed.append(bytes);
    }
}
