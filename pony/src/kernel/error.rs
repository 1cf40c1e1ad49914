//! Why the guard could not start, in words that say what to do.

use std::{error::Error, fmt::Write as _};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::policy::PolicyError;

/// Why the guard, or a part of it, could not start.
///
/// None of these concerns the proxy itself: without a guard it does all the work alone.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "this pony was built without the kernel programs; run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    #[error(
        "not permitted to use BPF; run pony as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted { source: Source },
    #[error("the kernel refused {what}; {}", remedy(.source.as_ref()))]
    Refused { what: &'static str, source: Source },
    #[error("the system has no random numbers")]
    Random { source: std::io::Error },
    #[error("the kernel has no policy to judge by")]
    Policy {
        #[from]
        source: PolicyError,
    },
    #[error("the network interfaces cannot be listed")]
    Interfaces { source: std::io::Error },
    #[error(
        "there is no interface to attach to: none but loopback is up, or guard.interfaces is empty"
    )]
    NoInterface,
    #[error("guard.interfaces: there is no interface {name}; there are {present}")]
    UnknownInterface { name: String, present: String },
    #[error(
        "guard.interfaces: {name} does not carry Ethernet frames, which the guard reads; name the interface below it"
    )]
    NotEthernet { name: String },
    #[error("{interface}: the guard cannot be attached: {reason}")]
    Attach { interface: String, reason: String },
    #[error("{interface}: what leaves through it cannot be counted: {reason}")]
    Egress { interface: String, reason: String },
}

type Source = Box<dyn Error + Send + Sync>;

impl StartError {
    /// From making the maps, which is where missing privileges show first.
    pub(super) fn from_load(source: EbpfError) -> Self {
        Self::refused("the guard's maps", source.into())
    }

    pub(super) fn map(name: &'static str, source: MapError) -> Self {
        Self::refused(name, source.into())
    }

    /// From the verifier, whose log is long and ends with the reason.
    pub(super) fn from_verifier(what: &'static str, source: ProgramError) -> Self {
        let ProgramError::LoadError {
            io_error,
            verifier_log,
        } = source
        else {
            return Self::refused(what, source.into());
        };
        let log = verifier_log.to_string();
        if is_unprivileged(&io_error, &log) {
            return Self::NotPermitted {
                source: io_error.into(),
            };
        }
        let source = Verifier {
            io_error,
            log_end: end_of(&log),
        };
        Self::Refused {
            what,
            source: source.into(),
        }
    }

    /// From a system call that has to do with `what`.
    pub(super) fn refused(what: &'static str, source: Source) -> Self {
        if is_permission(errno(source.as_ref())) {
            Self::NotPermitted { source }
        } else {
            Self::Refused { what, source }
        }
    }
}

/// What the verifier said.
#[derive(Debug, thiserror::Error)]
#[error("{io_error}; the verifier's last words: {log_end}")]
struct Verifier {
    io_error: std::io::Error,
    log_end: String,
}

/// An error with all that led to it, in one line.
pub(super) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some errors already end with the text of their source.
        if !text.ends_with(&part) {
            write!(text, ": {part}").expect("writing to a string cannot fail");
        }
        cause = error.source();
    }
    text
}

/// The error number of the system call that an error comes from.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

/// What to do about what the kernel refused.
fn remedy(refusal: &(dyn Error + 'static)) -> &'static str {
    match errno(refusal) {
        Some(libc::EMFILE | libc::ENFILE) => {
            "allow pony more open files (LimitNOFILE=, `ulimit -n`)"
        }
        Some(libc::ENOMEM) => "lower guard.max_clients, or allow pony more memory (MemoryMax=)",
        _ => "Linux 5.18 or newer with BPF is needed",
    }
}

fn is_permission(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::EPERM | libc::EACCES))
}

/// Whether the verifier refused the loader and not the program. Without `CAP_PERFMON` it allows
/// less arithmetic with pointers, and says so; `EACCES` alone can be a fault of the program.
fn is_unprivileged(error: &std::io::Error, log: &str) -> bool {
    match error.raw_os_error() {
        Some(libc::EPERM) => true,
        Some(libc::EACCES) => log.trim().is_empty() || log.contains("prohibited for !root"),
        _ => false,
    }
}

/// The last lines of the verifier's log, without its statistics.
fn end_of(log: &str) -> String {
    let is_statistics = |line: &str| {
        let starts = ["processed ", "verification ", "stack depth "];
        starts.iter().any(|start| line.starts_with(start))
    };
    let lines = log.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !is_statistics(line))
        .collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use pony_common::names;

    use super::*;

    #[test]
    fn explains_an_error_with_its_causes_once_each() {
        let source = io::Error::from_raw_os_error(libc::EPERM);
        let text = explain(&StartError::NotPermitted {
            source: source.into(),
        });
        assert!(text.contains("run pony as root"), "{text}");
        assert!(text.contains("Operation not permitted"), "{text}");
        assert_eq!(text.matches("Operation not permitted").count(), 1, "{text}");
    }

    #[test]
    fn a_missing_privilege_is_told_from_a_refusal() {
        let create = |errno| {
            StartError::map(
                names::LEDGER,
                MapError::CreateError {
                    name: names::LEDGER.to_owned(),
                    io_error: io::Error::from_raw_os_error(errno),
                },
            )
        };
        assert!(matches!(
            create(libc::EPERM),
            StartError::NotPermitted { .. }
        ));
        for (errno, remedy) in [
            (libc::EINVAL, "Linux 5.18"),
            (libc::ENOMEM, "guard.max_clients"),
            (libc::EMFILE, "LimitNOFILE"),
        ] {
            let text = create(errno).to_string();
            assert!(text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn a_verifier_that_wants_more_privileges_is_told_from_one_that_wants_another_program() {
        let error = io::Error::from_raw_os_error;
        let perfmon = "R5 has pointer with unsupported alu operation, prohibited for !root";
        assert!(is_unprivileged(&error(libc::EPERM), ""));
        assert!(is_unprivileged(&error(libc::EACCES), perfmon));
        assert!(!is_unprivileged(&error(libc::EACCES), "invalid mem access"));
        assert!(!is_unprivileged(&error(libc::EINVAL), ""));
    }

    #[test]
    fn keeps_the_end_of_a_verifier_log() {
        let log = "0: (b7) r0 = 1\n1: r1 = 2\nR1 invalid mem access\nhint\nprocessed 2 insns\n";
        assert_eq!(end_of(log), "1: r1 = 2 | R1 invalid mem access | hint");
    }
}
