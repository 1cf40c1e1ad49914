//! Network namespaces for unit tests of what must not be seen from outside.

use std::{
    env,
    io::{Write as _, stderr},
    process::Command,
};

use aya::test_helpers::NetNsGuard;

use super::interfaces::{self, Interface};

/// The thread's own network namespace, with nothing but loopback in it. `None` without root: the
/// test is skipped then, or fails in CI.
pub(super) fn namespace() -> Option<NetNsGuard> {
    if rustix::process::geteuid().is_root() {
        return Some(NetNsGuard::new().unwrap());
    }
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "needs root, and CI has to run it"
    );
    stderr().write_all(b"skipped, needs root\n").unwrap();
    None
}

/// Runs a command, whose words are separated by spaces, and returns what it writes.
pub(super) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(super) async fn interface(name: &str) -> Interface {
    let present = interfaces::list().await.unwrap();
    interfaces::named(name, &present).unwrap().clone()
}
