//! [`Mapping`]: frames of a domain, mapped into this process.
//!
//! ```text
//!   Mapping  │ piece 0 (≥ 1024 frames) │ piece 1 │ … │     one address range, reserved as a whole
//!            └─ one mapping of the kernel each, with a lock, its frames and their errors
//! ```
//!
//! A mapping lives as long as the guest is protected. Meanwhile the guest may give pages back and get others: the old
//! frame stays mapped, and its place must be [`remap`](Mapping::remap)ped. The kernel's driver maps into holes that an
//! earlier attempt left, but never over a mapped frame; that takes a fresh mapping (`mmap` with `MAP_FIXED`). Replacing
//! only a part of a mapping does not work either: the driver keeps one record for each mapping (on a PVH dom0 the pages
//! that it took) and releases the record when the mapping closes, and a mapping that is split releases it twice. Hence
//! pieces. A piece is replaced as a whole, with the frames that it has and the new ones. Its pages are unmapped
//! meanwhile, so copiers wait: each piece has a lock.
//!
//! Guest memory changes while it is read. The copy is therefore written in assembly, about which the compiler assumes
//! nothing, and no reference to the memory of a running guest is ever made.
//!
//! Not here: which frames a domain has, and when they change ([`domain`](crate::domain)).

#![allow(unsafe_code)]

mod copy;

use crate::hypervisor::{Access, ForeignMemory};
use crate::{DomId, GfnSlot, XenError};
use copy::copy;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use understudy_checkpoint::{PAGE_SIZE, Page};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("understudy-xen knows Xen's x86-64 interface only");

/// Fewest frames in a piece. Replacing this many takes a few tenths of a millisecond.
const PIECE_FRAMES_MIN: usize = 1024;
/// Most pieces of a mapping: the kernel allows a process 65 530 mappings of all kinds.
const PIECES_MAX: usize = 4096;

/// A frame that is paged out maps once its pager has read it. Mapping is tried so often, with a pause in between (stock
/// Xen's library pauses as long, and tries for ever).
const PAGED_TRIES_MAX: usize = 10_000;
const PAGED_WAIT: Duration = Duration::from_micros(100);

/// Frames of a domain, mapped into this process. Dropping it unmaps them.
///
/// Several threads may copy from it at the same time. Mapped frames are kept from being freed, so a destroyed
/// domain lingers (`xl list`: `d`) until its mappings are gone.
pub struct Mapping {
    domain: DomId,
    access: Access,
    memory: Arc<dyn ForeignMemory>,
    start: NonNull<Page>,
    len: usize,
    piece_frames: usize,
    pieces: Box<[RwLock<Piece>]>,
}

struct Piece {
    frames: Box<[GfnSlot]>,
    /// The errno of each frame; 0: mapped.
    errors: Box<[u8]>,
}

// SAFETY: the range belongs to the mapping and to no thread.
unsafe impl Send for Mapping {}
// SAFETY: what `&self` changes is under the pieces' locks; guest memory itself is only copied, by means that
// allow for others writing it.
unsafe impl Sync for Mapping {}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping({} frames of domain {}, {:?})", self.len, self.domain, self.access)
    }
}

#[expect(clippy::len_without_is_empty, reason = "an empty mapping is of no use to ask for")]
impl Mapping {
    /// Maps `frames` of `domain`. [`error`](Self::error) tells which did not map.
    pub(crate) fn new(
        memory: Arc<dyn ForeignMemory>,
        domain: DomId,
        frames: &[GfnSlot],
        access: Access,
    ) -> Result<Self, XenError> {
        let mapping = Self::reserve(memory, domain, frames, access)?;
        for (index, piece) in mapping.pieces.iter().enumerate() {
            let mut piece = piece.write().unwrap_or_else(PoisonError::into_inner);
            mapping.replace_piece(index, &mut piece)?;
        }
        Ok(mapping)
    }

    /// Maps the first `frames` frames of the domain's grant table, writable.
    pub(crate) fn grant_table(
        memory: Arc<dyn ForeignMemory>,
        domain: DomId,
        frames: usize,
    ) -> Result<Self, XenError> {
        let mapping = Self::reserve(memory, domain, &vec![GfnSlot::EMPTY; frames], Access::ReadWrite)?;
        // SAFETY: that many pages, reserved just now and known to nobody else.
        let mapped = unsafe { mapping.memory.grant_table(mapping.start, frames) };
        mapped.map_err(|errno| XenError::Hypercall {
            what: "Mapping the grant table",
            domain: Some(domain),
            errno,
        })?;
        Ok(mapping)
    }

    /// Reserves the address range and its pieces. Nothing is mapped yet.
    fn reserve(
        memory: Arc<dyn ForeignMemory>,
        domain: DomId,
        frames: &[GfnSlot],
        access: Access,
    ) -> Result<Self, XenError> {
        let start = match NonZeroUsize::new(frames.len() * PAGE_SIZE) {
            None => NonNull::dangling(),
            Some(length) => {
                let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
                // SAFETY: a new mapping, at an address that the kernel chooses.
                unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }
                    .map_err(|errno| XenError::Map { domain, frame: frames[0], errno })?
                    .cast()
            }
        };
        let piece_frames = frames.len().div_ceil(PIECES_MAX).max(PIECE_FRAMES_MIN);
        let piece = |frames: &[GfnSlot]| {
            RwLock::new(Piece { frames: frames.into(), errors: vec![0; frames.len()].into_boxed_slice() })
        };
        let pieces = frames.chunks(piece_frames).map(piece).collect();
        Ok(Self { domain, access, memory, start, len: frames.len(), piece_frames, pieces })
    }

    /// The number of frames, including those that did not map.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The errno (positive) of a frame that did not map; `None` if it is mapped.
    pub fn error(&self, index: usize) -> Option<i32> {
        let (piece, within) = self.piece(index);
        Some(i32::from(piece.errors[within])).filter(|errno| *errno != 0)
    }

    /// The address of a frame; `None` if it did not map.
    ///
    /// The address is valid until the mapping is dropped or the place remapped. The guest may write there at any time,
    /// so read it as volatile memory and never through a reference.
    pub fn page(&self, index: usize) -> Option<*const Page> {
        self.error(index).is_none().then(|| self.address(index).as_ptr().cast_const())
    }

    /// A frame of a domain that does not run; `None` if it did not map.
    ///
    /// # Safety
    /// While the reference lives nobody may write to the frame: the domain has never run, no backend has mapped the
    /// frame, and neither [`write`](Self::write) nor [`remap`](Self::remap) is called for it.
    pub(crate) unsafe fn still_page(&self, index: usize) -> Option<&Page> {
        // SAFETY: the frame is mapped and stays so as long as `self` does; the caller keeps writers away.
        self.error(index).is_none().then(|| unsafe { self.address(index).as_ref() })
    }

    /// Copies a frame; `false` if it did not map. What the guest writes meanwhile may be seen in part.
    pub fn copy_page(&self, index: usize, into: &mut Page) -> bool {
        let (piece, within) = self.piece(index);
        if piece.errors[within] != 0 {
            return false;
        }
        // SAFETY: the frame is mapped, readable, and stays while the piece is locked; `into` is ours.
        unsafe { copy(self.address(index).as_ptr().cast(), into.as_mut_ptr(), PAGE_SIZE) };
        true
    }

    /// Overwrites a frame; `false` if it did not map, or if the mapping is read-only.
    pub fn write_page(&self, index: usize, from: &Page) -> bool {
        self.write(index, 0, from)
    }

    /// Overwrites a part of a frame; `false` as for [`write_page`](Self::write_page).
    ///
    /// Panics if the part does not lie within a page.
    pub fn write(&self, index: usize, offset: usize, from: &[u8]) -> bool {
        assert!(offset <= PAGE_SIZE && from.len() <= PAGE_SIZE - offset, "a part of one page");
        let (piece, within) = self.piece(index);
        if piece.errors[within] != 0 || self.access != Access::ReadWrite {
            return false;
        }
        // SAFETY: the frame is mapped, writable, and stays while the piece is locked; the part lies in it. No
        // reference to it exists anywhere, so others that write at the same time only mix their bytes with ours.
        unsafe { copy(from.as_ptr(), self.address(index).as_ptr().cast::<u8>().add(offset), from.len()) };
        true
    }

    /// Maps `frames` over the consecutive places from `index` on: [`remap_each`](Self::remap_each) for a run.
    pub fn remap(&self, index: usize, frames: &[GfnSlot]) -> Result<(), XenError> {
        let changes: Vec<(usize, GfnSlot)> = (index..).zip(frames.iter().copied()).collect();
        self.remap_each(&changes)
    }

    /// Maps a frame over each of the given places (index, frame). Addresses stay the same; [`error`](Self::error) tells
    /// which frames did not map. Cheapest with ascending places, and far cheaper than one call for each place.
    ///
    /// Holes are filled where they are. To replace a mapped frame, its whole piece is remapped, once for all changes in
    /// it; copiers of that piece wait. After an error the pieces that were not reached keep what they had, and the one
    /// that failed has nothing mapped.
    pub fn remap_each(&self, changes: &[(usize, GfnSlot)]) -> Result<(), XenError> {
        for changes in changes.chunk_by(|one, next| one.0 / self.piece_frames == next.0 / self.piece_frames) {
            assert!(changes.iter().all(|(index, _)| *index < self.len), "places of this mapping");
            let number = changes[0].0 / self.piece_frames;
            let mut piece = self.pieces[number].write().unwrap_or_else(PoisonError::into_inner);
            for (index, frame) in changes {
                piece.frames[index % self.piece_frames] = *frame;
            }
            if !self.fill_holes(&mut piece, changes) {
                self.replace_piece(number, &mut piece)?;
            }
        }
        Ok(())
    }

    /// The number of frames that [`renew`](Self::renew) remaps at once.
    pub(crate) fn piece_frames(&self) -> usize {
        self.piece_frames
    }

    /// Remaps the piece that contains `index`, with the frames that it has: another page may be behind a gfn by now.
    /// Addresses, frames that do not map and errors are as for [`remap_each`](Self::remap_each).
    pub(crate) fn renew(&self, index: usize) -> Result<(), XenError> {
        assert!(index < self.len, "a place of this mapping");
        let number = index / self.piece_frames;
        let mut piece = self.pieces[number].write().unwrap_or_else(PoisonError::into_inner);
        self.replace_piece(number, &mut piece)
    }

    /// Maps the changed frames of a locked piece into holes; `false` if they are not holes, or if the kernel cannot.
    fn fill_holes(&self, piece: &mut Piece, changes: &[(usize, GfnSlot)]) -> bool {
        if changes.iter().any(|(index, _)| piece.errors[index % self.piece_frames] == 0) {
            return false;
        }
        changes.chunk_by(|one, next| one.0 + 1 == next.0).all(|run| {
            let (index, within) = (run[0].0, run[0].0 % self.piece_frames);
            let frames = &piece.frames[within..within + run.len()];
            let errors = &mut piece.errors[within..within + run.len()];
            // SAFETY: the places are of one piece, which is locked, and nothing was mapped there.
            let filled = unsafe { self.memory.fill(self.address(index), frames, errors) };
            // A frame that is paged out is waited for by `replace_piece`.
            filled.is_ok() && !errors.contains(&(Errno::ENOENT as u8))
        })
    }

    /// Remaps all frames of a locked piece, and waits for those that are paged out.
    fn replace_piece(&self, number: usize, piece: &mut Piece) -> Result<(), XenError> {
        let at = self.address(number * self.piece_frames);
        for attempt in 0.. {
            // SAFETY: the range is that of one piece, which is locked; it is only ever replaced whole.
            let mapped = unsafe { self.memory.replace(at, &piece.frames, self.access, &mut piece.errors) };
            if let Err(errno) = mapped {
                piece.errors.fill(errno as u8);
                return Err(XenError::Map { domain: self.domain, frame: piece.frames[0], errno });
            }
            if attempt == PAGED_TRIES_MAX || !piece.errors.contains(&(Errno::ENOENT as u8)) {
                break;
            }
            std::thread::sleep(PAGED_WAIT);
        }
        Ok(())
    }

    /// The first frame that did not map, with its errno.
    pub(crate) fn first_error(&self) -> Option<(GfnSlot, Errno)> {
        self.pieces.iter().find_map(|piece| {
            let piece = piece.read().unwrap_or_else(PoisonError::into_inner);
            let at = piece.errors.iter().position(|error| *error != 0)?;
            Some((piece.frames[at], Errno::from_raw(i32::from(piece.errors[at]))))
        })
    }

    fn piece(&self, index: usize) -> (RwLockReadGuard<'_, Piece>, usize) {
        assert!(index < self.len, "a place of this mapping");
        let piece = self.pieces[index / self.piece_frames].read().unwrap_or_else(PoisonError::into_inner);
        (piece, index % self.piece_frames)
    }

    /// The address at which the frame `index` is, or would be, mapped.
    fn address(&self, index: usize) -> NonNull<Page> {
        debug_assert!(index < self.len);
        // SAFETY: the range has `len` pages.
        unsafe { self.start.add(index) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the range was reserved by `reserve`, and no address of it is used after the mapping.
            let unmapped = unsafe { munmap(self.start.cast(), self.len * PAGE_SIZE) };
            debug_assert!(unmapped.is_ok(), "a whole range can be unmapped");
        }
    }
}

#[cfg(test)]
mod tests;
