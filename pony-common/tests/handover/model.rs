//! The model: which steps are possible when, and what the kernel's steps do.

use stateright::{Model, Property};

use crate::{
    flaw::Flaw,
    program::{Counts, Given, Grain},
    properties,
    queue::Queue,
    state::{Action, Daemon, End, Next, Peer, Run, Sender, SenderEnd, Source, State},
};

/// How large the world is, and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    /// How long each piece of the stream is.
    pub(crate) pieces: &'static [u8],
    pub(crate) grain: Grain,
    /// How much the peer's send queue holds.
    pub(crate) room: u8,
    pub(crate) budget: u8,
    pub(crate) credit: u8,
    /// How often one more byte of credit is granted.
    pub(crate) grants: u8,
    /// The program calls each time that so many more bytes are redirected.
    pub(crate) mark: u8,
    pub(crate) leaves: bool,
    /// The daemon holds arrivals back while it leaves.
    pub(crate) holds: bool,
    /// The ends may fail.
    pub(crate) fails: bool,
    /// The kernel may run the program although arrivals are held.
    pub(crate) runs_unasked: bool,
    /// The kernel may have no memory for what is passed up.
    pub(crate) runs_short: bool,
    /// What the daemon does wrong.
    pub(crate) flaw: Option<Flaw>,
}

/// What `bytes_acked` is on a socket that connected, before anything is written.
pub(crate) const SYN: u8 = 1;

impl World {
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(crate) fn hears_late(&self) -> bool {
        self.has(Flaw::HearsLate) || self.has(Flaw::SleepsDeaf)
    }

    pub(crate) fn sleeps_at_once(&self) -> bool {
        self.has(Flaw::SleepsAtOnce) || self.has(Flaw::SleepsDeaf)
    }

    pub(crate) fn polls(&self) -> bool {
        !self.has(Flaw::NeverPolls) && !self.has(Flaw::SleepsDeaf)
    }

    /// What the daemon takes for the bytes written to the peer before the flow.
    pub(crate) fn base(&self) -> u8 {
        match self.flaw {
            Some(Flaw::BaseTooLow) => SYN - 1,
            Some(Flaw::BaseTooHigh) => SYN + 1,
            _ => SYN,
        }
    }

    pub(crate) fn len(&self, piece: u8) -> u8 {
        self.pieces[usize::from(piece) - 1]
    }

    /// The bytes of a piece.
    pub(crate) fn bytes(&self, piece: u8) -> Queue {
        let before = &self.pieces[..usize::from(piece) - 1];
        Queue::run(1 + before.iter().sum::<u8>(), self.len(piece))
    }

    /// Whether the step is possible.
    pub(crate) fn allows(&self, state: &State, action: Action) -> bool {
        if matches!(state.daemon.next, Next::Ended(_)) {
            return false;
        }
        let source = &state.source;
        let has_failed = state.sender.end == Some(SenderEnd::Reset) || state.peer.is_failing;
        let can_arrive = state.sender.end.is_none() && source.run == Run::Idle;
        let has_room = state.peer.written - state.peer.acked < self.room;
        match action {
            Action::Send => can_arrive && usize::from(state.sender.pieces) < self.pieces.len(),
            Action::Close => can_arrive,
            Action::Reset => self.fails && can_arrive,
            Action::Fail => self.fails && !state.peer.is_failing,
            Action::RunUnasked => {
                self.runs_unasked
                    && source.is_in_map
                    && source.is_held
                    && source.run == Run::Idle
                    && !source.queue.is_empty()
            }
            Action::Grant => state.daemon.grants > 0 && !state.daemon.is_leaving,
            Action::Leave => {
                self.leaves
                    && !state.daemon.is_leaving
                    && matches!(state.daemon.next, Next::Sleep { .. })
            }
            Action::Program => source.run != Run::Idle,
            Action::ProgramShort => {
                self.runs_short && matches!(source.run, Run::Decided(_, it) if !it.is_redirected)
            }
            Action::PassLate => !source.late.is_empty(),
            Action::Worker => state.peer.is_in_map && !state.peer.redirects.is_empty() && has_room,
            Action::Ack => !state.peer.is_failing && state.peer.acked < state.peer.written,
            Action::WalkSource => {
                let is_unlocked = source.run == Run::Idle || self.has(Flaw::RemovesUnlocked);
                source.is_in_map
                    && is_unlocked
                    && state.orders.leave_at == state.counts.passed.cast_signed()
            }
            Action::WalkPeer => state.peer.is_in_map && state.daemon.is_door_open,
            Action::Unhold => source.is_in_map && source.is_held && source.run == Run::Idle,
            Action::Daemon => self.daemon_can(state),
            Action::Abort => has_failed,
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            sender: Sender {
                pieces: 0,
                bytes: 0,
                end: None,
            },
            source: Source {
                queue: Queue::default(),
                passed: Queue::default(),
                late: Queue::default(),
                copied: 0,
                is_in_map: false,
                is_held: false,
                is_out: false,
                run: Run::Idle,
                called: false,
                fin_event: false,
            },
            counts: Counts::default(),
            orders: Given {
                promote_at: if self.has(Flaw::OpensFirst) { 0 } else { -1 },
                credit: self.credit,
                call_at: self.mark,
                heard: 0,
                handed: 0,
                leave_at: -1,
            },
            peer: Peer {
                is_in_map: false,
                redirects: Queue::default(),
                written: 0,
                acked: 0,
                is_disordered: false,
                is_failing: false,
            },
            daemon: Daemon {
                next: Next::InsertSource,
                buffer: Queue::default(),
                consumed: 0,
                is_called: false,
                is_leaving: false,
                is_door_open: false,
                grants: self.grants,
            },
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(
            Action::ALL
                .into_iter()
                .filter(|action| self.allows(state, *action)),
        );
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send => self.send(&mut state),
            Action::Close => {
                state.sender.end = Some(SenderEnd::Closed);
                state.source.fin_event = true;
                // The end runs the program even if arrivals are held: the socket is `SOCK_DONE`.
                if state.source.is_in_map {
                    state.source.run();
                }
            }
            Action::Reset => state.sender.end = Some(SenderEnd::Reset),
            Action::Fail => state.peer.is_failing = true,
            Action::RunUnasked => state.source.run(),
            Action::Grant => {
                state.daemon.grants -= 1;
                state.orders.credit += 1;
            }
            Action::Leave => {
                state.daemon.is_leaving = true;
                state.daemon.next = Next::LoadRedirected;
            }
            Action::Program | Action::ProgramShort => self.program(&mut state, action),
            Action::PassLate => {
                let late = state.source.late.take();
                state.source.passed.append(late);
            }
            Action::Worker => {
                let byte = state.peer.redirects.pop()?;
                state.peer.write(byte);
            }
            Action::Ack => state.peer.acked += 1,
            Action::WalkSource => {
                let source = &mut state.source;
                (source.is_in_map, source.is_out) = (false, true);
                (source.passed, source.late) = (Queue::default(), Queue::default());
            }
            Action::Unhold => {
                state.source.is_held = false;
                state.source.run();
            }
            Action::WalkPeer => {
                state.peer.is_in_map = false;
                state.peer.redirects = Queue::default();
            }
            Action::Daemon => self.daemon(&mut state),
            Action::Abort => state.daemon.next = Next::Ended(End::Aborted),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
