//! The hypervisor as a trait: hypercalls with their memory, and access to other domains' memory.
//!
//! ```text
//!   control/ ── Call { registers, argument, data, where their addresses belong } ──► Hypervisor
//!                                                                                    ├─ Privcmd    /dev/xen/privcmd
//!                                                                                    └─ Simulated  scripted answers
//! ```
//!
//! A [`Call`] borrows all memory that Xen may access, so no address outlives its buffer, and an implementation without
//! a hypervisor needs no addresses at all. A call cannot check that the *counts* in its argument fit the buffers; that
//! is the duty of `control/`, which states the bytes of each buffer.
//!
//! Not here: the meaning of a hypercall.

#![allow(unsafe_code)]

use crate::{DomId, GfnSlot};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};
use understudy_checkpoint::{PAGE_SIZE, Page};

/// What this crate needs of the hypervisor.
pub trait Hypervisor: Send + Sync {
    /// Does a hypercall. Returns Xen's answer, including errors.
    fn hypercall(&self, call: &mut Call<'_>) -> Result<u64, Errno>;

    /// Access to the memory of `domain`.
    fn foreign_memory(&self, domain: DomId) -> io::Result<Arc<dyn ForeignMemory>>;
}

/// The kind of access to mapped memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Access to the memory of one domain. [`Mapping`](crate::Mapping) decides what is mapped where.
pub trait ForeignMemory: Send + Sync {
    /// Maps `frames` at the address `at`, replacing what was there, and sets `errors` to the errno of each frame; 0:
    /// mapped. If the whole call fails, nothing readable may be left there.
    ///
    /// # Safety
    /// `at` is the start of a range of `frames.len()` pages that belongs to the caller and that nobody reads or writes
    /// meanwhile. No earlier `replace` may have overlapped a part of the range: the kernel cannot split what it mapped
    /// (see `mapping.rs`). `errors` is as long as `frames`.
    unsafe fn replace(
        &self,
        at: NonNull<Page>,
        frames: &[GfnSlot],
        access: Access,
        errors: &mut [u8],
    ) -> Result<(), Errno>;

    /// Maps `frames` at the address `at`, where a `replace` left only frames that did not map. Fails with `EINVAL` if
    /// the kernel cannot do that; then nothing is changed.
    ///
    /// # Safety
    /// As for [`replace`](Self::replace), but `at` lies anywhere in one range that was given to it.
    unsafe fn fill(&self, at: NonNull<Page>, frames: &[GfnSlot], errors: &mut [u8]) -> Result<(), Errno>;

    /// Maps the first `frames` frames of the domain's grant table at the address `at`, writable. The table grows if it has
    /// fewer.
    ///
    /// # Safety
    /// As for [`replace`](Self::replace), of that many pages.
    unsafe fn grant_table(&self, at: NonNull<Page>, frames: usize) -> Result<(), Errno>;
}

/// One argument register of a hypercall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Register {
    /// A number, passed as it is.
    Word(u64),
    /// The address of the argument.
    Argument,
    /// The address of the data.
    Data,
}

/// A place in the argument that receives the address of (a part of) the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pointer {
    /// Offset in the argument of the eight-byte handle.
    pub(crate) at: usize,
    /// Offset in the data that the handle points to.
    pub(crate) to: usize,
    /// Bytes from there on that Xen may access, according to the counts in the argument.
    pub(crate) bytes: usize,
}

/// A hypercall: the request, and all memory that Xen reads and writes for it.
#[derive(Debug)]
pub struct Call<'c> {
    op: u64,
    registers: [Register; 5],
    argument: &'c mut HypercallBuffer,
    data: Option<&'c mut HypercallBuffer>,
    pointers: &'c [Pointer],
}

impl<'c> Call<'c> {
    /// A call whose `argument` is complete except for addresses.
    ///
    /// Panics if a pointer leads out of its buffer: then the caller's counts are wrong, and Xen would write beyond it.
    pub(crate) fn new(
        op: u64,
        registers: [Register; 5],
        argument: &'c mut HypercallBuffer,
        data: Option<&'c mut HypercallBuffer>,
        pointers: &'c [Pointer],
    ) -> Self {
        let room = data.as_ref().map_or(0, |data| data.as_bytes().len());
        for pointer in pointers {
            assert!(
                pointer.at + size_of::<u64>() <= argument.as_bytes().len(),
                "a handle lies in the argument"
            );
            assert!(pointer.to + pointer.bytes <= room, "Xen stays within the data");
        }
        Self { op, registers, argument, data, pointers }
    }

    /// Number of the hypercall, `__HYPERVISOR_*`.
    pub fn op(&self) -> u64 {
        self.op
    }

    /// The number in a register; `None` if it is an address.
    pub fn word(&self, register: usize) -> Option<u64> {
        match self.registers[register] {
            Register::Word(word) => Some(word),
            Register::Argument | Register::Data => None,
        }
    }

    /// The structure that a register points to. Its handles are null until the call is made.
    pub fn argument(&mut self) -> &mut [u8] {
        self.argument.as_bytes_mut()
    }

    /// The data that the structure or a register points to; `None` if nothing does.
    pub fn data(&mut self) -> Option<&mut [u8]> {
        self.data.as_mut().map(|data| data.as_bytes_mut())
    }

    /// Fills in the addresses and returns the registers.
    pub(crate) fn registers(&mut self) -> [u64; 5] {
        let data = self.data.as_ref().map_or(0, |data| data.address());
        for pointer in self.pointers {
            let address = data + pointer.to as u64;
            self.argument.as_bytes_mut()[pointer.at..][..size_of::<u64>()]
                .copy_from_slice(&address.to_ne_bytes());
        }
        self.registers.map(|register| match register {
            Register::Word(word) => word,
            Register::Argument => self.argument.address(),
            Register::Data => data,
        })
    }
}

/// Memory that Xen reads and writes in hypercalls.
///
/// Xen follows the addresses it is given and does not fault pages in, so the pages must be present. They come from
/// `/dev/xen/hypercall` (Linux 4.18 and later), or are locked, touched and excluded from forks, because copy-on-write
/// would take them away.
#[derive(Debug)]
pub struct HypercallBuffer {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the buffer owns its pages, which no thread is tied to.
unsafe impl Send for HypercallBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for HypercallBuffer {}

impl HypercallBuffer {
    /// Allocates at least `bytes` bytes in whole pages, zeroed.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let length = whole_pages(bytes)?;
        let start = match Self::device() {
            Some(device) => Self::of_device(device, length).or_else(|_| Self::locked(length)),
            None => Self::locked(length),
        }?;
        Ok(Self { start, bytes })
    }

    /// The content.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the pages are mapped for as long as `self` lives and were zeroed; Xen writes them only in a
        // `Call`, which borrows `self` mutably.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The content, to be changed.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The address of the buffer in this process: the start of a page.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    fn device() -> Option<&'static File> {
        static DEVICE: OnceLock<Option<File>> = OnceLock::new();
        DEVICE
            .get_or_init(|| OpenOptions::new().read(true).write(true).open("/dev/xen/hypercall").ok())
            .as_ref()
    }

    fn of_device(device: &File, length: NonZeroUsize) -> nix::Result<NonNull<u8>> {
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        unsafe { mmap(None, length, rights, MapFlags::MAP_SHARED, device, 0) }.map(NonNull::cast)
    }

    fn locked(length: NonZeroUsize) -> nix::Result<NonNull<u8>> {
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // MAP_LOCKED also touches the pages, MAP_POPULATE says so where it could not.
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_LOCKED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { mmap_anonymous(None, length, rights, flags) }?;
        // SAFETY: the range is the mapping just made; the advice only keeps it out of child processes.
        let advised = unsafe { madvise(start, length.get(), MmapAdvise::MADV_DONTFORK) };
        if let Err(errno) = advised {
            // SAFETY: made above, and nothing refers to it.
            unsafe { munmap(start, length.get()) }?;
            return Err(errno);
        }
        Ok(start.cast())
    }
}

impl Drop for HypercallBuffer {
    fn drop(&mut self) {
        let length = whole_pages(self.bytes).expect("it was mapped");
        // SAFETY: `new` mapped this range, and no reference to it is left.
        let unmapped = unsafe { munmap(self.start.cast(), length.get()) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}

fn whole_pages(bytes: usize) -> io::Result<NonZeroUsize> {
    let length = bytes.max(1).checked_next_multiple_of(PAGE_SIZE).and_then(NonZeroUsize::new);
    length.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_whole_and_begins_a_page() {
        let mut buffer = HypercallBuffer::new(PAGE_SIZE + 1).unwrap();
        assert_eq!(buffer.as_bytes().len(), PAGE_SIZE + 1);
        assert!(buffer.as_bytes().iter().all(|byte| *byte == 0));
        assert!(buffer.address().is_multiple_of(PAGE_SIZE as u64));
        buffer.as_bytes_mut()[PAGE_SIZE] = 7;
        assert_eq!(buffer.as_bytes()[PAGE_SIZE], 7);
        assert!(HypercallBuffer::new(usize::MAX).is_err());
        assert!(HypercallBuffer::new(0).unwrap().as_bytes().is_empty());
    }

    #[test]
    fn addresses_are_written_where_they_belong() {
        let mut argument = HypercallBuffer::new(32).unwrap();
        let mut data = HypercallBuffer::new(64).unwrap();
        let (at_argument, at_data) = (argument.address(), data.address());
        let pointers = [Pointer { at: 8, to: 0, bytes: 24 }, Pointer { at: 16, to: 24, bytes: 40 }];
        let registers =
            [Register::Word(5), Register::Argument, Register::Data, Register::Word(0), Register::Word(0)];
        let mut call = Call::new(36, registers, &mut argument, Some(&mut data), &pointers);
        assert_eq!((call.op(), call.word(0), call.word(1)), (36, Some(5), None));
        assert_eq!(call.registers(), [5, at_argument, at_data, 0, 0]);
        let expected: Vec<u8> =
            [0, at_data, at_data + 24, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(call.argument(), expected);
    }

    #[test]
    #[should_panic(expected = "Xen stays within the data")]
    fn counts_beyond_a_buffer_are_a_bug() {
        let mut argument = HypercallBuffer::new(32).unwrap();
        let mut data = HypercallBuffer::new(64).unwrap();
        let pointers = [Pointer { at: 8, to: 24, bytes: 41 }];
        Call::new(36, [Register::Word(0); 5], &mut argument, Some(&mut data), &pointers);
    }
}
