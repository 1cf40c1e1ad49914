//! The names by which the daemon finds programs and maps in the kernel objects.
//!
//! The kernel keeps 15 bytes of a name, so every name here fits and `bpftool` prints it whole.

/// The program at the network interface.
pub const XDP_GUARD: &str = "xdp_guard";
/// The program that sees what leaves through the network interface.
pub const TC_EGRESS: &str = "tc_egress";

/// The program that moves bytes from socket to socket.
pub const SK_VERDICT: &str = "sk_verdict";
/// The program that takes sockets out of [`SOCKETS`].
pub const TCP_LEAVE: &str = "tcp_leave";

/// The program that says which socket gets a new connection or a datagram.
pub const SK_PORTS: &str = "sk_ports";

/// Which listener a packet is for.
pub const LISTENERS: &str = "LISTENERS";
/// Which prefixes belong to listeners that have many addresses.
pub const NETS: &str = "NETS";
/// The same by port, as far as that is enough.
pub const PORTS: &str = "PORTS";
/// The addresses of this machine.
pub const LOCALS: &str = "LOCALS";
/// The rules of all listeners, replaced whole.
pub const POLICY: &str = "POLICY";
/// What the one element of [`POLICY`] is: the rows of an image.
pub const POLICY_ROWS: &str = "POLICY_ROWS";
/// Clients that the daemon wants refused.
pub const BLOCKS: &str = "BLOCKS";
/// Where in [`LEDGER`] a client is.
pub const LEDGER_SETS: &str = "LEDGER_SETS";
/// What each client has used of each listener.
pub const LEDGER: &str = "LEDGER";
/// Which connection attempts were seen lately.
pub const SYNS: &str = "SYNS";
/// What was reported lately, so that not every packet makes an event.
pub const REPORTS: &str = "REPORTS";
/// How much each CPU has reported lately.
pub const BUDGET: &str = "BUDGET";
/// What the guard tells the daemon about single clients.
pub const EVENTS: &str = "EVENTS";
/// What the daemon tells all programs.
pub const SETTINGS: &str = "SETTINGS";
/// What the listeners are called. No program reads it.
pub const NAMES: &str = "NAMES";
/// What was done with the packets of each listener.
pub const STATS: &str = "STATS";
/// Why packets were let through unjudged.
pub const READS: &str = "READS";

/// Which addresses and ports belong to listeners that have many.
pub const SPANS: &str = "SPANS";
/// Which of them belong to other listeners.
pub const HOLES: &str = "HOLES";
/// The sockets of the listeners that have many.
pub const LISTENING: &str = "LISTENING";
/// The global that says how many [`SPANS`] there are.
pub const SPAN_COUNT: &str = "SPAN_COUNT";

/// The sockets between which bytes are moved.
pub const SOCKETS: &str = "SOCKETS";
/// Which direction the bytes of a socket belong to.
pub const COOKIES: &str = "COOKIES";
/// What was done with the bytes of each direction.
pub const MOVED: &str = "MOVED";
/// What the daemon wants of each direction.
pub const ORDERS: &str = "ORDERS";
/// Where the next piece of each direction begins.
pub const NEXT: &str = "NEXT";
/// Which directions are to leave [`SOCKETS`], and when.
pub const LEAVE_AT: &str = "LEAVE_AT";
/// The directions that the daemon has to look at.
pub const CALLS: &str = "CALLS";
/// What should not have happened to pieces of streams.
pub const SLIPPED: &str = "SLIPPED";
/// The global that says where a socket counts what its peer has acknowledged.
pub const ACKED_OFFSET: &str = "ACKED_OFFSET";
/// The global that says where a socket counts what was read from it.
pub const COPIED_OFFSET: &str = "COPIED_OFFSET";

/// The global that says how many sets [`LEDGER_SETS`] has.
pub const SETS: &str = "SETS";
/// The global with the key of the ledger's hash and of the reports'. Secret.
pub const HASH_KEY: &str = "HASH_KEY";
/// The global with the key of the hash of connection attempts. Secret.
pub const ATTEMPTS_KEY: &str = "ATTEMPTS_KEY";

/// The longest name that the kernel stores without cutting it, in bytes.
pub const MAX_NAME_LEN: usize = 15;

const PROGRAMS: [&str; 5] = [XDP_GUARD, TC_EGRESS, SK_VERDICT, TCP_LEAVE, SK_PORTS];

const MAPS: [&str; 26] = [
    LISTENERS,
    NETS,
    LOCALS,
    PORTS,
    POLICY,
    BLOCKS,
    LEDGER_SETS,
    LEDGER,
    SYNS,
    REPORTS,
    BUDGET,
    EVENTS,
    SETTINGS,
    STATS,
    READS,
    SPANS,
    HOLES,
    LISTENING,
    SOCKETS,
    COOKIES,
    MOVED,
    ORDERS,
    NEXT,
    LEAVE_AT,
    CALLS,
    SLIPPED,
];

/// What the daemon makes by itself.
const OTHERS: [&str; 2] = [POLICY_ROWS, NAMES];

const _: () = {
    assert!(fit(&PROGRAMS) && fit(&MAPS) && fit(&OTHERS));
};

const fn fit(names: &[&str]) -> bool {
    let mut at = 0;
    while at < names.len() {
        if names[at].len() > MAX_NAME_LEN {
            return false;
        }
        at += 1;
    }
    true
}
