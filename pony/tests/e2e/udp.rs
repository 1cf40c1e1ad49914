//! Forwarding of UDP: datagrams, sessions, and targets that are not there.

mod datagrams;
mod sessions;
mod trouble;
