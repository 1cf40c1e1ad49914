//! Sessions and datagrams.

use pony_common::reason::Reason::{Acl, AttemptLimit, BandwidthLimit, ConnectionLimit, TotalLimit};

use super::{
    super::scenario::{
        By::{Block, Daemon, Either, Guard},
        Client::{A, B},
        Scenario,
        Step::{Exchange, ExchangeOver, Expire, Forgive, Lose, LoseReply, Open, OpenOver, Refuse},
        UDP,
    },
    DENY_B, EXEMPT_A, EXEMPT_B, ONE_ATTEMPT, ONLY_A,
};

pub(super) const ROWS: &[Scenario] = &[
    // Access.
    Scenario {
        name: "everybody has a session",
        steps: &[
            Open(A),
            Exchange(0, 1400),
            Open(B),
            Exchange(0, 0),
            Exchange(1, 1),
            Open(A),
        ],
        ..UDP
    },
    Scenario {
        name: "datagrams of who is not on the allowlist are denied",
        allow: ONLY_A,
        steps: &[
            Refuse(B, Acl, Guard),
            Open(A),
            Refuse(B, Acl, Guard),
            Exchange(0, 1000),
            Refuse(B, Acl, Guard),
        ],
        ..UDP
    },
    Scenario {
        name: "the denylist wins over exempt for datagrams",
        more: &[DENY_B, EXEMPT_B],
        steps: &[
            Refuse(B, Acl, Guard),
            Refuse(B, Acl, Guard),
            Open(A),
            Refuse(B, Acl, Guard),
        ],
        ..UDP
    },
    // Sessions.
    Scenario {
        name: "sessions over the attempts are refused while one is open",
        limits: ONE_ATTEMPT,
        steps: &[
            Open(A),
            Refuse(A, AttemptLimit, Daemon),
            Open(B),
            Exchange(0, 200),
            Refuse(A, AttemptLimit, Daemon),
        ],
        ..UDP
    },
    Scenario {
        name: "sessions over the attempts are refused when none is open",
        more: &[SHORT_SESSIONS],
        limits: ONE_ATTEMPT,
        steps: &[
            Open(A),
            Expire,
            Refuse(A, AttemptLimit, Either),
            Refuse(A, AttemptLimit, Block),
            Open(B),
            Refuse(A, AttemptLimit, Block),
            Refuse(A, AttemptLimit, Block),
        ],
        ..UDP
    },
    Scenario {
        name: "attempts for sessions are forgiven after a quiet window",
        more: &[SHORT_SESSIONS],
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 4s",
        steps: &[
            Open(A),
            Expire,
            Refuse(A, AttemptLimit, Either),
            Forgive(A),
            Open(A),
        ],
        ..UDP
    },
    Scenario {
        name: "sessions over the attempts are observed",
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 1h, action: log_only",
        steps: &[Open(A), OpenOver(A, AttemptLimit), Open(B), Exchange(1, 50)],
        ..UDP
    },
    Scenario {
        name: "sessions over the total and the number of a client are observed",
        limits: "max_total_connections: 2, max_connections_per_ip: 1, action: log_only",
        steps: &[
            Open(A),
            OpenOver(A, ConnectionLimit),
            OpenOver(B, TotalLimit),
            Exchange(1, 90),
        ],
        ..UDP
    },
    Scenario {
        name: "a client has its number of sessions",
        more: &[SHORT_SESSIONS],
        limits: "max_connections_per_ip: 1",
        steps: &[
            Open(A),
            Refuse(A, ConnectionLimit, Daemon),
            Expire,
            Open(A),
            Open(B),
            Expire,
        ],
        ..UDP
    },
    Scenario {
        name: "the listener has its number of sessions",
        limits: "max_total_connections: 1",
        steps: &[
            Open(A),
            Refuse(B, TotalLimit, Daemon),
            Refuse(A, TotalLimit, Daemon),
            Exchange(0, 700),
        ],
        ..UDP
    },
    Scenario {
        name: "an exempt client has as many sessions as it likes",
        more: &[EXEMPT_A],
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 1h, \
                 max_connections_per_ip: 1, max_bandwidth_per_ip: 20B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Open(A),
            Exchange(0, 1000),
            Open(A),
            Exchange(2, 1000),
        ],
        ..UDP
    },
    // Bandwidth.
    Scenario {
        name: "datagrams over the bandwidth are dropped and the session lives",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Exchange(0, 245),
            // 500 are left.
            Lose(0, 501, Guard),
            LoseReply(0, 300),
            Open(B),
            Lose(0, 201, Guard),
            Exchange(0, 100),
            Exchange(0, 0),
            Lose(0, 1, Guard),
            Exchange(1, 400),
        ],
        ..UDP
    },
    Scenario {
        name: "a session is not opened over the bandwidth",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Exchange(0, 495),
            Refuse(A, BandwidthLimit, Guard),
            Refuse(A, BandwidthLimit, Guard),
            Open(B),
            Refuse(A, BandwidthLimit, Guard),
        ],
        ..UDP
    },
    Scenario {
        name: "datagrams pass again after the window",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 2s",
        steps: &[
            Open(A),
            Exchange(0, 495),
            Lose(0, 10, Guard),
            Forgive(A),
            Exchange(0, 400),
        ],
        ..UDP
    },
    Scenario {
        name: "datagrams over the bandwidth are observed",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h, action: log_only",
        steps: &[
            Open(A),
            Exchange(0, 495),
            ExchangeOver(0, 100),
            Open(B),
            ExchangeOver(0, 500),
        ],
        ..UDP
    },
    Scenario {
        name: "throttled datagrams are dropped by the daemon",
        limits: "max_bandwidth_per_ip: 1000B, bandwidth_window: 1h, action: throttle, \
                 throttle_minimum: 1B",
        steps: &[
            Open(A),
            Exchange(0, 490),
            // One goes over, and its reply has to wait for that.
            LoseReply(0, 100),
            Lose(0, 100, Daemon),
            Open(B),
            Lose(0, 100, Daemon),
        ],
        ..UDP
    },
];

/// Long enough for the steps that need the session.
const SHORT_SESSIONS: &str = "udp: { session_timeout: 1500ms }";
