//! A PV guest without a log, with eight pfns on a simulated hypervisor: what comparing finds.
//!
//! ```text
//!   frame 50 shared info ─► 51 ─► 52 ─► 53: P2M leaf, pfn i is frame 100 + i        60: M2P, frame 100 + i is pfn i
//! ```

use super::*;
use crate::abi::domctl::{self, DomainFlags};
use crate::abi::memory;
use crate::simulated::{Asked, Simulated, payload, set_payload, suspended_flags};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const PFNS: u64 = 8;
const FIRST_FRAME: u64 = 100;
const SHARED_INFO: u64 = 50;
const P2M_LEAF: u64 = 53;
const M2P: u64 = 60;
const ACCESSED: u64 = 1 << 5;
const NOTHING: [u64; 0] = [];

/// A toolstack whose guest is always suspended.
struct Still;

impl Toolstack for Still {
    fn suspend(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn log_device_model(&mut self, _on: bool) -> Result<(), DomainError> {
        Ok(())
    }

    fn save_device_model(&mut self, _out: &mut Vec<u8>) -> Result<(), DomainError> {
        Ok(())
    }
}

struct Guest {
    hypervisor: Arc<Simulated>,
    types: Arc<Mutex<HashMap<u64, u64>>>,
    source: XenSource<Still>,
}

impl Guest {
    fn new() -> Self {
        let hypervisor = Simulated::new();
        let types = Arc::new(Mutex::new(HashMap::new()));
        answer(&hypervisor, types.clone());
        set_words(&hypervisor, SHARED_INFO, &[(3088 / 8, PFNS), (3096 / 8, 51)]);
        set_words(&hypervisor, 51, &[(0, 52)]);
        set_words(&hypervisor, 52, &[(0, P2M_LEAF)]);
        let mut guest = Self { source: Self::open(&hypervisor), hypervisor, types };
        (0..PFNS).for_each(|pfn| guest.put(pfn, Some(FIRST_FRAME + pfn)));
        guest.source = Self::open(&guest.hypervisor);
        guest.source.begin_log_dirty().unwrap();
        guest
    }

    fn open(hypervisor: &Arc<Simulated>) -> XenSource<Still> {
        let source = XenSource::open(Xen::over(hypervisor.clone()).unwrap(), DomId(1), Still).unwrap();
        source.comparing(1 << 20, 1).unwrap()
    }

    /// Gives a pfn a frame, in both tables, or takes it away.
    fn put(&self, pfn: u64, frame: Option<u64>) {
        set_words(&self.hypervisor, P2M_LEAF, &[(pfn as usize, frame.unwrap_or(u64::MAX))]);
        if let Some(frame) = frame {
            set_words(&self.hypervisor, M2P, &[(frame as usize, pfn)]);
        }
    }

    fn set_type(&self, frame: u64, nibble: u64) {
        self.types.lock().unwrap().insert(frame, nibble);
    }

    fn changed(&mut self) -> Vec<u64> {
        let mut into = DirtyBitmap::new(PFNS);
        self.source.suspend().unwrap();
        self.source.drain_dirty(&mut into).unwrap();
        into.runs(Pfn(0)).flatten().collect()
    }

    /// Copies what has changed, as a pause does.
    fn copy(&mut self) -> Staging {
        let mut wanted = DirtyBitmap::new(PFNS);
        self.changed().into_iter().for_each(|pfn| wanted.set(Pfn(pfn)));
        let mut staging = Staging::new(PFNS as usize);
        assert_eq!(self.source.copy_pages(&wanted, Pfn(0), &mut staging, 1).unwrap(), None);
        staging
    }
}

fn set_words(hypervisor: &Simulated, frame: u64, words: &[(usize, u64)]) {
    let mut page = hypervisor.read_frame(frame);
    for (index, word) in words {
        page[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    hypervisor.write_frame(frame, &page);
}

fn answer(hypervisor: &Simulated, types: Arc<Mutex<HashMap<u64, u64>>>) {
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.tot_pages, info.shared_info_frame) = (1, PFNS, SHARED_INFO);
        info.flags = suspended_flags();
        set_payload(call, &info);
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_ADDRESS_SIZE), |call| {
        set_payload(call, &domctl::AddressSize { size: 64 });
        Ok(0)
    });
    hypervisor.answer(Asked::Domctl(domctl::GET_PAGE_FRAME_INFO), move |call| {
        let count = payload::<domctl::PageFrameInfo>(call).num as usize;
        for frame in &mut <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[..count] {
            *frame = types.lock().unwrap().get(frame).copied().unwrap_or(0) << 28;
        }
        Ok(0)
    });
    hypervisor.answer(Asked::Memory(memory::MAXIMUM_RAM_PAGE), |_| Ok(511));
    hypervisor.answer(Asked::Memory(memory::MACHPHYS_MFN_LIST), |call| {
        let (mut list, _) = memory::MachphysList::read_from_prefix(call.argument()).unwrap();
        list.nr_extents = 1;
        <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap()[0] = M2P;
        list.write_to_prefix(call.argument()).unwrap();
        Ok(0)
    });
}

#[test]
fn what_was_written_since_it_was_copied_is_found_and_xen_is_asked_for_no_log() {
    let mut guest = Guest::new();
    assert_eq!(guest.copy().entries().len(), PFNS as usize);
    assert_eq!(guest.changed(), NOTHING);
    guest.hypervisor.write_frame(FIRST_FRAME + 3, &[7; PAGE_SIZE]);
    assert_eq!(guest.changed(), [3]);
    assert_eq!(guest.changed(), [3], "until it is copied");
    assert_eq!(guest.copy().pages(), [[7; PAGE_SIZE]]);
    assert_eq!(guest.changed(), NOTHING);
    guest.source.end_log_dirty().unwrap();
    assert!(!guest.hypervisor.asked().contains(&Asked::Domctl(domctl::SHADOW_OP)));
}

#[test]
fn a_page_table_changes_by_what_would_be_sent_of_it() {
    let mut guest = Guest::new();
    let table = FIRST_FRAME + 2;
    guest.set_type(table, 1);
    set_words(&guest.hypervisor, table, &[(0, 105 << 12 | 1)]);
    guest.hypervisor.write_frame(105, &[5; PAGE_SIZE]);
    let _ = guest.copy();

    // The page behind pfn 5 moves to another frame, and the entry with it: nothing that is sent is different.
    guest.hypervisor.write_frame(110, &[5; PAGE_SIZE]);
    guest.put(5, Some(110));
    set_words(&guest.hypervisor, table, &[(0, 110 << 12 | 1)]);
    assert_eq!(guest.changed(), NOTHING);

    // The frame under the entry becomes that of another pfn: the table's bytes are the same, what is sent is not.
    guest.put(5, Some(106));
    guest.put(6, Some(110));
    assert_eq!(guest.changed(), [2, 5, 6]);
    let staging = guest.copy();
    assert_eq!(staging.pages()[0][..8], (6u64 << 12 | 1).to_le_bytes());
    assert_eq!(guest.changed(), NOTHING);

    // A processor sets bits in it.
    set_words(&guest.hypervisor, table, &[(0, 110 << 12 | ACCESSED | 1)]);
    assert_eq!(guest.copy().pages()[0][..8], (6u64 << 12 | ACCESSED | 1).to_le_bytes());

    // The guest pins it.
    guest.set_type(table, 9);
    assert_eq!(guest.copy().entries(), [PageEntry::new(Pfn(2), PageType::Table { level: 1, pinned: true })]);
    assert_eq!(guest.changed(), NOTHING);
}

#[test]
fn pages_that_go_and_pages_that_come_are_found() {
    let mut guest = Guest::new();
    let _ = guest.copy();
    guest.put(4, None);
    assert_eq!(guest.copy().entries(), [PageEntry::new(Pfn(4), PageType::Absent)]);
    assert_eq!(guest.changed(), NOTHING);
    guest.hypervisor.write_frame(120, &[4; PAGE_SIZE]);
    guest.put(4, Some(120));
    let staging = guest.copy();
    assert_eq!(
        (staging.entries(), staging.pages()),
        (&[PageEntry::new(Pfn(4), PageType::Normal)][..], &[[4; PAGE_SIZE]][..])
    );
    assert_eq!(guest.changed(), NOTHING);
}

#[test]
fn a_table_that_cannot_be_sent_is_told_of_when_it_is_copied() {
    let mut guest = Guest::new();
    let _ = guest.copy();
    guest.set_type(FIRST_FRAME + 2, 1);
    set_words(&guest.hypervisor, FIRST_FRAME + 2, &[(0, 300 << 12 | 1)]);
    assert_eq!(guest.changed(), [2]);
    let mut wanted = DirtyBitmap::new(PFNS);
    wanted.set(Pfn(2));
    let error = guest.source.copy_pages(&wanted, Pfn(0), &mut Staging::new(1), 1).unwrap_err();
    assert!(error.to_string().contains("not the guest's own"), "{error}");
}

#[test]
fn a_new_beginning_has_everything_changed() {
    let mut guest = Guest::new();
    let _ = guest.copy();
    guest.source.begin_log_dirty().unwrap();
    assert_eq!(guest.changed(), (0..PFNS).collect::<Vec<_>>());
    assert_eq!(guest.source.compared_bytes(), PFNS * PAGE_SIZE as u64);
}

#[test]
fn a_guest_of_which_xen_has_a_log_is_not_compared() {
    let guest = Guest::new();
    guest.hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.flags) = (1, DomainFlags::HVM);
        set_payload(call, &info);
        Ok(0)
    });
    guest.hypervisor.answer(Asked::Memory(memory::MAXIMUM_GPFN), |_| Ok(7));
    let source = XenSource::open(Xen::over(guest.hypervisor.clone()).unwrap(), DomId(1), Still).unwrap();
    assert_eq!(source.comparing(1 << 20, 1).err(), Some(CompareError::NotPv { domain: DomId(1) }));
}
