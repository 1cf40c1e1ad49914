//! Where a piece belongs in its stream.
//!
//! The kernel gives a program of this kind pieces as they came, and some begin with bytes that were
//! there before: what a sender repeated together with new bytes, or what the daemon has read of a
//! piece before the socket joined. `recv` skips those; here they are cut off.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_adjust_room, programs::SkBuffContext};
use pony_common::{
    cell::Cell64 as _,
    layout::lane::{BROKEN, KNOWN, OUT, Slip},
};

use crate::{maps::NEXT, slip::count, socket};

/// Cuts off what is not new of a piece, and takes down where the next one begins. Answers whether
/// the piece is the one that comes next: never again once one was not.
#[inline(always)]
pub(crate) fn cut_repeated(ctx: &SkBuffContext, direction: u32) -> bool {
    let Some(next) = NEXT.get(direction) else {
        return false;
    };
    // The kernel's TCP keeps a piece's first sequence number here, and nobody comes in between.
    let [begin, ..] = ctx.cb() else {
        return false;
    };
    let begin = *begin;
    let len = ctx.len();
    let expected = match next.load() {
        0 => socket_says(ctx).unwrap_or(begin),
        BROKEN | OUT => return false,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the number is the lower half"
        )]
        known => known as u32,
    };
    let repeated = expected.wrapping_sub(begin);
    if repeated == 0 || cut(ctx, repeated, len) {
        next.store(KNOWN | u64::from(begin.wrapping_add(len)));
        return true;
    }
    count(Slip::OutOfPlace);
    next.store(BROKEN);
    false
}

/// Where the first piece begins that was not read from the socket.
#[inline(always)]
fn socket_says(ctx: &SkBuffContext) -> Option<u32> {
    // SAFETY: the context is the one that the kernel gave us.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    socket::copied(socket.cast())
}

#[inline(always)]
fn cut(ctx: &SkBuffContext, repeated: u32, len: u32) -> bool {
    let is_cut = repeated < len && cut_off(ctx.skb.skb, repeated) == 0;
    if is_cut {
        count(Slip::Overlap);
    }
    is_cut
}

/// Cuts so many bytes off the beginning, and answers how many of them could not be.
///
/// With a C name the verifier checks it once, by itself. Divided, since it would follow a rest that
/// gets smaller through every way in which it can.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cut_off(skb: *mut __sk_buff, bytes: u32) -> u32 {
    let whole = bytes / MOST_AT_ONCE;
    for done in 0..CUTS {
        if done >= whole {
            break;
        }
        if !cut_part(skb, MOST_AT_ONCE) {
            return bytes;
        }
    }
    if whole > CUTS || !cut_part(skb, bytes % MOST_AT_ONCE) {
        return bytes;
    }
    0
}

#[inline(always)]
fn cut_part(skb: *mut __sk_buff, bytes: u32) -> bool {
    // SAFETY: the context is the one that the kernel gave us, and nothing refers to its bytes.
    unsafe { bpf_skb_adjust_room(skb, -bytes.cast_signed(), 0, 0) == 0 }
}

/// The kernel cuts off no more at once.
const MOST_AT_ONCE: u32 = 0xfff;
/// A piece has at most 2^16 bytes, and some pieces are several in one.
const CUTS: u32 = 200;
