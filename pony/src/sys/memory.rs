//! Memory that is shared with the kernel.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

use pony_common::layout::{
    lane::{Moved, Orders},
    ledger::Entry,
    report::Report,
};

/// Copies `values` to the beginning of what `file` maps, which must be at least as large.
///
/// Much faster than a system call per element when `file` is a large BPF array.
pub fn fill<T: Copy>(file: BorrowedFd<'_>, values: &[T]) -> io::Result<()> {
    if size_of_val(values) == 0 {
        return Ok(());
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mapping = Mapping::new(file, size_of_val(values), protection)?;
    let start = mapping.start.as_ptr().cast();
    // SAFETY: the mapping is writable for the size of `values`, begins with a page and so is
    // aligned, and nobody else in this process knows it; `values` lies elsewhere, since the mapping
    // is new.
    unsafe { ptr::copy_nonoverlapping(values.as_ptr(), start, values.len()) };
    Ok(())
}

/// What may be looked at while somebody else writes it.
///
/// # Safety
///
/// Consists of nothing but atomics, and any bytes make a valid value. Aligned as a page is.
pub unsafe trait Atomics {}

// SAFETY: it is an atomic of which every value is valid.
unsafe impl Atomics for AtomicU64 {}

// SAFETY: `repr(C)` of `AtomicU64`s alone.
unsafe impl Atomics for Entry<AtomicU64, [AtomicU64; 3]> {}

// SAFETY: `repr(C)` of `AtomicU64`s alone.
unsafe impl Atomics for Report<AtomicU64> {}

// SAFETY: `repr(C)` of `AtomicU64`s alone.
unsafe impl Atomics for Moved<AtomicU64> {}

// SAFETY: `repr(C)` of `AtomicU64`s alone.
unsafe impl Atomics for Orders<AtomicU64> {}

/// The elements of a file, or of a BPF array, that others may change meanwhile.
#[derive(Debug)]
pub struct View<T> {
    mapping: Mapping,
    elements: NonNull<T>,
    len: usize,
}

// SAFETY: what is mapped stays so in every thread, and whoever refers to it borrows the view.
unsafe impl<T: Atomics> Send for View<T> {}

// SAFETY: all that can be done with a reference is to look at the elements, which are atomics.
unsafe impl<T: Atomics> Sync for View<T> {}

impl<T: Atomics> View<T> {
    /// Maps the first `len` elements of `file`, which must be at least as large. They must not be
    /// written to: that ends the process.
    pub fn new(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(file, len, libc::PROT_READ)
    }

    /// The same, of elements that may be written to.
    pub fn writable(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(file, len, libc::PROT_READ | libc::PROT_WRITE)
    }

    fn map(file: BorrowedFd<'_>, len: usize, protection: libc::c_int) -> io::Result<Self> {
        let bytes = len
            .checked_mul(size_of::<T>())
            .filter(|bytes| *bytes > 0)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mapping = Mapping::new(file, bytes, protection)?;
        Ok(Self {
            elements: mapping.start.cast(),
            mapping,
            len,
        })
    }

    /// All elements.
    pub fn elements(&self) -> &[T] {
        debug_assert_eq!(self.mapping.len, self.len * size_of::<T>());
        // SAFETY: readable for `len` elements as long as `self` lives, and at the start of a page;
        // `T` says that any bytes will do, and that it does not matter who changes them.
        unsafe { slice::from_raw_parts(self.elements.as_ptr(), self.len) }
    }
}

/// A part of the address space; unmapped when it is dropped.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(file: BorrowedFd<'_>, len: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: the kernel chooses an address where nothing is mapped.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing refers to it any more.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "the kernel refuses only what is no mapping");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::{fd::AsFd as _, unix::fs::FileExt as _},
        sync::atomic::Ordering::Relaxed,
    };

    use super::*;

    #[test]
    fn fills_the_beginning_of_a_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        fill(file.as_file().as_fd(), &[1_u8; 5_000]).unwrap();
        let filled = fs::read(file.path()).unwrap();
        assert_eq!(filled[..5_000], [1; 5_000]);
        assert_eq!(filled[5_000..], [7; 5_000]);
    }

    #[test]
    fn sees_what_others_change() {
        let file = tempfile::tempfile().unwrap();
        let write = |at: u64, value: u64| file.write_all_at(&value.to_ne_bytes(), at * 8).unwrap();
        write(0, 7);
        write(1_999, 8);
        let view = View::<AtomicU64>::new(file.as_fd(), 2_000).unwrap();
        let [first, .., last] = view.elements() else {
            panic!("too few elements");
        };
        assert_eq!((first.load(Relaxed), last.load(Relaxed)), (7, 8));
        write(1_999, 9);
        assert_eq!(last.load(Relaxed), 9);
        let writable = View::<AtomicU64>::writable(file.as_fd(), 2_000).unwrap();
        writable.elements()[1_999].store(10, Relaxed);
        assert_eq!(last.load(Relaxed), 10);
    }

    #[test]
    fn fails_on_what_cannot_be_mapped() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(fill(reader.as_fd(), &[1_u8]).is_err());
        assert!(fill::<u8>(reader.as_fd(), &[]).is_ok(), "nothing to do");
        for len in [0, 1, usize::MAX] {
            assert!(View::<AtomicU64>::new(reader.as_fd(), len).is_err());
        }
    }
}
