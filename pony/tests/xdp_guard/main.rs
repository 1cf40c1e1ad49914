//! The guard in the real kernel. Needs root; makes its own network namespaces.
//!
//! Without root these tests say that they were skipped, and fail where `CI=true`: a green CI means
//! that they ran.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]
#![expect(
    clippy::unwrap_used,
    reason = "a step that fails here is a test that fails"
)]

mod attach;
mod client;
mod frames;
mod fuzz;
mod guard;
mod large;
mod links;
mod model;
mod namespace;
mod parallel;
mod program;
mod real;
mod reports;
mod resets;
mod rules;
mod scrape;
mod setup;
mod spans;
mod swap;
mod traffic;
mod verdicts;

use std::env;

use pony::kernel::{Guard, Mode};

/// Whether to go on with a test that needs root.
fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "needs root, and CI has to run it"
    );
    println!("skipped, needs root");
    false
}

/// The kernel object that is under test.
fn object() -> &'static [u8] {
    pony::kernel::OBJECT.expect("there is no kernel object: run `cargo xtask build-ebpf` first")
}

/// Checks which interfaces the guard is on, in the order of their names.
#[track_caller]
fn assert_on(guard: &Guard, expected: &[(&str, Mode)]) {
    let attached = guard.attached();
    let attached: Vec<_> = attached
        .iter()
        .map(|(name, mode)| (name.as_str(), *mode))
        .collect();
    assert_eq!(attached, expected);
}
