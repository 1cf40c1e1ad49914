//! A network namespace of the test's own, with the interfaces that it asks for.
//!
//! It belongs to the thread that made it, which is in it until the value is dropped.

use std::{
    io::{Seek as _, Write as _},
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use aya::test_helpers::NetNsGuard;
use futures_util::TryStreamExt as _;
use pony::kernel::Mode;
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth,
    packet_route::{
        address::{AddressAttribute, AddressFlags},
        link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

pub(crate) struct Namespace {
    handle: Handle,
    runtime: Runtime,
    // Last: the runtime must be gone before the thread leaves the namespace.
    guard: NetNsGuard,
}

impl Namespace {
    /// Makes a namespace with nothing but loopback in it, which is up.
    pub(crate) fn new() -> Self {
        let guard = NetNsGuard::new().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.block_on(async {
            let (connection, handle, _messages) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            handle
        });
        Self {
            handle,
            runtime,
            guard,
        }
    }

    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The namespace, for another one to move an interface here.
    pub(crate) fn fd(&self) -> OwnedFd {
        self.guard.as_fd().try_clone_to_owned().unwrap()
    }

    /// Makes two connected interfaces; the second one is in this namespace too.
    pub(crate) fn add_pair(&self, name: &str, peer: &str) {
        self.run(
            self.handle
                .link()
                .add(LinkVeth::new(name, peer).build())
                .execute(),
        )
        .unwrap();
    }

    /// Runs several commands of `ip`, one on each line. The runtime does not work meanwhile.
    pub(crate) fn ip(&self, lines: &str) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        file.rewind().unwrap();
        self.run_with("ip", &["-batch", "-"], file.into());
    }

    /// Runs a program, and returns what it writes. The runtime does not work meanwhile.
    pub(crate) fn run_tool(&self, program: &str, arguments: &[&str]) -> String {
        self.run_with(program, arguments, Stdio::null())
    }

    fn run_with(&self, program: &str, arguments: &[&str], stdin: Stdio) -> String {
        // The namespace is that of the thread, and children have it from there.
        let Self { guard: _here, .. } = self;
        let output = Command::new(program)
            .args(arguments)
            .stdin(stdin)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Lets the runtime work until this holds.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let wait = async {
            while !condition() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let done = self.run(async { timeout(PATIENCE, wait).await });
        assert!(done.is_ok(), "waited in vain for {what}");
    }

    /// Moves an interface to another namespace.
    pub(crate) fn give(&self, name: &str, to: &OwnedFd) {
        let change = LinkUnspec::new_with_name(name);
        self.set(change.setns_by_fd(to.as_raw_fd()).build());
    }

    pub(crate) fn set_up(&self, name: &str) {
        self.set(LinkUnspec::new_with_name(name).up().build());
    }

    pub(crate) fn set_mtu(&self, name: &str, mtu: u32) {
        self.set(LinkUnspec::new_with_name(name).mtu(mtu).build());
    }

    fn set(&self, change: LinkMessage) {
        self.run(self.handle.link().set(change).execute()).unwrap();
    }

    /// Gives an interface an address that can be used at once.
    pub(crate) fn add_address(&self, name: &str, ip: IpAddr, prefix: u8) {
        let index = self.link(name).header.index;
        let mut request = self.handle.address().add(index, ip, prefix);
        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
        request.message_mut().attributes.push(flags);
        self.run(request.execute()).unwrap();
    }

    /// How an XDP program is attached to an interface, if one is.
    pub(crate) fn xdp(&self, name: &str) -> Option<Mode> {
        let link = self.link(name);
        let xdp = link
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Xdp(xdp) => Some(xdp),
                _ => None,
            });
        xdp?.iter().find_map(|xdp| match xdp {
            LinkXdp::Attached(XdpAttached::Driver) => Some(Mode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
            _ => None,
        })
    }

    fn link(&self, name: &str) -> LinkMessage {
        let links = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        let links: Vec<_> = self.run(links.try_collect()).unwrap();
        links.into_iter().next().unwrap()
    }
}

/// How long something may take that happens soon.
const PATIENCE: Duration = Duration::from_secs(20);
