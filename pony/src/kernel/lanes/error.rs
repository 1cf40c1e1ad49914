//! Why there is no lane in the kernel, or none for a flow, in words that say what to do.

use std::{error::Error, io};

use crate::kernel::error::{StartError, explain};

/// Why the kernel cannot be had to move bytes.
///
/// The daemon moves them itself then.
#[derive(Debug, thiserror::Error)]
pub enum LanesError {
    #[error(
        "this pony was built without the kernel programs; run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    #[error(
        "not permitted to use BPF; run pony as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted {
        source: Box<dyn Error + Send + Sync>,
    },
    #[error(
        "{path} cannot be read, which tells where the kernel keeps what; a kernel with CONFIG_DEBUG_INFO_BTF is needed"
    )]
    NoTypes {
        path: &'static str,
        source: io::Error,
    },
    #[error("{path} does not say where tcp_sock.{field} is; this kernel is not known to pony")]
    NoField {
        path: &'static str,
        field: &'static str,
    },
    #[error(
        "it cannot be tested, as 127.0.0.1 cannot be reached from here; is the interface lo up, and does the firewall let it be?"
    )]
    NoLoopback { source: io::Error },
    #[error(
        "Linux {release} cannot let a flow leave the lane without losing bytes; 6.5 or newer can"
    )]
    OldKernel { release: String },
    #[error("this kernel does not move bytes as it should: {case}")]
    SelfTest {
        case: &'static str,
        source: io::Error,
    },
    #[error(
        "the kernel refused {what}; Linux 6.5 or newer with BPF and CONFIG_BPF_STREAM_PARSER, and memory for all flows, are needed"
    )]
    Refused {
        what: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl LanesError {
    /// Why, in a word.
    pub const fn obstacle(&self) -> &'static str {
        match self {
            Self::NoObject => "not_built",
            Self::NotPermitted { .. } => "not_permitted",
            Self::NoTypes { .. } | Self::NoField { .. } => "no_types",
            Self::OldKernel { .. } => "old_kernel",
            Self::Refused { .. } => "refused",
            Self::NoLoopback { .. } => "no_loopback",
            Self::SelfTest { .. } => "self_test",
        }
    }

    /// Whether a machine that is less busy may have the lane: nothing went wrong, but it took too
    /// long.
    pub fn is_for_lack_of_time(&self) -> bool {
        matches!(self, Self::SelfTest { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }

    /// The error with all that led to it, in one line.
    pub fn explain(&self) -> String {
        explain(self)
    }
}

impl From<StartError> for LanesError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NotPermitted { source } => Self::NotPermitted { source },
            StartError::Refused { what, source } => Self::Refused { what, source },
            StartError::NoObject => Self::NoObject,
            other => Self::Refused {
                what: "the program that moves bytes",
                source: other.into(),
            },
        }
    }
}

/// Why a flow is not in the lane. Nothing has happened to it.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("as many flows are in the lane as there is room for")]
    Full,
    #[error("a socket is not for plain TCP")]
    NotTcp,
    #[error("a connection is not open in both directions")]
    NotOpen,
    #[error("the connection moves faster than it can be looked at")]
    Restless,
    #[error("the kernel refused {what}")]
    Refused {
        what: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("a socket cannot be asked about its connection")]
    Socket {
        #[from]
        source: io::Error,
    },
}
