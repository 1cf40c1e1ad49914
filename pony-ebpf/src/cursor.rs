//! A bounds-checked read position inside one packet.
//!
//! The only place that touches packet memory.

use core::marker::PhantomData;

/// The packet ended before the header did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Truncated;

/// A header that may be read from any bytes, at any address.
///
/// # Safety
///
/// The type has alignment 1, no padding, and no invalid bit pattern.
pub unsafe trait Header: Copy {}

/// Reads headers front to back and never past the end of the packet.
pub struct Cursor<'pkt> {
    at: *const u8,
    end: *const u8,
    packet: PhantomData<&'pkt [u8]>,
}

impl<'pkt> Cursor<'pkt> {
    /// A cursor at the first byte of a packet.
    ///
    /// # Safety
    ///
    /// `start..end` is one packet, readable for as long as `'pkt`.
    #[inline(always)]
    pub unsafe fn new(start: *const u8, end: *const u8) -> Self {
        Self {
            at: start,
            end,
            packet: PhantomData,
        }
    }

    /// Returns the next header and moves past it.
    #[inline(always)]
    pub fn read<H: Header>(&mut self) -> Result<&'pkt H, Truncated> {
        const { assert!(align_of::<H>() == 1) };

        let header = self.at.cast::<H>();
        self.skip(size_of::<H>())?;
        // SAFETY: `skip` proved that the header lies inside the packet; `Header` covers the rest.
        Ok(unsafe { &*header })
    }

    /// Moves `len` bytes ahead.
    ///
    /// This comparison is all that the verifier knows about the packet's length, so every read
    /// goes through it.
    #[inline(always)]
    pub fn skip(&mut self, len: usize) -> Result<(), Truncated> {
        let next = self.at.wrapping_add(len);
        if next > self.end {
            return Err(Truncated);
        }
        self.at = next;
        Ok(())
    }
}

/// A write position inside one packet: like [`Cursor`], for headers that are written over.
pub struct Writer<'pkt> {
    cursor: Cursor<'pkt>,
}

impl<'pkt> Writer<'pkt> {
    /// A position at the first byte of a packet.
    ///
    /// # Safety
    ///
    /// `start..end` is one packet, for as long as `'pkt` writable, and by nobody else.
    #[inline(always)]
    pub unsafe fn new(start: *mut u8, end: *mut u8) -> Self {
        // SAFETY: what is writable can be read.
        let cursor = unsafe { Cursor::new(start, end) };
        Self { cursor }
    }

    /// Returns the next header and moves past it.
    #[inline(always)]
    pub fn header<H: Header>(&mut self) -> Result<&'pkt mut H, Truncated> {
        const { assert!(align_of::<H>() == 1) };

        let header = self.cursor.at.cast_mut().cast::<H>();
        self.cursor.skip(size_of::<H>())?;
        // SAFETY: as for reading; and nothing before the position is handed out again.
        Ok(unsafe { &mut *header })
    }

    /// Moves `len` bytes ahead.
    #[inline(always)]
    pub fn skip(&mut self, len: usize) -> Result<(), Truncated> {
        self.cursor.skip(len)
    }
}

impl<'pkt> From<&'pkt mut [u8]> for Writer<'pkt> {
    fn from(packet: &'pkt mut [u8]) -> Self {
        let range = packet.as_mut_ptr_range();
        // SAFETY: the range is one slice, borrowed for as long as the writer.
        unsafe { Self::new(range.start, range.end) }
    }
}

impl<'pkt> From<&'pkt [u8]> for Cursor<'pkt> {
    fn from(packet: &'pkt [u8]) -> Self {
        let range = packet.as_ptr_range();
        // SAFETY: the range is one slice, borrowed for as long as the cursor.
        unsafe { Self::new(range.start, range.end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Three([u8; 3]);

    // SAFETY: three bytes.
    unsafe impl Header for Three {}

    #[test]
    fn reads_to_the_last_byte_and_no_further() {
        let packet = [1, 2, 3, 4, 5, 6, 7];
        let mut cursor = Cursor::from(&packet[..]);
        assert_eq!(cursor.read::<Three>().unwrap().0, [1, 2, 3]);
        assert_eq!(cursor.read::<Three>().unwrap().0, [4, 5, 6]);
        assert_eq!(cursor.read::<Three>().map(|_| ()), Err(Truncated));
        assert_eq!(cursor.skip(1), Ok(()), "a failed read moves nothing");
        assert_eq!(cursor.skip(0), Ok(()));
        assert_eq!(cursor.skip(1), Err(Truncated));
    }
}
