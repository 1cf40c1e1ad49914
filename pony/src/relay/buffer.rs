//! Buffers that flows borrow for the moment in which they move bytes.
//!
//! A flow takes one when a socket is readable and gives it back when everything is written, so
//! ten thousand idle flows hold none. Each thread keeps a few; the rest is freed.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut, Range},
};

/// Large enough that a bulk flow spends its time in the kernel's copying and not in system calls,
/// small enough to stay in a core's second-level cache together with what it is copied from.
pub(super) const BUFFER_LEN: usize = 64 * 1024;

/// How many buffers a thread keeps for the next flows (1 MiB).
const KEPT_PER_THREAD: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A borrowed buffer of [`BUFFER_LEN`] bytes with whatever its last user left in it, or a smaller one
/// that was made of such a one.
pub(super) struct Buffer(Option<Box<[u8]>>);

impl Buffer {
    pub(super) fn take() -> Self {
        let kept = FREE.with_borrow_mut(Vec::pop);
        Self(Some(
            kept.unwrap_or_else(|| vec![0; BUFFER_LEN].into_boxed_slice()),
        ))
    }

    /// A smaller one with these bytes of it, if that spares much.
    pub(super) fn trimmed(&self, part: Range<usize>) -> Option<Self> {
        let part = self.get(part).filter(|part| part.len() <= self.len() / 2)?;
        Some(Self(Some(part.into())))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        FREE.with_borrow_mut(|free| {
            if buffer.len() == BUFFER_LEN && free.len() < KEPT_PER_THREAD {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_serves_the_next_flow() {
        let first = Buffer::take();
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::take().as_ptr(), address);
    }

    #[test]
    fn a_smaller_one_has_the_same_bytes_and_is_not_kept() {
        let mut buffer = Buffer::take();
        buffer[10..13].copy_from_slice(b"abc");
        let smaller = buffer.trimmed(10..13).unwrap();
        assert_eq!(&smaller[..], b"abc");
        assert!(buffer.trimmed(0..BUFFER_LEN).is_none(), "it spares nothing");
        let before = FREE.with_borrow(Vec::len);
        drop(smaller);
        assert_eq!(FREE.with_borrow(Vec::len), before);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number() {
        let many: Vec<_> = (0..KEPT_PER_THREAD * 2).map(|_| Buffer::take()).collect();
        drop(many);
        assert_eq!(FREE.with_borrow(Vec::len), KEPT_PER_THREAD);
    }
}
