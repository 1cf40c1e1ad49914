//! Keys and values of the kernel maps, as bytes.
//!
//! Each type says which map it belongs to. All are `repr(C)` without hidden padding, their sizes
//! are asserted, and `aya::Pod` stands beside the type. A changed size is a changed map layout.

pub mod ledger;
pub mod listener;
pub mod reads;
