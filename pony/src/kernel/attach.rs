//! Attaching the guard to one interface: in its driver if that can be, else in the stack.
//!
//! Decides nothing about which interfaces, and says nothing: what the kernel answered is returned
//! in words.

use std::fmt;

use aya::{
    Ebpf,
    programs::{ProgramError, Xdp, XdpError, XdpMode, tc::TcError, xdp::XdpLink},
};

use super::{
    egress::{self, Egress},
    error::{StartError, errno, explain},
    interfaces::Interface,
    object,
};
use crate::config::AttachMode;

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

    const fn flag(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The programs on one interface. Dropping it detaches them.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) mode: Mode,
    /// Why it is not native, if that was tried.
    pub(super) not_native: Option<String>,
    /// Why what leaves through the interface is not counted, if it is not.
    pub(super) no_egress: Option<String>,
    _xdp: XdpLink,
    _egress: Option<Egress>,
}

/// Attaches `xdp_guard`, and `tc_egress` beside it. Without the latter the guard works, and knows
/// less.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    interface: &Interface,
    wish: AttachMode,
) -> Result<Attached, StartError> {
    let (mode, xdp, not_native) = attach_guard(object::xdp_guard(ebpf)?, interface, wish)
        .map_err(|failure| failure.into_error(interface))?;
    let (egress, no_egress) = match egress::attach(object::tc_egress(ebpf)?, interface) {
        Ok(egress) => (Some(egress), None),
        Err(failure) => (None, Some(failure.reason(interface))),
    };
    Ok(Attached {
        mode,
        not_native,
        no_egress,
        _xdp: xdp,
        _egress: egress,
    })
}

fn attach_guard(
    program: &mut Xdp,
    interface: &Interface,
    wish: AttachMode,
) -> Result<(Mode, XdpLink, Option<String>), Failure> {
    let not_native = match wish {
        AttachMode::Generic => None,
        AttachMode::Auto | AttachMode::Native => {
            match attach_in(program, interface, Mode::Native) {
                Ok(link) => return Ok((Mode::Native, link, None)),
                // Another program is in the way of ours in either mode.
                Err(failure) if wish == AttachMode::Native || failure.is_occupied() => {
                    return Err(failure);
                }
                Err(failure) => Some(failure.reason(interface)),
            }
        }
    };
    let link = attach_in(program, interface, Mode::Generic)?;
    Ok((Mode::Generic, link, not_native))
}

fn attach_in(program: &mut Xdp, interface: &Interface, mode: Mode) -> Result<XdpLink, Failure> {
    let id = program.attach_to_if_index(interface.index, mode.flag())?;
    Ok(program.take_link(id)?)
}

/// What the kernel answered.
#[derive(Debug)]
pub(super) struct Failure {
    errno: Option<i32>,
    text: String,
}

impl From<ProgramError> for Failure {
    fn from(error: ProgramError) -> Self {
        let netlink = match &error {
            ProgramError::XdpError(XdpError::NetlinkError(error))
            | ProgramError::TcError(TcError::NetlinkError(error)) => error.raw_os_error(),
            _ => None,
        };
        Self {
            errno: netlink.or_else(|| errno(&error)),
            text: explain(&error),
        }
    }
}

impl Failure {
    #[cfg(test)]
    pub(super) fn for_test(errno: i32) -> Self {
        Self {
            errno: Some(errno),
            text: "what the kernel said".to_owned(),
        }
    }

    pub(super) const fn errno(&self) -> Option<i32> {
        self.errno
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
            Some(libc::EOPNOTSUPP) => format!(
                "its driver cannot run XDP programs, or not as it is set up; if the driver is known \
                 to, try `ethtool -K {name} lro off` and a smaller MTU ({text})"
            ),
            Some(libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::ENOSPC) => format!(
                "the driver refused the program; usual causes are a large MTU (`ip link set dev \
                 {name} mtu 1500`), LRO (`ethtool -K {name} lro off`) and too few queues \
                 (`ethtool -L {name}`) ({text})"
            ),
            Some(libc::ENODEV | libc::ENXIO) => format!("the interface is gone ({text})"),
            Some(libc::EPERM | libc::EACCES) => {
                format!("CAP_NET_ADMIN is missing; run pony as root, or give it ({text})")
            }
            _ => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
