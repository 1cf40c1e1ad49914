//! Attaching `tc_egress` to what leaves through one interface.
//!
//! By tcx, whose links the kernel clears away when the process dies. Kernels before 6.6 do not
//! have it; there the program is a filter of the `clsact` qdisc, which outlives a crash: the next
//! start replaces the filter that it finds. A qdisc that we made is taken away when nothing else
//! uses it.

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError},
};
use pony_common::names;

use super::{attach::Failure, interfaces::Interface, netlink};

/// `tc_egress` on one interface. Dropping it detaches the program.
#[derive(Debug)]
pub(super) struct Egress {
    // The order matters: the filter goes before the qdisc that it is in.
    _link: SchedClassifierLink,
    _qdisc: Option<OwnQdisc>,
}

/// Attaches the program.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: &Interface,
) -> Result<Egress, Failure> {
    match attach_tcx(program, interface) {
        Err(failure) if is_unknown(&failure) => attach_clsact(program, interface),
        result => result,
    }
}

/// First of all programs there: one that ends the chain would hide packets from those after it.
/// Ours lets every packet go on to them.
fn attach_tcx(program: &mut SchedClassifier, interface: &Interface) -> Result<Egress, Failure> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = attach_with(program, interface, options)?;
    Ok(Egress {
        _link: link,
        _qdisc: None,
    })
}

fn attach_clsact(program: &mut SchedClassifier, interface: &Interface) -> Result<Egress, Failure> {
    let made = match tc::qdisc_add_clsact(&interface.name) {
        Ok(()) => true,
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => false,
        Err(error) => return Err(ProgramError::from(error).into()),
    };
    // Only a daemon that was killed leaves one: no other can be here while its XDP program is.
    let stale = !made && detach_stale(interface);
    let qdisc = (made || stale).then(|| OwnQdisc(interface.index));
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let link = attach_with(program, interface, options)?;
    Ok(Egress {
        _link: link,
        _qdisc: qdisc,
    })
}

/// Whether there was one.
fn detach_stale(interface: &Interface) -> bool {
    tc::qdisc_detach_program(&interface.name, TcAttachType::Egress, names::TC_EGRESS).is_ok()
}

fn attach_with(
    program: &mut SchedClassifier,
    interface: &Interface,
    options: TcAttachOptions,
) -> Result<SchedClassifierLink, Failure> {
    let id = program.attach_with_options(&interface.name, TcAttachType::Egress, options)?;
    Ok(program.take_link(id)?)
}

/// Whether the kernel does not know tcx.
fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.errno(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// The `clsact` qdisc that we made on the interface of this number.
#[derive(Debug)]
struct OwnQdisc(u32);

impl Drop for OwnQdisc {
    fn drop(&mut self) {
        // It may be gone with its interface, and harms nobody where it stays.
        drop(netlink::remove_unused_clsact(self.0));
    }
}

#[cfg(test)]
mod tests;
