//! What flows carry: each byte is a function of the flow, the direction and the offset.
//!
//! So a receiver knows every byte that must come, and what came instead says what happened to it.
//! The bytes are windows of one table, so neither sending nor checking makes them anew.

use std::sync::LazyLock;

use crate::dice::{Dice, index};

/// What one direction of one flow carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    start: u64,
}

/// The longest piece that [`Content::at`] gives.
pub(crate) const MOST: usize = 1 << 20;

/// After so many bytes the content repeats: a prime, so that no buffer's size divides it.
const PERIOD: u64 = (1 << 22) - 3;

impl Content {
    /// Of this flow; the two directions have nothing in common, nor have two flows.
    pub(crate) fn new(seed: u64, direction: u64) -> Self {
        let start = Dice::new(seed ^ direction.rotate_left(40)).below(PERIOD);
        Self { start }
    }

    /// At most [`MOST`] bytes from `offset` on.
    pub(crate) fn at(self, offset: u64, len: usize) -> &'static [u8] {
        let begin = index((self.start + offset) % PERIOD);
        &TABLE[begin..begin + len]
    }

    /// Checks what came at `offset`, and says where it belongs if not there.
    pub(crate) fn check(self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let mut at = offset;
        for piece in bytes.chunks(MOST) {
            let expected = self.at(at, piece.len());
            if piece != expected {
                let same = piece.iter().zip(expected).take_while(|(a, b)| a == b);
                let same = same.count();
                return Err(self.misplaced(at + same as u64, &piece[same..]));
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn misplaced(self, at: u64, bytes: &[u8]) -> String {
        let sample = &bytes[..bytes.len().min(SAMPLE)];
        if sample.len() < SHORTEST_SAMPLE {
            return format!("at byte {at} came wrong bytes, too few to be placed: {sample:02x?}");
        }
        let mut windows = TABLE.windows(sample.len());
        let found = windows.position(|window| window == sample);
        let what = found.map_or_else(
            || "that are nowhere in any flow".to_owned(),
            |found| {
                let offset = (found as u64 + PERIOD - self.start) % PERIOD;
                let times = at.saturating_sub(offset) / PERIOD;
                let offset = offset + times * PERIOD;
                format!("of byte {offset} (or {PERIOD} more, or of another flow)")
            },
        );
        format!("at byte {at} came bytes {what}: {sample:02x?}")
    }
}

/// As much as says which place of the table it is.
const SAMPLE: usize = 16;
/// Less may be found in many places.
const SHORTEST_SAMPLE: usize = 6;

/// One period and what makes every window contiguous.
static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = Dice::new(0x506f_6e79);
    let len = index(PERIOD);
    let mut table: Vec<u8> = (0..=len / 8)
        .flat_map(|_| dice.next().to_le_bytes())
        .collect();
    table.truncate(len);
    table.extend_from_within(..MOST);
    table
});

#[test]
fn a_lost_block_a_doubled_one_and_a_strange_one_are_told_apart() {
    let content = Content::new(7, 0);
    assert_eq!(
        content.check(5_000_000, content.at(5_000_000, 9000)),
        Ok(())
    );

    let lost = content.check(1000, content.at(1500, 100)).unwrap_err();
    assert!(
        lost.contains("at byte 1000 came bytes of byte 1500"),
        "{lost}"
    );
    let mut doubled = content.at(0, 1000).to_vec();
    doubled.extend(content.at(400, 600));
    let doubled = content.check(0, &doubled).unwrap_err();
    assert!(
        doubled.contains("at byte 1000 came bytes of byte 400"),
        "{doubled}"
    );
    let strange = content.check(0, &[0; 100]).unwrap_err();
    assert!(strange.contains("nowhere"), "{strange}");
}
