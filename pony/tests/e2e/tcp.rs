//! Forwarding of TCP: what arrives, how it ends, and what happens when there is no target.

mod connecting;
mod descriptors;
mod ending;
mod payload;
