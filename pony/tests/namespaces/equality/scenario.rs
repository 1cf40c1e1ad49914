//! The words in which the table says what clients do and what becomes of it.

use pony_common::reason::Reason;

use crate::harness::Entry;

/// A listener of its own, and what happens there, step by step.
///
/// The steps say everything that is expected: what clients get, what is counted, and who refused.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    /// A sentence.
    pub(super) name: &'static str,
    pub(super) protocol: Protocol,
    /// The allowlist.
    pub(super) allow: &'static str,
    /// More keys of the listener, in YAML's flow style.
    pub(super) more: &'static [&'static str],
    /// The keys of `rate_limits`.
    pub(super) limits: &'static str,
    pub(super) steps: &'static [Step],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// One of two clients. Over IPv6 they are in different /64s.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    A,
    B,
}

/// What happens next. Connections and sessions have numbers in the order in which they opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A connection or session is opened, and [`GREETING`] comes back.
    Open(Client),
    /// The same, over a limit that is only observed.
    OpenOver(Client, Reason),
    /// This many bytes go through number so-and-so and come back.
    Exchange(usize, usize),
    /// A datagram or segment of so many bytes goes through and comes back, both over a bandwidth
    /// limit that is only observed.
    ExchangeOver(usize, usize),
    /// A connection attempt, or a datagram of [`GREETING`] from a new port, is refused.
    Refuse(Client, Reason, By),
    /// A datagram of so many bytes in an open session goes over the bandwidth limit.
    Lose(usize, usize, By),
    /// One gets through, but its reply goes over the limit.
    LoseReply(usize, usize),
    /// So many bytes are sent, so many come back, and then the connection is over its bandwidth
    /// limit and closed.
    Cut(usize, usize, usize),
    /// The client closes connection number so-and-so.
    Close(usize),
    /// Waits until all sessions have expired.
    Expire,
    /// Waits until the client, after its connection has closed, is blocked no more.
    Free(Client),
    /// Waits until the client, which alone was held back, is forgiven by its window.
    Forgive(Client),
    /// An operator bans the client for so long, and these connections or sessions end.
    Ban(Client, &'static str, &'static [usize]),
    /// A datagram of [`GREETING`] in what was a session is refused.
    Shun(usize, Reason, By),
    /// An operator lifts the ban.
    Unban(Client),
    /// Waits until the ban has ended by itself.
    Outlast(Client),
}

/// Who refuses while the guard is attached. When it is not, the daemon does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    /// The guard, from what it has counted itself.
    Guard,
    /// The guard, because the daemon has told it to: the step waits until it has.
    Block,
    /// The daemon.
    Daemon,
    /// The daemon, or the guard as soon as it is told.
    Either,
}

/// What a client says first.
pub(super) const GREETING: &[u8] = b"hello";

/// A TCP listener without limits, open to everybody.
pub(super) const TCP: Scenario = Scenario {
    name: "",
    protocol: Protocol::Tcp,
    allow: "0.0.0.0/0, \"::/0\"",
    more: &[],
    limits: "",
    steps: &[],
};

/// A UDP listener without limits, open to everybody.
pub(super) const UDP: Scenario = Scenario {
    protocol: Protocol::Udp,
    ..TCP
};

impl Scenario {
    /// Its listener.
    pub(super) fn entry(&self, name: &str, ports: &str, target: &str) -> Entry {
        let entry = match self.protocol {
            Protocol::Tcp => Entry::tcp(target),
            Protocol::Udp => Entry::udp(target),
        };
        let entry = entry
            .name(name)
            .listen(format_args!("[::]:{ports}"))
            .allow(self.allow)
            .limits(self.limits);
        self.more.iter().fold(entry, |entry, key| entry.with(key))
    }
}
