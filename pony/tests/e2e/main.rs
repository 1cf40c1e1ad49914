//! The real binary with real sockets: what a client, a target and an operator see.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy knows no tests outside of functions that are tests"
)]

mod harness;

mod bans;
mod cli;
mod control;
mod families;
mod limits;
mod logs;
mod metrics;
mod names;
mod proxy_protocol;
mod stop;
mod tcp;
mod timeouts;
mod udp;
