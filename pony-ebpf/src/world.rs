//! What a verdict asks of the world around it.
//!
//! In the kernel the answers come from maps; tests put a model in their place.

use pony_common::{
    cell::Cell64,
    hash::LinearKey,
    layout::{
        block::BlockKey,
        ledger::{Entry, Identity, IdentityCell},
        policy::Rows,
        settings::Settings,
    },
    limit::Window,
    time::Nanos,
};

use crate::{
    parse::Packet,
    syn::{self, Attempt},
};

/// What a verdict asks of the world. Whatever is not there makes the packet pass.
pub trait World {
    /// How the world shares a number between those who count.
    type Cell: Cell64;
    /// How the world says whose an entry of the ledger is.
    type Identity: IdentityCell;
    /// The key of the hash of connection attempts.
    type AttemptsKey: LinearKey;
    /// The rows of one policy.
    type Policy<'a>: Rows
    where
        Self: 'a;

    /// The policy in force. Asked once for a packet, so that one policy judges all of it.
    fn policy(&self) -> Option<Self::Policy<'_>>;

    /// What the daemon told once.
    fn settings(&self) -> Option<&Settings>;

    /// The key of the hash of connection attempts.
    fn attempts_key(&self) -> &Self::AttemptsKey;

    /// The block of a client, expired or not.
    fn block(&self, key: &BlockKey) -> Option<Blocked<'_, Self::Cell>>;

    /// What is known of the connection attempt at this place, see [`syn`](crate::syn).
    fn attempt(&self, index: u32) -> Option<&Self::Cell>;

    /// What is known of the packet, if it asks for a connection.
    fn recall(&self, packet: &Packet, generation: u64, now: Nanos) -> Attempt {
        syn::recall(self, packet, generation, now)
    }

    /// The client's entry in the ledger; one that was not there begins at zero.
    fn client(&self, who: Identity, now: Nanos) -> Option<&Entry<Self::Cell, Self::Identity>>;

    /// Adds `n` to what the window of an entry has recently seen, and answers what that was before.
    fn add(&self, window: &Window<Self::Cell>, now: Nanos, len: Nanos, n: u64) -> u64 {
        window.add(now, len, n)
    }

    /// Adds `n` to what the window of an entry has recently seen.
    fn record(&self, window: &Window<Self::Cell>, now: Nanos, len: Nanos, n: u64) {
        window.record(now, len, n);
    }

    /// What the window of an entry has recently seen.
    fn sum(&self, window: &Window<Self::Cell>, now: Nanos, len: Nanos) -> u64 {
        window.sum(now, len)
    }
}

/// A block as it is found.
#[derive(Clone, Copy)]
pub struct Blocked<'a, C> {
    /// When it ends.
    pub until: Nanos,
    /// The value of a [`Reason`](pony_common::reason::Reason).
    pub reason: u32,
    /// The value of a [`Scope`](pony_common::layout::block::Scope).
    pub scope: u32,
    /// How many attempts were refused for it.
    pub refused: &'a C,
}
