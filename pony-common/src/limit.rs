//! The arithmetic of the limits: what one client has used, and what that allows.
//!
//! Nothing here knows sockets, packets, clocks or tables of clients. Each type is the state of
//! one client, is told the limit and the time with every question, and answers in constant time.
//! All-zero bytes are a valid, empty state, and there is no padding, so each can be the value of
//! a kernel map. Several threads or CPUs may ask at once; what they then do not see of each other
//! is at most what is in flight.

mod attempts;
mod bandwidth;
mod window;

pub use self::{
    attempts::{AttemptLimit, Attempts},
    bandwidth::{Action, Bandwidth, BandwidthLimit, Charge, DatagramCharge, QUANTUM},
    window::{MAX_ADD, SLOTS, Window, until_next_slot},
};
