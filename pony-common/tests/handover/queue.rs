//! A short queue of small numbers: bytes of a stream, or its pieces.
//!
//! The bytes of the stream are numbered from 1, so one that is lost, repeated or out of order shows.

use std::fmt;

/// A queue of numbers from 1 to 15, the first in the lowest four bits. Zero bits are no number.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub(crate) struct Queue(u64);

impl Queue {
    /// The numbers `first`, `first + 1` and so on, `len` of them.
    pub(crate) fn run(first: u8, len: u8) -> Self {
        let mut queue = Self::default();
        for number in first..first + len {
            queue.push(number);
        }
        queue
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u8 {
        u8::try_from((u64::BITS - self.0.leading_zeros()).div_ceil(4)).expect("at most 16")
    }

    pub(crate) fn push(&mut self, number: u8) {
        self.0 |= u64::from(number) << (4 * self.len());
    }

    pub(crate) fn append(&mut self, more: Self) {
        self.0 |= more.0 << (4 * self.len());
    }

    pub(crate) fn front(self) -> Option<u8> {
        (!self.is_empty()).then_some((self.0 & 15) as u8)
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        let front = self.front()?;
        self.0 >>= 4;
        Some(front)
    }

    /// Takes all that is in it.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        out.debug_list()
            .entries(std::iter::from_fn(|| rest.pop()))
            .finish()
    }
}
