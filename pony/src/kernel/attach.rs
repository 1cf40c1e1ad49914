//! Attaching the guard to one interface: in its driver if that can be, else in the stack.

use std::fmt;

use aya::programs::{ProgramError, Xdp, XdpError, XdpMode};

use super::{
    error::{StartError, errno, explain},
    interfaces::Interface,
};

/// Where on an interface the guard runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// In the driver, before the kernel has made a packet of it.
    Native,
    /// In the stack, on any interface, at more cost.
    Generic,
}

impl Mode {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An interface that the guard is attached to.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) interface: String,
    pub(super) mode: Mode,
    /// Why it is not native.
    pub(super) not_native: Option<String>,
}

/// Attaches the program; the program holds the link.
pub(super) fn attach(program: &mut Xdp, interface: &Interface) -> Result<Attached, StartError> {
    let attached = |mode, not_native| Attached {
        interface: interface.name.clone(),
        mode,
        not_native,
    };
    let native = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
        Ok(_link) => return Ok(attached(Mode::Native, None)),
        Err(error) => Failure::new(&error),
    };
    // Another program is in the way of ours in either mode.
    if native.is_occupied() {
        return Err(native.into_error(interface));
    }
    match program.attach_to_if_index(interface.index, XdpMode::Skb) {
        Ok(_link) => Ok(attached(Mode::Generic, Some(native.reason(interface)))),
        Err(error) => Err(Failure::new(&error).into_error(interface)),
    }
}

/// What the kernel answered.
struct Failure {
    errno: Option<i32>,
    text: String,
}

impl Failure {
    fn new(error: &ProgramError) -> Self {
        let errno = match error {
            ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
            error => errno(error),
        };
        Self {
            errno,
            text: explain(error),
        }
    }

    fn is_occupied(&self) -> bool {
        matches!(self.errno, Some(libc::EBUSY | libc::EEXIST))
    }

    fn into_error(self, interface: &Interface) -> StartError {
        let reason = self.reason(interface);
        StartError::Attach {
            interface: interface.name.clone(),
            reason,
        }
    }

    /// The answer in words, with what to do where there is a usual cause.
    fn reason(&self, interface: &Interface) -> String {
        let (name, text) = (&interface.name, &self.text);
        match self.errno {
            Some(libc::EBUSY | libc::EEXIST) => format!(
                "another XDP program is there; `bpftool net show dev {name}` names it, and \
                 stopping its owner or `ip link set dev {name} xdp off` removes it ({text})"
            ),
            Some(libc::EOPNOTSUPP) => format!("its driver cannot run XDP programs ({text})"),
            Some(libc::EINVAL | libc::ERANGE | libc::E2BIG) => format!(
                "the driver refused the program; usual causes are a large MTU, LRO \
                 (`ethtool -K {name} lro off`) and too few queues ({text})"
            ),
            Some(libc::ENODEV | libc::ENXIO) => format!("the interface is gone ({text})"),
            Some(libc::EPERM | libc::EACCES) => format!("CAP_NET_ADMIN is missing ({text})"),
            _ => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
