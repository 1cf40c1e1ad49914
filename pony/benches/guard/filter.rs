//! xdp-filter, from Debian's xdp-tools, with a rule like ours.

use std::path::PathBuf;

use aya::{
    Ebpf, EbpfLoader,
    maps::{PerCpuHashMap, PerCpuValues},
    programs::Xdp,
    util::nr_cpus,
};

use crate::{lab::CLIENT, tools};

/// One of its programs.
pub(crate) struct Filter {
    ebpf: Ebpf,
    // Its maps insist on being pinned.
    _pins: Pins,
}

/// What it does with addresses that it has no entry for; those it has get the opposite.
#[derive(Clone, Copy)]
pub(crate) enum Policy {
    Allow,
    Deny,
}

/// What it looks at.
#[derive(Clone, Copy)]
pub(crate) enum Features {
    /// Addresses, ports and hardware addresses: what `xdp-filter load` takes unless told otherwise.
    All,
    /// IP addresses.
    Addresses,
}

impl Filter {
    /// With one entry, for the client.
    pub(crate) fn load(policy: Policy, features: Features) -> Self {
        let pins = Pins::new();
        let policy = match policy {
            Policy::Allow => "alw",
            Policy::Deny => "dny",
        };
        let features = match features {
            Features::All => "all",
            Features::Addresses => "ip",
        };
        let object = format!("xdpfilt_{policy}_{features}.o");
        let path = OBJECTS.map(|folder| PathBuf::from(folder).join(&object));
        let path = path.iter().find(|path| path.exists());
        let path = path.expect("xdp-filter is there: `cargo xtask bench` installs it");
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(pins.0.path())
            .load_file(path)
            .unwrap();
        let (_, program) = ebpf.programs_mut().next().unwrap();
        let program: &mut Xdp = program.try_into().unwrap();
        program.load().unwrap();

        let map = ebpf.map_mut("filter_ipv4").unwrap();
        let mut addresses = PerCpuHashMap::<_, [u8; 4], u64>::try_from(map).unwrap();
        let flags = PerCpuValues::try_from(vec![ANY_PROTOCOL_AS_SOURCE; nr_cpus().unwrap()]);
        addresses
            .insert(CLIENT.octets(), flags.unwrap(), 0)
            .unwrap();
        Self { ebpf, _pins: pins }
    }

    pub(crate) fn program(&self) -> &Xdp {
        let (_, program) = self.ebpf.programs().next().unwrap();
        program.try_into().unwrap()
    }
}

/// A file system for pins, of our own.
struct Pins(tempfile::TempDir);

impl Pins {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        tools::run(&mut tools::command(&format!("mount -t bpf bpf {path}")), "");
        Self(folder)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let path = self.0.path().display();
        tools::run(&mut tools::command(&format!("umount {path}")), "");
    }
}

/// Of `common_kern_user.h`: the address is meant as a source, of TCP, UDP and all else.
const ANY_PROTOCOL_AS_SOURCE: u64 = 1 | 4 | 8;
const OBJECTS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/bpf",
    "/usr/lib/aarch64-linux-gnu/bpf",
    "/usr/lib64/bpf",
    "/usr/lib/bpf",
];
