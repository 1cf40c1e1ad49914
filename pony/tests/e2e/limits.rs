//! The limits as clients feel them and as operators see them.

mod datagrams;
mod places;
mod streams;
