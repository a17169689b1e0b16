//! A PV guest's standby domain on a simulated hypervisor: whichever step of a takeover fails, the image survives.

use super::super::tests::completed;
use super::*;
use crate::Xen;
use crate::abi::domctl::{self, DomainFlags};
use crate::abi::memory;
use crate::simulated::{Asked, Simulated, set_payload};
use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainState, GuestKind};
use understudy_checkpoint::stream::libxc::{GuestWidth, P2mFrames, Record, Vcpu, VcpuPart};
use understudy_checkpoint::stream::write_restore_file;
use understudy_checkpoint::{PAGE_SIZE, Page, PageEntry, PageType, Pfn};
use zerocopy::{FromBytes, FromZeros};

const PFNS: u64 = 16;
/// The machine frame of pfn 0.
const FIRST_FRAME: u64 = 1000;
const SHARED_INFO: u64 = 900;

const START_INFO: u64 = 2;
const P2M: u64 = 3;
const STORE: u64 = 4;
const CONSOLE: u64 = 5;
const TOP: u64 = 6;
const LEAF: u64 = 7;

fn words(words: &[(usize, u64)]) -> Page {
    let mut page = [0; PAGE_SIZE];
    for (offset, word) in words {
        page[*offset..*offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    page
}

fn kind(pfn: u64) -> PageType {
    match pfn {
        TOP => PageType::Table { level: 4, pinned: true },
        LEAF => PageType::Table { level: 1, pinned: false },
        _ => PageType::Normal,
    }
}

/// The stream's content of a pfn.
fn content(pfn: u64) -> Page {
    match pfn {
        START_INFO => words(&[(56, STORE), (72, CONSOLE)]),
        TOP => words(&[(0, LEAF << 12 | 1)]),
        LEAF => words(&[(0, 8 << 12 | 1), (8, 9 << 12 | 3)]),
        _ => [pfn as u8; PAGE_SIZE],
    }
}

fn answer(hypervisor: &Simulated) {
    hypervisor.answer(Asked::Domctl(domctl::GET_DOMAIN_INFO), |call| {
        let mut info = domctl::DomainInfo::new_zeroed();
        (info.domain, info.flags, info.handle) = (4, DomainFlags::PAUSED, [7; 16]);
        info.shared_info_frame = SHARED_INFO;
        set_payload(call, &info);
        Ok(0)
    });
    hypervisor.answer(Asked::Memory(memory::POPULATE_PHYSMAP), |call| {
        let asked = memory::Reservation::read_from_prefix(call.argument()).unwrap().0;
        let frames = <[u64]>::mut_from_bytes(call.data().unwrap()).unwrap();
        frames[..asked.nr_extents as usize].iter_mut().for_each(|frame| *frame += FIRST_FRAME);
        Ok(asked.nr_extents)
    });
    hypervisor.answer(Asked::Domctl(domctl::SET_VCPU_CONTEXT), |_| Ok(0));
    hypervisor.answer(Asked::Mmu, |_| Ok(0));
}

fn description() -> Description {
    let mut static_records = Vec::new();
    Record::PvInfo(GuestWidth::Bits64).write(&mut static_records);
    let frames = [P2M.into()];
    let p2m = P2mFrames { start: 0, end: PFNS as u32 - 1, frames: &frames };
    Record::P2mFrames(p2m).write(&mut static_records);
    Description {
        kind: GuestKind::Pv,
        page_count: PFNS,
        libxc_version: 3,
        xen_version: (4, 17),
        config: Vec::new(),
        static_records,
        disks_bytes: Vec::new(),
    }
}

fn state() -> DomainState {
    let mut context = vec![0; GuestWidth::Bits64.vcpu_basic_bytes()];
    crate::domain::pv::vcpu::set_word(&mut context, crate::domain::pv::vcpu::RDX, START_INFO);
    crate::domain::pv::vcpu::set_word(&mut context, crate::domain::pv::vcpu::CR3, TOP << 12);
    let mut state = DomainState::default();
    Record::SharedInfo(&[3; PAGE_SIZE]).write(&mut state.libxc);
    let vcpu = Vcpu { vcpu_id: 0, part: VcpuPart::Basic, blob: &context };
    Record::Vcpu(vcpu).write(&mut state.libxc);
    state
}

fn standby() -> (Arc<Simulated>, ManuallyDrop<Standby>) {
    let hypervisor = Simulated::new();
    answer(&hypervisor);
    let xen = Xen::over(hypervisor.clone()).unwrap();
    let mut standby = completed(xen, description(), state());
    // Nothing is at pfn 0.
    for pfn in 1..PFNS {
        standby.pages.apply(PageEntry::new(Pfn(pfn), kind(pfn)), Some(&content(pfn))).unwrap();
    }
    (hypervisor, standby)
}

#[track_caller]
fn assert_image(standby: &Standby) {
    let image = standby.to_image().expect("the image is there");
    for pfn in 1..PFNS {
        assert_eq!(image.page(Pfn(pfn)), Some(&content(pfn)), "pfn {pfn}");
        let entry = image.entries().find(|entry| entry.pfn() == Pfn(pfn)).unwrap();
        assert_eq!(entry.page_type(), kind(pfn));
    }
    assert_eq!((image.page(Pfn(0)), image.state()), (None, &state()));
    let file = |from: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut out = Vec::new();
        from(&mut out).unwrap();
        out
    };
    let what = description();
    let written = file(&|out| write_restore_file(out, &what, standby));
    assert_eq!(
        written,
        file(&|out| write_restore_file(out, &what, &image)),
        "without a copy of it in memory"
    );
}

/// The domain has become the guest: its tables name frames.
fn assert_given(hypervisor: &Simulated) {
    assert_eq!(hypervisor.read_frame(FIRST_FRAME + TOP), words(&[(0, (FIRST_FRAME + LEAF) << 12 | 1)]));
    let leaf = words(&[(0, (FIRST_FRAME + 8) << 12 | 1), (8, (FIRST_FRAME + 9) << 12 | 3)]);
    assert_eq!(hypervisor.read_frame(FIRST_FRAME + LEAF), leaf);
    assert_eq!(hypervisor.read_frame(FIRST_FRAME + P2M)[16..24], (FIRST_FRAME + 2).to_le_bytes());
}

#[test]
fn a_pv_guest_s_domain_is_given_its_state() {
    let (hypervisor, mut standby) = standby();
    assert_image(&standby);
    standby.give_pv_state().unwrap();
    assert_given(&hypervisor);
}

#[test]
fn what_fails_before_xen_has_anything_is_done_again_and_nothing_is_translated_twice() {
    let (hypervisor, mut standby) = standby();
    // The tables are translated by then, and shared info cannot be mapped.
    hypervisor.break_frame(SHARED_INFO, Errno::ENOMEM);
    let mender = hypervisor.clone();
    let mend = std::thread::spawn(move || {
        sleep(RETRY / 2);
        mender.mend_frame(SHARED_INFO);
    });
    standby.give_pv_state().unwrap();
    mend.join().unwrap();
    assert_given(&hypervisor);
}

#[test]
fn what_fails_for_good_before_xen_has_anything_leaves_the_image_in_place() {
    let (hypervisor, mut standby) = standby();
    hypervisor.break_frame(SHARED_INFO, Errno::EINVAL);
    standby.give_pv_state().unwrap_err();
    assert_image(&standby);
    assert_eq!(hypervisor.read_frame(FIRST_FRAME + LEAF), content(LEAF), "in the domain itself");
}

#[test]
fn what_fails_when_the_domain_has_its_frames_leaves_the_image_readable() {
    for step in [Asked::Domctl(domctl::SET_VCPU_CONTEXT), Asked::Mmu] {
        let (hypervisor, mut standby) = standby();
        hypervisor.fail(step, &[Errno::EINVAL]);
        standby.give_pv_state().unwrap_err();
        assert_image(&standby);
        let leaf = hypervisor.read_frame(FIRST_FRAME + LEAF);
        assert_ne!(leaf, content(LEAF), "{step:?}: perhaps a page table by now, nobody writes there");
    }
}

#[test]
fn state_that_names_what_is_not_there_leaves_the_image() {
    let (_port, mut standby) = standby();
    standby.state.libxc.clear();
    standby.give_pv_state().unwrap_err();
    let image = standby.to_image().unwrap();
    assert_eq!(image.page(Pfn(LEAF)), Some(&content(LEAF)));
}

/// The state of a guest whose first vCPU has these words.
fn state_with(changes: &[(usize, u64)]) -> DomainState {
    let mut context = vec![0; GuestWidth::Bits64.vcpu_basic_bytes()];
    crate::domain::pv::vcpu::set_word(&mut context, crate::domain::pv::vcpu::RDX, START_INFO);
    crate::domain::pv::vcpu::set_word(&mut context, crate::domain::pv::vcpu::CR3, TOP << 12);
    for (offset, word) in changes {
        crate::domain::pv::vcpu::set_word(&mut context, *offset, *word);
    }
    let mut state = DomainState::default();
    let vcpu = Vcpu { vcpu_id: 0, part: VcpuPart::Basic, blob: &context };
    Record::Vcpu(vcpu).write(&mut state.libxc);
    state
}

#[test]
fn state_that_does_not_fit_its_memory_is_known_with_the_full_copy_and_xen_is_asked_nothing() {
    use crate::domain::pv::vcpu::{CR3, RDX};
    let (hypervisor, mut standby) = standby();
    standby.check_pv_state().unwrap();
    let _ = hypervisor.asked();
    for state in [
        DomainState::default(),
        state_with(&[(CR3, LEAF << 12)]),
        state_with(&[(CR3, PFNS << 12)]),
        state_with(&[(RDX, 0)]),
        state_with(&[(RDX, TOP)]),
    ] {
        standby.state = state;
        assert!(matches!(standby.check_pv_state(), Err(StandbyError::Restore(_))));
    }
    standby.state = state_with(&[]);
    standby.check_pv_state().unwrap();
    let beyond = words(&[(8, PFNS << 12 | 1)]);
    standby.pages.apply(PageEntry::new(Pfn(LEAF), kind(LEAF)), Some(&beyond)).unwrap();
    assert!(matches!(standby.check_pv_state(), Err(StandbyError::Restore(_))));
    assert_eq!(standby.pages.page(Pfn(LEAF)), Some(&beyond), "nothing is written");
    let asked = hypervisor.asked();
    assert!(asked.iter().all(|asked| *asked == Asked::Domctl(domctl::GET_DOMAIN_INFO)), "{asked:?}");
}
