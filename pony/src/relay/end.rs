//! Why a flow ended.

use std::{fmt, io, time::Duration};

/// One of the two peers of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Where we forward to.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Target => "target",
        })
    }
}

/// How a flow ended.
#[derive(Debug)]
pub enum End {
    /// Both directions reached their end of file.
    Finished,
    /// No byte either way for `tcp.idle_timeout`.
    Idle(Duration),
    /// Nothing came from this side for `tcp.read_timeout`.
    ReadTimeout(Side, Duration),
    /// This side took nothing for `tcp.write_timeout`.
    WriteTimeout(Side, Duration),
    /// The client used up its bandwidth, and the action is `drop`.
    OverBandwidth,
    /// We are stopping and the time for flows to end by themselves is over.
    Cut,
    /// Its client was banned.
    Banned,
    /// The kernel cannot prove that it has moved every byte.
    Lost,
    /// The connection to this side broke.
    Broken(Side, io::Error),
}

impl End {
    /// What the close event says under `error`; nothing for an ordinary end.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Finished => None,
            Self::Idle(limit) => Some(format!("idle timeout: no traffic for {limit:?}")),
            Self::ReadTimeout(side, limit) => Some(format!(
                "read timeout: nothing from the {side} for {limit:?}"
            )),
            Self::WriteTimeout(side, limit) => Some(format!(
                "write timeout: the {side} took nothing for {limit:?}"
            )),
            Self::OverBandwidth => Some("bandwidth limit exceeded".to_owned()),
            Self::Cut => Some("cut: PacketPony is stopping".to_owned()),
            Self::Banned => Some("banned by the operator".to_owned()),
            Self::Lost => Some("reset: the kernel lost bytes on their way".to_owned()),
            Self::Broken(side, error) => Some(format!("{side}: {error}")),
        }
    }
}
