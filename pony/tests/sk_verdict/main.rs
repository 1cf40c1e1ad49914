//! The program that moves bytes from socket to socket, in the real kernel, on loopback. Needs root.
//!
//! Without root these tests say that they were skipped, and fail where `CI=true`: a green CI means
//! that they ran.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]
#![expect(
    clippy::unwrap_used,
    reason = "a step that fails here is a test that fails"
)]

mod ending;
mod flow;
mod hammer;
mod handing;
mod joining;

use std::env;

use pony::kernel::lanes::Lanes;

/// The program, loaded for so many flows; `None` if this test cannot be run.
fn lanes(max_flows: u32) -> Option<Lanes> {
    if rustix::process::geteuid().is_root() {
        return Some(Lanes::load(max_flows).unwrap());
    }
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "needs root, and CI has to run it"
    );
    println!("skipped, needs root");
    None
}

/// Checks that nothing happened that should not, and answers how often a piece was cut.
#[track_caller]
fn assert_no_slips(lanes: &Lanes) -> u64 {
    let [slips @ .., overlaps] = lanes.slips().unwrap();
    assert_eq!(slips, [0; 4]);
    overlaps
}
