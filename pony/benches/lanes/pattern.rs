//! The bytes that are sent in bulk, and a look at what arrived that costs next to nothing.

use std::sync::LazyLock;

/// What every stream is made of, over and over; also how much is written and read at once.
pub(crate) fn chunk() -> &'static [u8; CHUNK] {
    static BYTES: LazyLock<Box<[u8; CHUNK]>> = LazyLock::new(|| {
        let mut state = 1_u32;
        let bytes: Vec<u8> = (0..CHUNK)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        bytes.try_into().expect("as many as were made")
    });
    &BYTES
}

/// Whether the ends of `bytes` are what a stream has at this position: nothing was lost,
/// duplicated or put in another order before them.
pub(crate) fn is_at(position: u64, bytes: &[u8]) -> bool {
    let some = bytes.len().min(LOOK);
    let last = bytes.len() - some;
    has(position, &bytes[..some]) && has(position + last as u64, &bytes[last..])
}

fn has(position: u64, bytes: &[u8]) -> bool {
    let at = usize::try_from(position % CHUNK as u64).expect("less than a chunk");
    let expected = chunk()[at..].iter().chain(chunk());
    bytes
        .iter()
        .zip(expected)
        .all(|(byte, expected)| byte == expected)
}

pub(crate) const CHUNK: usize = 128 * 1024;
/// Bytes that are looked at on each side of what one read gave.
const LOOK: usize = 16;
