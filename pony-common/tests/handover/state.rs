//! What one direction of a flow is, at any moment.

use crate::{
    program::{Counts, Decision, Given, Judging},
    queue::Queue,
};

/// Everything about the direction.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct State {
    pub(crate) sender: Sender,
    pub(crate) source: Source,
    pub(crate) counts: Counts,
    pub(crate) orders: Given,
    pub(crate) peer: Peer,
    pub(crate) daemon: Daemon,
}

/// Who sends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Sender {
    /// Pieces sent, and arrived.
    pub(crate) pieces: u8,
    /// Bytes in them.
    pub(crate) bytes: u8,
    pub(crate) end: Option<SenderEnd>,
}

/// How the sender ended the stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum SenderEnd {
    Closed,
    Reset,
}

/// The socket that the bytes arrive on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Source {
    /// Pieces in the receive queue, which the program has not seen.
    pub(crate) queue: Queue,
    /// Bytes that the program left to the daemon.
    pub(crate) passed: Queue,
    /// Such bytes for which there was no memory; the kernel's worker passes them up later, and
    /// wakes nobody who has not asked for `EPOLLIN`.
    pub(crate) late: Queue,
    /// `copied_seq`: bytes that the socket thinks have been read. `SIOCINQ` is all others.
    pub(crate) copied: u8,
    /// In the map: the program sees its bytes.
    pub(crate) is_in_map: bool,
    /// `SO_RCVLOWAT` is high: arrivals stay in the receive queue.
    pub(crate) is_held: bool,
    /// `tcp_leave` took it out of the map.
    pub(crate) is_out: bool,
    /// What the program does. While it does anything, it holds the lock of the socket.
    pub(crate) run: Run,
    /// The program's call waits in the ring.
    pub(crate) called: bool,
    /// `EPOLLRDHUP` waits to be heard.
    pub(crate) fin_event: bool,
}

/// The program, which takes every piece out of the receive queue once it is started.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Run {
    Idle,
    /// About to take the next piece.
    Next,
    Judging(u8, Judging),
    Decided(u8, Decision),
}

/// The other socket, and who reads from it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Peer {
    pub(crate) is_in_map: bool,
    /// Bytes redirected to it, which the kernel's worker has not written yet.
    pub(crate) redirects: Queue,
    /// Bytes written to its send queue.
    pub(crate) written: u8,
    /// Bytes acknowledged by its peer.
    pub(crate) acked: u8,
    /// They were not written in the order in which they were sent, once each.
    pub(crate) is_disordered: bool,
    /// Its peer reads no more, or is gone: the daemon may give up.
    pub(crate) is_failing: bool,
}

/// The daemon's side.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Daemon {
    pub(crate) next: Next,
    /// Bytes received and not yet written.
    pub(crate) buffer: Queue,
    /// Bytes received from the source while it was in the map.
    pub(crate) consumed: u8,
    /// It has taken a call from the ring and not heard it yet.
    pub(crate) is_called: bool,
    /// The direction is to leave the lane.
    pub(crate) is_leaving: bool,
    /// What was handed over is in the peer, and nothing is any more.
    pub(crate) is_door_open: bool,
    /// How often more credit can be granted.
    pub(crate) grants: u8,
}

/// What the daemon does next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Next {
    InsertSource,
    InsertPeer,
    /// Lets the program redirect, if nothing was passed meanwhile.
    Open,
    /// Starts the program on what arrived before.
    Kick,
    /// Sleeps, until a call or the end of the stream. With `polls`, until a timer as well.
    Sleep {
        polls: bool,
    },
    Hear,
    Heard(u8),
    /// Was the mark reached at which the program calls?
    Mark,
    /// Moves the mark.
    Marked(u8),
    Receive,
    /// Waits for the barrier: until all redirected bytes have reached the peer's send queue.
    Await(Then),
    /// Reads `bytes_acked` of the peer, for the barrier.
    Acked(Then),
    /// Reads `SIOCOUTQ` of the peer, and compares.
    Compare(Then, u8),
    Write,
    Promote,
    ReceiveAgain,
    /// Received the end: is everything accounted for?
    Account,
    /// It is not. Sooner or later it is.
    Unaccounted,
    LoadRedirected,
    CloseCredit(u8),
    /// Lets the sockets leave the map.
    OpenDoor,
    Hold,
    Release,
    /// Receives from the source, which is a socket like any other again.
    Copy,
    CopyWrite,
    Ended(End),
}

/// What the daemon does behind the barrier.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Then {
    Write,
    Shutdown,
    OpenDoor,
}

/// How the direction ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum End {
    /// The peer was shut down: whoever reads from it sees a clean end.
    Shutdown,
    /// Both sockets were reset, because one of the two ends failed.
    Aborted,
}

/// One step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// The next piece arrives.
    Send,
    /// The end of the stream arrives.
    Close,
    /// A reset arrives.
    Reset,
    /// The peer's peer stops reading.
    Fail,
    /// The program runs although arrivals are held.
    RunUnasked,
    /// More credit is granted.
    Grant,
    /// The direction is told to leave the lane.
    Leave,
    /// The program, one step.
    Program,
    /// As the program's step, but there is no memory for a piece that it passed.
    ProgramShort,
    /// The worker passes up what it had no memory for.
    PassLate,
    /// The worker writes a redirected byte.
    Worker,
    /// The peer's peer acknowledges a byte.
    Ack,
    /// A walk meets the source: `tcp_leave`, under its lock.
    WalkSource,
    /// A walk meets the peer, when nothing waits there for the opposite direction's reader.
    WalkPeer,
    /// The daemon ends holding, since walks were in vain: what is held hides what was passed.
    Unhold,
    /// The daemon, one step.
    Daemon,
    /// The daemon gives up, because one of the two ends failed.
    Abort,
}

impl Action {
    pub(crate) const ALL: [Self; 17] = [
        Self::Send,
        Self::Close,
        Self::Reset,
        Self::Fail,
        Self::RunUnasked,
        Self::Grant,
        Self::Leave,
        Self::Program,
        Self::ProgramShort,
        Self::PassLate,
        Self::Worker,
        Self::Ack,
        Self::WalkSource,
        Self::WalkPeer,
        Self::Unhold,
        Self::Daemon,
        Self::Abort,
    ];

    /// Happens by itself, sooner or later. All else may happen, or never.
    pub(crate) const fn is_inner(self) -> bool {
        matches!(
            self,
            Self::Program
                | Self::PassLate
                | Self::Worker
                | Self::Ack
                | Self::WalkSource
                | Self::WalkPeer
                | Self::Unhold
                | Self::Daemon
                | Self::Abort
        )
    }
}
