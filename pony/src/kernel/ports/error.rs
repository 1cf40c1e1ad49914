//! Why a listener cannot have many addresses and ports, in words that say what to do.

use std::{error::Error, io};

use crate::kernel::error::{StartError, explain};

/// Why `sk_ports` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    #[error(
        "this pony was built without the kernel programs; run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    #[error(
        "pony is not permitted to use BPF, which such a listener needs; run it as root, or give it CAP_BPF and CAP_NET_ADMIN"
    )]
    NotPermitted {
        source: Box<dyn Error + Send + Sync>,
    },
    #[error(
        "the kernel refused {what}, which such a listener needs; Linux 5.9 or newer with BPF is needed"
    )]
    Refused {
        what: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("{path} cannot be opened, which is where the program is attached; is /proc mounted?")]
    Namespace {
        path: &'static str,
        source: io::Error,
    },
}

impl PortsError {
    /// The error with the key that it is about and all that led to it, in one line.
    pub fn explain(&self) -> String {
        let error = explain(self);
        format!("listen_address is more than one address and port, but {error}")
    }
}

impl From<StartError> for PortsError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NotPermitted { source } => Self::NotPermitted { source },
            StartError::Refused { what, source } => Self::Refused { what, source },
            other => Self::Refused {
                what: "sk_ports",
                source: other.into(),
            },
        }
    }
}
