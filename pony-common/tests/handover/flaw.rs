//! What a daemon could do wrong, to see that the model finds it.

/// One mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    /// Lets the program redirect before the peer is in the map.
    OpensFirst,
    /// Does not start the program on what arrived before the source was in the map.
    NoKick,
    /// Hears a call after it has received, not before. By itself that is safe: it receives again.
    HearsLate,
    /// Hears calls when it wakes for other reasons, with their records still in the ring.
    HearsUncalled,
    /// Does not receive again before it sleeps. By itself that is safe: it has heard before.
    SleepsAtOnce,
    /// Both of these, and no timer.
    SleepsDeaf,
    /// Does not look whether the mark that it set was passed meanwhile.
    MarksBlindly,
    /// Publishes as written what it has not received yet.
    PromotesUnread,
    /// Writes without waiting for what was redirected.
    WritesAtOnce,
    /// Shuts the peer down when the stream has ended, without waiting for what was redirected.
    ShutsDownAtOnce,
    /// Takes the end of a stream for clean although no FIN was counted.
    IgnoresFin,
    /// Reads `SIOCOUTQ` before `bytes_acked`.
    OutqFirst,
    /// Counts a byte too few as written before the flow.
    BaseTooLow,
    /// Counts a byte too many as written before the flow.
    BaseTooHigh,
    /// Goes to sleep although the program has passed more than was received.
    NeverPolls,
    /// Leaves without closing the credit.
    LeavesWithCredit,
    /// Leaves without waiting for what was redirected.
    LeavesAtOnce,
    /// Lets the source go although passed bytes were not received.
    RemovesUnread,
    /// Lets the source go without its lock, as a system call does.
    RemovesUnlocked,
    /// Does not say that it has received more since it let the source go.
    ReadsInSilence,
}
