//! The names by which the daemon finds programs and maps in the kernel object.
//!
//! The kernel keeps 15 bytes of a name, so every name here fits and `bpftool` prints it whole.

/// The program at the network interface.
pub const XDP_GUARD: &str = "xdp_guard";

/// Which listener a packet is for.
pub const LISTENERS: &str = "LISTENERS";
/// What each client has sent to each listener.
pub const LEDGER: &str = "LEDGER";
/// What each listener was sent.
pub const STATS: &str = "STATS";
/// Why packets were let through unjudged.
pub const READS: &str = "READS";

/// The longest name that the kernel stores without cutting it, in bytes.
pub const MAX_NAME_LEN: usize = 15;

const _: () = {
    let names = [XDP_GUARD, LISTENERS, LEDGER, STATS, READS];
    let mut at = 0;
    while at < names.len() {
        assert!(names[at].len() <= MAX_NAME_LEN);
        at += 1;
    }
};
