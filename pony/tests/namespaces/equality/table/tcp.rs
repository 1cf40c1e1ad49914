//! Connections.

use pony_common::reason::Reason::{Acl, AttemptLimit, BandwidthLimit, ConnectionLimit, TotalLimit};

use super::{
    super::scenario::{
        By::{Block, Daemon, Either, Guard},
        Client::{A, B},
        Scenario,
        Step::{Close, Cut, Exchange, ExchangeOver, Forgive, Free, Open, OpenOver, Refuse},
        TCP,
    },
    DENY_B, EXEMPT_A, EXEMPT_B, ONE_ATTEMPT, ONLY_A,
};

pub(super) const ROWS: &[Scenario] = &[
    // Access.
    Scenario {
        name: "everybody is served",
        steps: &[
            Open(A),
            Exchange(0, 1 << 20),
            Open(B),
            Exchange(1, 1 << 18),
            Close(0),
            Close(1),
            Open(A),
            Close(2),
        ],
        ..TCP
    },
    Scenario {
        name: "who is not on the allowlist is denied",
        allow: ONLY_A,
        steps: &[
            Open(A),
            Refuse(B, Acl, Guard),
            Exchange(0, 1000),
            Refuse(B, Acl, Guard),
            Refuse(B, Acl, Guard),
            Open(A),
            Refuse(B, Acl, Guard),
        ],
        ..TCP
    },
    Scenario {
        name: "an empty allowlist denies everybody",
        allow: "",
        steps: &[
            Refuse(A, Acl, Guard),
            Refuse(B, Acl, Guard),
            Refuse(A, Acl, Guard),
            Refuse(B, Acl, Guard),
        ],
        ..TCP
    },
    Scenario {
        name: "the denylist wins",
        more: &[DENY_B],
        steps: &[
            Refuse(B, Acl, Guard),
            Open(A),
            Refuse(B, Acl, Guard),
            Open(A),
            Exchange(0, 5000),
        ],
        ..TCP
    },
    Scenario {
        name: "the denylist wins over exempt",
        more: &[DENY_B, EXEMPT_B],
        limits: ONE_ATTEMPT,
        steps: &[
            Refuse(B, Acl, Guard),
            Refuse(B, Acl, Guard),
            Open(A),
            Refuse(B, Acl, Guard),
        ],
        ..TCP
    },
    // Attempts.
    Scenario {
        name: "attempts over the limit are refused",
        limits: "max_connection_attempts_per_ip: 3, attempts_window: 1h",
        steps: &[
            Open(A),
            Open(A),
            Close(0),
            Open(A),
            Refuse(A, AttemptLimit, Guard),
            Open(B),
            Refuse(A, AttemptLimit, Guard),
            Exchange(1, 3000),
            Refuse(A, AttemptLimit, Guard),
            Open(B),
        ],
        ..TCP
    },
    Scenario {
        name: "attempts over the limit are refused while throttling",
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 1h, action: throttle, \
                 throttle_minimum: 1KB",
        steps: &[
            Open(A),
            Refuse(A, AttemptLimit, Guard),
            Open(B),
            Refuse(A, AttemptLimit, Guard),
        ],
        ..TCP
    },
    Scenario {
        name: "attempts over the limit are observed",
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 1h, action: log_only",
        steps: &[
            Open(A),
            OpenOver(A, AttemptLimit),
            Open(B),
            OpenOver(A, AttemptLimit),
            Exchange(1, 100),
            OpenOver(B, AttemptLimit),
        ],
        ..TCP
    },
    Scenario {
        name: "an attempt is forgiven after a quiet window",
        limits: "max_connection_attempts_per_ip: 2, attempts_window: 2s",
        steps: &[
            Open(A),
            Open(A),
            Refuse(A, AttemptLimit, Guard),
            Forgive(A),
            Open(A),
            Exchange(0, 10),
        ],
        ..TCP
    },
    Scenario {
        name: "an exempt client tries as often as it likes",
        more: &[EXEMPT_A],
        limits: ONE_ATTEMPT,
        steps: &[
            Open(A),
            Open(A),
            Open(B),
            Refuse(B, AttemptLimit, Guard),
            Open(A),
            Refuse(B, AttemptLimit, Guard),
        ],
        ..TCP
    },
    // Open connections.
    Scenario {
        name: "a client has its number of connections",
        limits: "max_connections_per_ip: 2",
        steps: &[
            Open(A),
            Open(A),
            Refuse(A, ConnectionLimit, Either),
            Refuse(A, ConnectionLimit, Block),
            Open(B),
            Refuse(A, ConnectionLimit, Block),
            Exchange(0, 2000),
            Refuse(A, ConnectionLimit, Block),
        ],
        ..TCP
    },
    Scenario {
        name: "a place is free again when one closes",
        limits: "max_connections_per_ip: 1",
        steps: &[
            Open(A),
            Refuse(A, ConnectionLimit, Either),
            Refuse(A, ConnectionLimit, Block),
            Close(0),
            Free(A),
            Open(A),
            Exchange(1, 100),
            Refuse(A, ConnectionLimit, Either),
            Close(1),
            Free(A),
            Open(A),
        ],
        ..TCP
    },
    Scenario {
        name: "connections over the limit are observed",
        limits: "max_connections_per_ip: 1, action: log_only",
        steps: &[
            Open(A),
            OpenOver(A, ConnectionLimit),
            Open(B),
            OpenOver(A, ConnectionLimit),
        ],
        ..TCP
    },
    Scenario {
        name: "throttling gives no more connections",
        limits: "max_connections_per_ip: 1, action: throttle, throttle_minimum: 1KB",
        steps: &[
            Open(A),
            Refuse(A, ConnectionLimit, Either),
            Refuse(A, ConnectionLimit, Block),
            Open(B),
            Close(0),
            Free(A),
            Open(A),
        ],
        ..TCP
    },
    Scenario {
        name: "the listener has its number of connections",
        limits: "max_total_connections: 2",
        steps: &[
            Open(A),
            Open(B),
            Refuse(A, TotalLimit, Daemon),
            Refuse(B, TotalLimit, Daemon),
            Close(0),
            Open(B),
            Refuse(A, TotalLimit, Daemon),
        ],
        ..TCP
    },
    Scenario {
        name: "connections over the total are observed",
        limits: "max_total_connections: 1, action: log_only",
        steps: &[Open(A), OpenOver(B, TotalLimit), OpenOver(A, TotalLimit)],
        ..TCP
    },
    Scenario {
        name: "an exempt client has as many connections as it likes",
        more: &[EXEMPT_A],
        limits: "max_connections_per_ip: 1, max_total_connections: 3",
        steps: &[
            Open(A),
            Open(A),
            Open(B),
            Open(A),
            Refuse(B, TotalLimit, Daemon),
            Open(A),
        ],
        ..TCP
    },
    // Bandwidth.
    Scenario {
        name: "a connection ends at its bandwidth and new ones are refused",
        limits: "max_bandwidth_per_ip: 10000B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Open(B),
            Exchange(0, 4000),
            // 1,990 of 10,000 bytes are left.
            Cut(0, 1500, 490),
            Refuse(A, BandwidthLimit, Either),
            Exchange(1, 1000),
            Refuse(A, BandwidthLimit, Block),
            Open(B),
            Refuse(A, BandwidthLimit, Block),
            Refuse(A, BandwidthLimit, Block),
        ],
        ..TCP
    },
    Scenario {
        name: "a client that was over its bandwidth comes back after the window",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 2s",
        steps: &[
            Open(A),
            Cut(0, 900, 90),
            Refuse(A, BandwidthLimit, Either),
            Forgive(A),
            Open(A),
            Exchange(1, 100),
        ],
        ..TCP
    },
    Scenario {
        name: "a throttled connection loses nothing",
        limits: "max_bandwidth_per_ip: 10KB, bandwidth_window: 100ms, action: throttle, \
                 throttle_minimum: 10KB",
        steps: &[
            Open(A),
            Exchange(0, 20_000),
            Exchange(0, 20_000),
            Open(A),
            Close(0),
        ],
        ..TCP
    },
    Scenario {
        name: "bytes of an exempt connection are not limited",
        more: &[EXEMPT_A],
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Exchange(0, 100_000),
            Open(B),
            Open(A),
            Cut(1, 900, 90),
        ],
        ..TCP
    },
    Scenario {
        name: "bytes over the bandwidth are observed",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h, action: log_only",
        steps: &[
            Open(A),
            Exchange(0, 495),
            ExchangeOver(0, 100),
            Open(B),
            ExchangeOver(0, 50),
        ],
        ..TCP
    },
];
