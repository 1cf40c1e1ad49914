//! Counting what should not have happened.

use pony_common::layout::lane::Slip;

use crate::maps::SLIPPED;

/// Counts one.
#[inline(always)]
pub(crate) fn count(what: Slip) {
    if let Some(counter) = SLIPPED.get_ptr_mut(what as u32) {
        // SAFETY: the slot is this CPU's own. A run that interrupts this one may lose an update,
        // which is acceptable: the numbers are shown, never decided on.
        unsafe { *counter += 1 };
    }
}
