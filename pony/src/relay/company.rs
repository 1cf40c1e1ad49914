//! How much company a flow has on its thread: how many pieces are moved each time it is woken.
//!
//! A thread that is woken for every single piece is better off where the kernel moves them. One
//! that finds several each time shares the cost of waking among them, which the kernel does not:
//! it would take more of the machine than it spares. See README for figures.

use std::cell::Cell;

thread_local! {
    /// Pieces since the thread was woken.
    static PIECES: Cell<u32> = const { Cell::new(0) };
    /// How many there were of late, in parts of [`ONE`].
    static AVERAGE: Cell<u32> = const { Cell::new(0) };
}

/// A piece was moved by this thread.
pub(super) fn moved() {
    PIECES.set(PIECES.get().saturating_add(1));
}

/// The thread has done what there was to do, and is about to sleep.
pub fn rests() {
    let pieces = PIECES.replace(0);
    if pieces > 0 {
        AVERAGE.set(next(AVERAGE.get(), pieces));
    }
}

/// Whether a flow is served for itself, most of the time.
pub(super) fn is_small() -> bool {
    AVERAGE.get() < MANY * ONE
}

fn next(average: u32, pieces: u32) -> u32 {
    let pieces = pieces.min(MOST) * ONE;
    average - average / WEIGHT + pieces / WEIGHT
}

const ONE: u32 = 1 << 16;

/// So many pieces at once share the cost of waking well enough.
const MANY: u32 = 2;

/// More at once tell no more.
const MOST: u32 = 64;

/// One in so many parts of the average is of the last time.
const WEIGHT: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves so many pieces at once, so many times.
    fn serve(pieces: u32, times: u32) {
        for _ in 0..times {
            (0..pieces).for_each(|_| moved());
            rests();
            // Woken for something else.
            rests();
        }
    }

    #[test]
    fn a_thread_that_moves_a_piece_at_a_time_has_no_company_for_it() {
        assert!(is_small(), "at the beginning");
        serve(1, 1000);
        assert!(is_small());
    }

    #[test]
    fn many_pieces_at_a_time_are_company_until_they_are_few_again() {
        serve(8, 40);
        assert!(!is_small());
        serve(1, 400);
        assert!(is_small());
        serve(1_000_000, 1);
        serve(1, 100);
        assert!(is_small(), "a single burst is soon forgotten");
    }
}
