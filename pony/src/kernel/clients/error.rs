//! Why the ledger cannot be shown, and what to do about it.

use std::error::Error;

use crate::kernel::{
    error::{errno, explain},
    pins::PinsError,
};

/// Why the clients cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error(
        "no pony with a kernel guard runs here, or it could not pin its maps: start one with \
         `pony run`, and see in its log what it says of the kernel guard"
    )]
    NoInstance,
    #[error("there are several instances: {names}; choose one with --instance")]
    Several { names: String },
    #[error("there is no {what} {wanted:?}; there is {names}")]
    Unknown {
        what: &'static str,
        wanted: String,
        names: String,
    },
    #[error(
        "instance {instance:?} is a pony of another version, whose maps this one ({}) cannot \
         read: run `clients` of the pony that runs there",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion { instance: String },
    #[error("not permitted to look at pinned maps: run `pony clients` as root")]
    NotPermitted { source: Source },
    #[error("cannot read the pinned map {map}: {}", explain(source.as_ref()))]
    Unreadable { map: &'static str, source: Source },
    #[error("cannot look for pinned maps: {}", explain(source.as_ref()))]
    NotFound { source: Source },
}

type Source = Box<dyn Error + Send + Sync>;

impl ClientsError {
    pub(super) fn several(first: &str, others: &[String]) -> Self {
        let names = others
            .iter()
            .fold(first.to_owned(), |names, name| names + ", " + name);
        Self::Several { names }
    }

    pub(super) fn unknown(what: &'static str, wanted: &str, names: &[String]) -> Self {
        Self::Unknown {
            what,
            wanted: wanted.to_owned(),
            names: if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        }
    }

    pub(super) fn from_pins(source: PinsError) -> Self {
        Self::permission(source.into()).unwrap_or_else(|source| Self::NotFound { source })
    }

    /// A map that is there and cannot be read, or is not there.
    pub(super) fn map(map: &'static str, source: Source) -> Self {
        Self::permission(source).unwrap_or_else(|source| Self::Unreadable { map, source })
    }

    fn permission(source: Source) -> Result<Self, Source> {
        match errno(source.as_ref()) {
            Some(libc::EPERM | libc::EACCES) => Ok(Self::NotPermitted { source }),
            _ => Err(source),
        }
    }
}
