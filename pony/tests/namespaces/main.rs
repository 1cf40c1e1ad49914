//! The real binary on real traffic: a client, a proxy and a target in three network namespaces,
//! with the guard in the drivers of the proxy's interfaces.
//!
//! The clients and servers are those that people use. Every test says what must have arrived, and
//! that the kernel counted exactly what was sent. Nothing outside of the namespaces is touched,
//! and they are gone when the test is.
//!
//! Without root these tests say that they were skipped, and fail where `CI=true`.
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
    reason = "each of the two test programs uses a part of the harness"
)]
mod e2e {
    pub(crate) mod harness;
}

mod bans;
mod dns;
mod equality;
mod flood;
mod flows;
mod front_ends;
mod guard;
mod http;
mod kernel;
mod lab;
mod log;
mod mmproxy;
mod mounts;
mod namespace;
mod peers;
mod pins;
mod ports;
mod privileges;
mod ranges;
mod servers;
mod source;
mod tools;
mod tproxy;

use e2e::harness;
