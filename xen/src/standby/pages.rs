//! The memory of a standby domain as the image of a guest: pages as the stream has them, by pfn.
//!
//! ```text
//!   types     the type of each pfn; a page is in the domain's memory, or, if it is a ring's, in `rings`
//!   unused    frames allocated as part of a superpage (2 MiB) for which the stream has no page: returned
//! ```
//!
//! A superpage is allocated as a whole if the guest has memory at its beginning: with small pages only, a guest would
//! be slower after each takeover.

#![allow(unsafe_code)]

use crate::restore::memory::{GuestMemory, MemoryError, SUPERPAGE_PFNS, Undone};
use crate::restore::{RestoreError, RingFrames};
use crate::{DomId, Xen};
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::{OutOfMemory, PAGE_SIZE, Page, PageEntry, PageType, Pfn, room};

/// Pfns that are populated at once.
const PIECE_PFNS: u64 = 4096;

/// Pfns of the rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RingPfns {
    pub(super) store: Pfn,
    pub(super) console: Pfn,
}

/// The content of a ring's page as the guest had it.
struct RingPage {
    pfn: Pfn,
    content: Box<Page>,
}

pub(super) struct StandbyPages {
    memory: GuestMemory,
    is_hvm: bool,
    /// The type of each pfn, as the nibble of [`PageType`]; one byte each.
    types: Vec<u8>,
    rings: Vec<RingPage>,
    /// Frames that are populated although the stream has nothing there.
    unused: u64,
}

impl StandbyPages {
    pub(super) fn new(xen: &Xen, domain: DomId, what: &Description) -> Result<Self, MemoryError> {
        let is_hvm = what.kind != GuestKind::Pv;
        let pfns = usize::try_from(what.page_count).map_err(|_| OutOfMemory)?;
        Ok(Self {
            memory: GuestMemory::new(xen.clone(), domain, is_hvm),
            is_hvm,
            types: room::filled(PageType::Absent.nibble(), pfns)?,
            rings: Vec::new(),
            unused: 0,
        })
    }

    /// The type of a pfn; absent beyond the guest's memory.
    pub(super) fn page_type(&self, pfn: Pfn) -> PageType {
        self.types.get(pfn.0 as usize).map_or(PageType::Absent, |nibble| of_nibble(*nibble))
    }

    /// The content of a pfn that holds a page.
    pub(super) fn page(&self, pfn: Pfn) -> Option<&Page> {
        if !self.page_type(pfn).has_data() {
            return None;
        }
        match self.rings.iter().find(|ring| ring.pfn == pfn) {
            Some(ring) => Some(&ring.content),
            None if self.memory.before(pfn).is_some() => self.memory.before(pfn),
            // SAFETY: the domain has never run, so nobody but backends of its rings writes to its memory, and those
            // frames were just ruled out; what writes here does so by `&mut self`.
            None => unsafe { self.memory.still_page(pfn) },
        }
    }

    /// All pfns that are not absent, ascending.
    pub(super) fn entries(&self) -> impl Iterator<Item = PageEntry> {
        let entry = |(nibble, pfn): (&u8, u64)| PageEntry::new(Pfn(pfn), of_nibble(*nibble));
        self.types.iter().zip(0..).map(entry).filter(|entry| entry.page_type() != PageType::Absent)
    }

    /// Populates memory for pages that will follow.
    pub(super) fn expect(&mut self, first: Pfn, count: u64) -> Result<(), MemoryError> {
        let end = (first.0 + count).min(self.types.len() as u64);
        let mut from = first.0;
        while from < end {
            let until = end.min((from / PIECE_PFNS + 1) * PIECE_PFNS);
            self.populate_piece(from, until)?;
            from = until;
        }
        Ok(())
    }

    /// Populates the pfns of one piece, and the rest of each superpage that begins in it.
    fn populate_piece(&mut self, from: u64, until: u64) -> Result<(), MemoryError> {
        let begun = |pfn: u64| pfn - pfn % SUPERPAGE_PFNS;
        let end = match begun(until - 1) {
            last if last >= from => last + SUPERPAGE_PFNS,
            _ => until,
        };
        let whole = self.is_hvm && end <= self.types.len() as u64;
        let end = if whole { end } else { until };
        match self.populate(from, end) {
            // What came in one piece and is not needed is in the way of what is.
            Err(MemoryError::NoMemory { .. }) => {
                self.release_unused()?;
                self.populate(from, until)
            }
            done => done,
        }
    }

    fn populate(&mut self, from: u64, until: u64) -> Result<(), MemoryError> {
        let missing: Vec<Pfn> =
            (from..until).map(Pfn).filter(|pfn| self.memory.frame(*pfn).is_none()).collect();
        let done = self.memory.populate(missing.iter().copied());
        // Where it failed some are there.
        let there = missing.iter().filter(|pfn| self.memory.frame(**pfn).is_some());
        self.unused += there.filter(|pfn| !is_used(self.page_type(**pfn))).count() as u64;
        done
    }

    /// Writes a page.
    pub(super) fn apply(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), RestoreError> {
        let (pfn, new) = (entry.pfn(), entry.page_type());
        if is_used(new) && self.memory.frame(pfn).is_none() {
            self.populate(pfn.0, pfn.0 + 1)?;
        }
        if self.memory.frame(pfn).is_some() {
            match (is_used(self.page_type(pfn)), is_used(new)) {
                (false, true) => self.unused -= 1,
                (true, false) => self.unused += 1,
                _ => {}
            }
        }
        self.types[pfn.0 as usize] = new.nibble();
        let Some(page) = page else { return Ok(()) };
        match self.rings.iter_mut().find(|ring| ring.pfn == pfn) {
            Some(ring) => *ring.content = *page,
            None => self.memory.write(pfn, page)?,
        }
        Ok(())
    }

    /// Returns frames to the host that hold no page of the stream.
    pub(super) fn release_unused(&mut self) -> Result<(), MemoryError> {
        if self.unused == 0 {
            return Ok(());
        }
        let is_unused = |pfn: &Pfn| {
            let is_ring = self.rings.iter().any(|ring| ring.pfn == *pfn);
            !is_used(self.page_type(*pfn)) && !is_ring
        };
        let pfns: Vec<Pfn> = self.memory.populated().map(|(pfn, _)| pfn).filter(is_unused).collect();
        self.memory.release(&pfns)?;
        self.unused = 0;
        Ok(())
    }

    /// Hands the frames of the rings to their backends, zeroed. The guest's own pages are kept here from now on.
    /// Returns the frames.
    pub(super) fn set_rings(&mut self, pfns: RingPfns) -> Result<RingFrames, RestoreError> {
        let frame = |what, pfn| match (self.page(pfn), self.memory.frame(pfn)) {
            (Some(content), Some(frame)) => Ok((Box::new(*content), frame)),
            _ => Err(RestoreError::BadFrame { what, pfn, why: "is not there" }),
        };
        let (store, store_frame) = frame("the xenstore ring", pfns.store)?;
        let (console, console_frame) = frame("the console ring", pfns.console)?;
        for pfn in [pfns.store, pfns.console] {
            self.memory.write(pfn, &[0; PAGE_SIZE])?;
        }
        self.rings = vec![
            RingPage { pfn: pfns.store, content: store },
            RingPage { pfn: pfns.console, content: console },
        ];
        Ok(RingFrames { store: store_frame, console: console_frame })
    }

    /// Lends the memory, which keeps a copy of what is overwritten from now on. Until it is [put back](Self::put_back)
    /// there are no pages here.
    pub(super) fn lend(&mut self, xen: &Xen, domain: DomId) -> GuestMemory {
        let none = GuestMemory::new(xen.clone(), domain, self.is_hvm);
        let mut memory = std::mem::replace(&mut self.memory, none);
        memory.begin_journal();
        memory
    }

    /// The memory, for reading. The rings' pages are not in it.
    pub(super) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Takes the memory back, whatever was done to it.
    pub(super) fn put_back(&mut self, memory: GuestMemory) {
        self.memory = memory;
    }

    /// Restores the pages to what they were when the memory was lent, as far as possible.
    pub(super) fn undo(&mut self) -> Undone {
        self.memory.undo()
    }

    /// Unmaps everything: frames that are mapped somewhere outlive their domain.
    pub(super) fn unmap(&mut self) {
        self.memory.unmap_all();
    }
}

fn is_used(kind: PageType) -> bool {
    kind.has_data() || kind == PageType::AllocateOnly
}

fn of_nibble(nibble: u8) -> PageType {
    PageType::from_nibble(nibble).expect("only nibbles of page types are stored")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gfn;
    use crate::abi::memory::{self, Reservation};
    use crate::simulated::{Asked, Simulated};
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use zerocopy::FromBytes;

    const DOMAIN: DomId = DomId(4);

    /// A host with `frames_max` frames for a PVH guest.
    fn host(frames_max: usize, page_count: u64) -> (Arc<Simulated>, Arc<Mutex<BTreeSet<u64>>>, StandbyPages) {
        let hypervisor = Simulated::new();
        let xen = Xen::over(hypervisor.clone()).unwrap();
        let given = Arc::new(Mutex::new(BTreeSet::new()));
        for (what, gives) in [(memory::POPULATE_PHYSMAP, true), (memory::DECREASE_RESERVATION, false)] {
            let given = given.clone();
            hypervisor.answer(Asked::Memory(what), move |call| {
                let asked = Reservation::read_from_prefix(call.argument()).unwrap().0;
                let (count, extent) = (asked.nr_extents as usize, 1u64 << asked.extent_order);
                let frames: &[u64] = <[u64]>::ref_from_bytes(call.data().unwrap()).unwrap();
                let mut given = given.lock().unwrap();
                for (done, first) in frames[..count].iter().enumerate() {
                    if gives && given.len() + extent as usize > frames_max {
                        return Ok(done as u64);
                    }
                    for frame in *first..*first + extent {
                        assert_ne!(given.contains(&frame), gives, "frame {frame} once");
                        if gives {
                            given.insert(frame)
                        } else {
                            given.remove(&frame)
                        };
                    }
                }
                Ok(asked.nr_extents)
            });
        }
        let what = Description {
            kind: GuestKind::Pvh,
            page_count,
            libxc_version: 3,
            xen_version: (4, 17),
            config: Vec::new(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        };
        (hypervisor, given, StandbyPages::new(&xen, DOMAIN, &what).unwrap())
    }

    fn put(pages: &mut StandbyPages, pfn: u64, value: u8) {
        pages.apply(PageEntry::new(Pfn(pfn), PageType::Normal), Some(&[value; PAGE_SIZE])).unwrap();
    }

    #[test]
    fn a_guest_that_no_host_can_hold_is_refused() {
        let xen = Xen::over(Simulated::new()).unwrap();
        let what = Description {
            kind: GuestKind::Pvh,
            page_count: u64::MAX,
            libxc_version: 3,
            xen_version: (4, 17),
            config: Vec::new(),
            static_records: Vec::new(),
            disks_bytes: Vec::new(),
        };
        assert!(matches!(StandbyPages::new(&xen, DOMAIN, &what), Err(MemoryError::NoRoom(_))));
    }

    #[test]
    fn a_superpage_is_had_whole_and_what_is_not_used_of_it_goes_back() {
        let (hypervisor, given, mut pages) = host(10_000, 2048);
        pages.expect(Pfn(512), 3).unwrap();
        assert_eq!(given.lock().unwrap().len(), 512);
        (512..515).for_each(|pfn| put(&mut pages, pfn, pfn as u8));
        assert_eq!(hypervisor.read_frame(513), [1; PAGE_SIZE]);
        assert_eq!(pages.page(Pfn(514)), Some(&[2; PAGE_SIZE]));
        assert_eq!(pages.page(Pfn(515)), None, "had, but nothing of the guest is there");
        pages.release_unused().unwrap();
        assert_eq!(*given.lock().unwrap(), BTreeSet::from([512, 513, 514]));
        assert_eq!(pages.entries().count(), 3);
        // A page that goes, and one that comes back.
        pages.apply(PageEntry::new(Pfn(513), PageType::Absent), None).unwrap();
        pages.release_unused().unwrap();
        put(&mut pages, 513, 9);
        assert_eq!(pages.page(Pfn(513)), Some(&[9; PAGE_SIZE]));
        assert_eq!(given.lock().unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_used_makes_room_and_too_little_memory_is_told() {
        let (_port, given, mut pages) = host(520, 2048);
        pages.expect(Pfn(0), 2).unwrap();
        (0..2).for_each(|pfn| put(&mut pages, pfn, 1));
        pages.expect(Pfn(600), 100).unwrap();
        (600..700).for_each(|pfn| put(&mut pages, pfn, 2));
        assert_eq!(given.lock().unwrap().len(), 102, "510 unused frames went back");
        let refused = pages.expect(Pfn(1100), 600);
        assert!(matches!(refused, Err(MemoryError::NoMemory { .. })), "{refused:?}");
    }

    #[test]
    fn what_the_guest_had_in_its_rings_is_kept_beside_them() {
        let (hypervisor, _given, mut pages) = host(10_000, 2048);
        (10..12).for_each(|pfn| put(&mut pages, pfn, 7));
        let frames = pages.set_rings(RingPfns { store: Pfn(10), console: Pfn(11) }).unwrap();
        assert_eq!((frames.store, frames.console), (Gfn(10), Gfn(11)));
        hypervisor.write_frame(10, &[0x55; PAGE_SIZE]);
        put(&mut pages, 10, 8);
        assert_eq!(pages.page(Pfn(10)), Some(&[8; PAGE_SIZE]), "what deltas are made against");
        assert_eq!(hypervisor.read_frame(10), [0x55; PAGE_SIZE], "xenstored's");
        assert_eq!(hypervisor.read_frame(11), [0; PAGE_SIZE]);
        let nowhere = pages.set_rings(RingPfns { store: Pfn(100), console: Pfn(11) });
        assert!(matches!(nowhere, Err(RestoreError::BadFrame { .. })));
    }
}
