//! Bans by hand, of connections and of sessions.

use pony_common::reason::Reason::{Acl, AttemptLimit, BandwidthLimit, Banned, ConnectionLimit};

use super::{
    super::scenario::{
        By::{Block, Either, Guard},
        Client::{A, B},
        Scenario,
        Step::{Ban, Exchange, Open, OpenOver, Outlast, Refuse, Shun, Unban},
        TCP, UDP,
    },
    DENY_B, EXEMPT_A, ONE_ATTEMPT,
};

pub(super) const ROWS: &[Scenario] = &[
    Scenario {
        name: "a banned client loses its connections and gets no new ones",
        steps: &[
            Open(A),
            Open(A),
            Open(B),
            Ban(A, "1h", &[0, 1]),
            Refuse(A, Banned, Block),
            Exchange(2, 1000),
            Refuse(A, Banned, Block),
            Open(B),
            Exchange(3, 100),
            Refuse(A, Banned, Block),
        ],
        ..TCP
    },
    Scenario {
        name: "a client whose ban is lifted is served again",
        steps: &[
            Open(A),
            Ban(A, "forever", &[0]),
            Refuse(A, Banned, Block),
            Unban(A),
            Open(A),
            Ban(A, "1h", &[1]),
            Refuse(A, Banned, Block),
            Unban(A),
            Open(A),
            Exchange(2, 500),
        ],
        ..TCP
    },
    Scenario {
        name: "a client whose ban has ended is served again",
        steps: &[
            Open(A),
            Ban(A, "8s", &[0]),
            Refuse(A, Banned, Block),
            Outlast(A),
            Open(A),
            Exchange(1, 500),
        ],
        ..TCP
    },
    Scenario {
        name: "bans do not concern who is exempt",
        more: &[EXEMPT_A],
        steps: &[
            Open(A),
            Ban(A, "1h", &[]),
            Exchange(0, 100),
            Ban(B, "1h", &[]),
            Refuse(B, Banned, Block),
            Open(A),
            Exchange(1, 100),
        ],
        ..TCP
    },
    Scenario {
        name: "a ban comes before the access lists",
        more: &[DENY_B],
        steps: &[
            Refuse(B, Acl, Guard),
            Ban(B, "1h", &[]),
            Refuse(B, Banned, Block),
            Refuse(B, Banned, Block),
            Unban(B),
            Refuse(B, Acl, Guard),
        ],
        ..TCP
    },
    Scenario {
        name: "a ban comes before the limits and uses none of them",
        limits: "max_connections_per_ip: 1, max_connection_attempts_per_ip: 3, attempts_window: 1h",
        steps: &[
            Open(A),
            Refuse(A, ConnectionLimit, Either),
            Ban(A, "1h", &[0]),
            Refuse(A, Banned, Block),
            Refuse(A, Banned, Block),
            Unban(A),
            Open(A),
            Refuse(A, AttemptLimit, Either),
        ],
        ..TCP
    },
    Scenario {
        name: "observing limits does not observe bans",
        limits: "max_connection_attempts_per_ip: 1, attempts_window: 1h, action: log_only",
        steps: &[
            Open(A),
            Ban(A, "1h", &[0]),
            Refuse(A, Banned, Block),
            Unban(A),
            OpenOver(A, AttemptLimit),
        ],
        ..TCP
    },
    Scenario {
        name: "a banned client loses its sessions and its datagrams",
        steps: &[
            Open(A),
            Open(A),
            Open(B),
            Ban(A, "1h", &[0, 1]),
            Shun(0, Banned, Block),
            Exchange(2, 700),
            Shun(1, Banned, Block),
            Refuse(A, Banned, Block),
            Open(B),
        ],
        ..UDP
    },
    Scenario {
        name: "a client whose ban is lifted has sessions again",
        limits: ONE_ATTEMPT,
        steps: &[
            Ban(A, "1h", &[]),
            Refuse(A, Banned, Block),
            Refuse(A, Banned, Block),
            Unban(A),
            Open(A),
            Ban(A, "1h", &[0]),
            Shun(0, Banned, Block),
        ],
        ..UDP
    },
    Scenario {
        name: "a client whose ban has ended has sessions again",
        steps: &[
            Open(A),
            Ban(A, "8s", &[0]),
            Refuse(A, Banned, Block),
            Outlast(A),
            Open(A),
            Exchange(1, 500),
        ],
        ..UDP
    },
    Scenario {
        name: "bans do not concern datagrams of who is exempt",
        more: &[EXEMPT_A],
        steps: &[
            Open(A),
            Open(B),
            Ban(A, "1h", &[]),
            Ban(B, "1h", &[1]),
            Shun(1, Banned, Block),
            Exchange(0, 100),
            Open(A),
        ],
        ..UDP
    },
    Scenario {
        name: "a ban comes before the bandwidth",
        limits: "max_bandwidth_per_ip: 100B, bandwidth_window: 1h",
        steps: &[
            Open(A),
            Exchange(0, 45),
            Refuse(A, BandwidthLimit, Guard),
            Ban(A, "1h", &[0]),
            Refuse(A, Banned, Block),
            Unban(A),
            Refuse(A, BandwidthLimit, Guard),
        ],
        ..UDP
    },
];
