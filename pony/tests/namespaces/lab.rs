//! Client, proxy and target, each in a namespace of its own.
//!
//! ```text
//! client            proxy                        target
//! to-proxy ──────── to-client, to-target ─────── to-proxy
//! ```

use std::{
    env, fs,
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    harness::{Entry, Launch, Pony},
    mounts::Mounts,
    namespace::Namespace,
};

pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) proxy: Namespace,
    pub(crate) target: Namespace,
    /// Where the proxy pins its maps.
    pub(crate) mounts: Mounts,
}

/// The client's address, and one more.
pub(crate) const CLIENT_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// The client's address, and one in another /64.
pub(crate) const CLIENT_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 0, 1),
];
/// The proxy's addresses on the client's side, as they are written before a port.
pub(crate) const PROXY_V4: &str = "192.0.2.254";
pub(crate) const PROXY_V6: &str = "[2001:db8:1::fe]";
/// The target's addresses.
pub(crate) const TARGET_V4: &str = "198.51.100.1";
pub(crate) const TARGET_V6: &str = "[2001:db8:2::1]";

impl Lab {
    /// `None` without root: the test is skipped then, or fails in CI.
    pub(crate) fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        assert!(
            pony::kernel::OBJECT.is_some(),
            "there is no kernel object: run `cargo xtask build-ebpf`, then build again"
        );
        let lab = Self {
            client: Namespace::new(),
            proxy: Namespace::new(),
            target: Namespace::new(),
            mounts: Mounts::new(),
        };
        lab.connect();
        lab.do_not_guess_at_losses();
        Some(lab)
    }

    fn connect(&self) {
        for (end, interface) in [(&self.client, "to-client"), (&self.target, "to-target")] {
            let proxy = self.proxy.path();
            end.ip(&format!(
                "link set lo up\n\
                 link add to-proxy type veth peer name {interface} netns {proxy}\n\
                 link set to-proxy up\n"
            ));
        }
        self.client.ip(&format!(
            "addr add {}/24 dev to-proxy noprefixroute\n\
             addr add {}/24 dev to-proxy noprefixroute\n\
             addr add {}/63 dev to-proxy nodad noprefixroute\n\
             addr add {}/63 dev to-proxy nodad noprefixroute\n\
             route add 192.0.2.0/24 dev to-proxy rto_min {PATIENT}\n\
             route add 2001:db8:1::/63 dev to-proxy rto_min {PATIENT}\n",
            CLIENT_V4[0], CLIENT_V4[1], CLIENT_V6[1], CLIENT_V6[0],
        ));
        self.proxy.ip(&format!(
            "link set lo up\n\
             link set to-client up\n\
             link set to-target up\n\
             addr add 192.0.2.254/24 dev to-client noprefixroute\n\
             addr add 2001:db8:1::fe/63 dev to-client nodad noprefixroute\n\
             addr add 198.51.100.254/24 dev to-target noprefixroute\n\
             addr add 2001:db8:2::fe/64 dev to-target nodad noprefixroute\n\
             route add 192.0.2.0/24 dev to-client rto_min {PATIENT}\n\
             route add 2001:db8:1::/63 dev to-client rto_min {PATIENT}\n\
             route add 198.51.100.0/24 dev to-target rto_min {PATIENT}\n\
             route add 2001:db8:2::/64 dev to-target rto_min {PATIENT}\n"
        ));
        self.target.ip(&format!(
            "addr add 198.51.100.1/24 dev to-proxy noprefixroute\n\
             addr add 2001:db8:2::1/64 dev to-proxy nodad noprefixroute\n\
             route add 198.51.100.0/24 dev to-proxy rto_min {PATIENT}\n\
             route add 2001:db8:2::/64 dev to-proxy rto_min {PATIENT}\n"
        ));
    }

    /// Has the target send what is for clients by way of the proxy.
    pub(crate) fn route_answers_through_the_proxy(&self) {
        self.target.ip("route add 192.0.2.0/24 via 198.51.100.254\n\
             route add 2001:db8:1::/63 via 2001:db8:2::fe\n");
    }

    /// Makes TCP send nothing again that has arrived.
    ///
    /// On a busy machine a sender takes a late answer for a loss, and what it sends again the
    /// guard rightly counts again. With this and the routes' `rto_min` it waits instead. What is
    /// really lost is lost before the guard, in the virtual cable's full queue, and counted once.
    fn do_not_guess_at_losses(&self) {
        for namespace in [&self.client, &self.proxy, &self.target] {
            // `/proc/sys/net` is that of the namespace of whoever opens it.
            namespace.enter(|| fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0").unwrap());
        }
    }

    /// Starts the proxy in its namespace.
    #[track_caller]
    pub(crate) fn start(&self, launch: Launch) -> Pony {
        let launch = launch.inside(&self.mounts.entrance());
        self.proxy.enter(|| launch.start())
    }

    /// The daemon with this file of those that are shipped.
    pub(crate) fn start_example(&self, name: &str) -> Pony {
        let example = format!("{}/../configs/{name}", env!("CARGO_MANIFEST_DIR"));
        // It brings its own listeners.
        let launch = Launch::new(&tcp("none", 1, "127.0.0.1:1"));
        self.start(launch.arguments(&["run", "-c", &example]))
    }
}

impl Launch {
    /// Starts it as a user who may do nothing.
    pub(crate) fn by_nobody(self) -> Self {
        self.through(&["sh", "-ec", AS_NOBODY, "sh"])
    }
}

/// A TCP listener on this port of both families, open to everybody.
pub(crate) fn tcp(name: &str, port: u16, target: &str) -> Entry {
    open(Entry::tcp(target), name, port)
}

/// A UDP listener on this port of both families, open to everybody.
pub(crate) fn udp(name: &str, port: u16, target: &str) -> Entry {
    open(Entry::udp(target), name, port)
}

fn open(entry: Entry, name: &str, port: u16) -> Entry {
    entry
        .name(name)
        .listen(format_args!("[::]:{port}"))
        .allow("0.0.0.0/0, \"::/0\"")
}

pub(crate) fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "needs root, and CI has to run it"
    );
    report("skipped, needs root\n");
    false
}

/// Says something past the test runner, which hides what a passing test prints.
pub(crate) fn report(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

/// How long TCP waits before it sends again, at least.
const PATIENT: &str = "5s";

/// Gets the words `pony run -c FILE`. The folder of the build may be closed to other users, so it
/// takes a copy of the program to that of the configuration, and opens that to all.
const AS_NOBODY: &str = r#"
folder=$(dirname "$4")
cp "$1" "$folder/pony"
chmod a+rx "$folder" "$folder/pony"
chmod a+r "$4"
shift
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$folder/pony" "$@"
"#;
