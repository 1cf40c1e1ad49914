//! The proof that no lane loses, doubles or swaps a byte, and that none leaves anything behind.
//!
//! Every test drives the real binary with real sockets, and runs once for each lane: as
//! `integrity::flows_of_every_shape_arrive_whole::splice`, for example. So `cargo test -p pony
//! --test lanes ::splice` proves one lane, and a test's name proves one thing in all of them.
//! `PONY_SEED=n` repeats what a failure printed; `PONY_LONG=1` takes longer flows, and more of them.
//! `PONY_LANE=splice` has the tests in `tests/e2e` and `tests/namespaces` take a lane, too.
//!
//! Without root the tests of the sockmap lane, and those that need namespaces, say that they were
//! skipped, and fail where `CI=true`.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "clippy knows no tests outside of functions that are tests"
)]

/// A process and what it logs are the same here as there.
#[path = "../e2e"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each of the test programs uses a part of the harness"
)]
mod e2e {
    pub(crate) mod harness;
}

#[path = "../namespaces/lab.rs"]
#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod lab;
#[path = "../namespaces/mounts.rs"]
mod mounts;
#[path = "../namespaces/namespace.rs"]
#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod namespace;
#[path = "../namespaces/tools.rs"]
#[allow(dead_code, reason = "each of the test programs uses a part of it")]
mod tools;

#[macro_use]
mod lane;

mod bytes;
mod crowd;
mod dice;
mod flow;
mod headers;
mod integrity;
mod killed;
mod leftovers;
mod limits;
mod network;
mod outcomes;
mod peer;
mod plan;
mod proof;
mod resets;
mod stalled;
mod unfit;
mod world;

use e2e::harness;
