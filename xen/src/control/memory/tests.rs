//! Calls on frames against a scripted Xen.

use super::*;
use crate::hypervisor::Call;
use crate::simulated::{Asked, Simulated, payload};
use std::sync::{Arc, Mutex};

const TYPES: Asked = Asked::Domctl(domctl::GET_PAGE_FRAME_INFO);
const DOMAIN: DomId = DomId(2);

fn xen() -> (Arc<Simulated>, Xen) {
    let hypervisor = Simulated::new();
    let xen = Xen::over(hypervisor.clone()).unwrap();
    hypervisor.asked();
    (hypervisor, xen)
}

fn words(bytes: &mut [u8]) -> &mut [u64] {
    <[u64]>::mut_from_bytes(bytes).unwrap()
}

fn reservation(call: &mut Call<'_>) -> Reservation {
    Reservation::read_from_prefix(call.argument()).unwrap().0
}

/// Answers types that reveal the frame.
fn answer_types(call: &mut Call<'_>) -> Result<u64, Errno> {
    let num = payload::<PageFrameInfo>(call).num as usize;
    assert!(num <= PAGE_FRAMES_MAX);
    for frame in &mut words(call.data().unwrap())[..num] {
        *frame = (*frame % 16) << 28;
    }
    Ok(0)
}

#[test]
fn types_are_asked_for_1024_frames_at_a_time() {
    for (frames, calls) in [(0, 0), (1, 1), (1024, 1), (1025, 2), (3000, 3)] {
        let (hypervisor, xen) = xen();
        hypervisor.answer(TYPES, answer_types);
        let asked: Vec<Gfn> = (0..frames).map(Gfn).collect();
        let mut types = vec![0xFF; asked.len()];
        xen.page_types(DOMAIN, &asked, &mut types).unwrap();
        assert_eq!(types, (0..frames).map(|frame| (frame % 16) as u8).collect::<Vec<_>>());
        assert_eq!(hypervisor.asked().len(), calls);
    }
}

#[test]
fn types_are_asked_again_from_the_frames_when_memory_was_away() {
    let (hypervisor, xen) = xen();
    let mut tries = 0;
    hypervisor.answer(TYPES, move |call| {
        tries += 1;
        answer_types(call)?;
        if tries < FAULT_TRIES {
            call.argument()[domctl::HEAD_BYTES..].fill(0xFF);
            return Err(Errno::EFAULT);
        }
        Ok(0)
    });
    let mut types = [0; 3];
    xen.page_types(DOMAIN, &[5, 6, 7].map(Gfn), &mut types).unwrap();
    assert_eq!(types, [5, 6, 7]);
    hypervisor.fail(TYPES, &[Errno::EFAULT; FAULT_TRIES]);
    let mut types = [0xFF];
    xen.page_types(DOMAIN, &[Gfn(5)], &mut types).unwrap_err();
    assert_eq!(types, [0xFF], "nothing is told where it failed");
}

#[test]
fn populating_answers_how_far_it_came() {
    let (hypervisor, xen) = xen();
    let room = Arc::new(Mutex::new(1500u64));
    let left = room.clone();
    hypervisor.answer(Asked::Memory(memory::POPULATE_PHYSMAP), move |call| {
        let asked = reservation(call);
        assert_eq!((asked.domain, asked.extent_order, asked.mem_flags), (2, 9, 0));
        let mut left = left.lock().unwrap();
        let done = asked.nr_extents.min(*left);
        *left -= done;
        for frame in &mut words(call.data().unwrap())[..done as usize] {
            *frame += 1_000_000;
        }
        Ok(done)
    });
    let pfns: Vec<Pfn> = (0..3000).map(Pfn).collect();
    let mut given = Vec::new();
    assert_eq!(xen.populate_physmap(DOMAIN, 9, &pfns, |pfn, gfn| given.push((pfn, gfn))).unwrap(), 1500);
    let expected = (0..1500).map(|pfn| (Pfn(pfn), Gfn(1_000_000 + pfn)));
    assert_eq!(given, expected.collect::<Vec<_>>());
    assert_eq!(hypervisor.asked().len(), 2, "no further batch after a short one");
    *room.lock().unwrap() = 5000;
    assert_eq!(xen.populate_physmap(DOMAIN, 9, &pfns, |_, _| ()).unwrap(), 3000);
    assert_eq!(xen.populate_physmap(DOMAIN, 9, &[], |_, _| ()).unwrap(), 0);
    hypervisor.answer(Asked::Memory(memory::POPULATE_PHYSMAP), |_| Ok(2));
    assert!(xen.populate_physmap(DOMAIN, 0, &[Pfn(1)], |_, _| ()).is_err(), "more than asked for");
}

#[test]
fn taking_memory_names_the_frames() {
    let (hypervisor, xen) = xen();
    hypervisor.answer(Asked::Memory(memory::DECREASE_RESERVATION), |call| {
        assert_eq!((reservation(call).extent_order, reservation(call).domain), (0, 2));
        assert_eq!(words(call.data().unwrap())[..2], [8, 9]);
        Ok(reservation(call).nr_extents)
    });
    assert_eq!(xen.decrease_reservation(DOMAIN, &[Gfn(8), Gfn(9)]).unwrap(), 2);
}

#[test]
fn numbers_above_31_bits_are_answered_whole() {
    let (hypervisor, xen) = xen();
    hypervisor.answer(Asked::Memory(memory::MAXIMUM_GPFN), |call| {
        assert_eq!(call.argument()[..2], [2, 0]);
        Ok(0xF_FFFF)
    });
    hypervisor.answer(Asked::Memory(memory::MAXIMUM_RAM_PAGE), |_| Ok(0x8000_0000));
    assert_eq!(xen.maximum_gpfn(DOMAIN).unwrap(), Pfn(0xF_FFFF));
    assert_eq!(xen.maximum_ram_page().unwrap(), Mfn(0x8000_0000));
    hypervisor.fail(Asked::Memory(memory::MAXIMUM_GPFN), &[Errno::ESRCH]);
    assert!(matches!(xen.maximum_gpfn(DOMAIN), Err(XenError::Gone { .. })));
}

#[test]
fn the_m2p_is_listed_as_far_as_it_goes() {
    let (hypervisor, xen) = xen();
    hypervisor.answer(Asked::Memory(memory::MACHPHYS_MFN_LIST), |call| {
        let (mut list, _) = MachphysList::read_from_prefix(call.argument()).unwrap();
        list.nr_extents = list.max_extents.min(3000);
        for (index, frame) in
            words(call.data().unwrap()).iter_mut().take(list.nr_extents as usize).enumerate()
        {
            *frame = index as u64 * 512;
        }
        list.write_to_prefix(call.argument()).unwrap();
        Ok(0)
    });
    assert_eq!(xen.machphys_frames(2).unwrap(), [Mfn(0), Mfn(512)]);
    let many = xen.machphys_frames(5000).unwrap();
    assert_eq!((many.len(), many[2999]), (3000, Mfn(2999 * 512)));
}

#[test]
fn tables_are_pinned_in_batches_at_their_level() {
    let (hypervisor, xen) = xen();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    hypervisor.answer(Asked::Mmu, move |call| {
        assert_eq!((call.word(0), call.word(2), call.word(3)), (None, Some(0), Some(2)));
        let count = call.word(1).unwrap() as usize;
        let ops = <[mmu::ExtOp]>::ref_from_prefix_with_elems(call.data().unwrap(), count).unwrap().0;
        log.lock().unwrap().push((count, ops[0]));
        Ok(0)
    });
    let mut pins = vec![(PinLevel::L4, Mfn(100)); BATCH_MAX];
    pins.push((PinLevel::L1, Mfn(200)));
    xen.pin_tables(DOMAIN, &pins).unwrap();
    let op = |command, mfn| mmu::ExtOp { command, mfn, ..mmu::ExtOp::default() };
    assert_eq!(*seen.lock().unwrap(), [(1024, op(3, 100)), (1, op(0, 200))]);
    hypervisor.fail(Asked::Mmu, &[Errno::EINVAL]);
    let error = xen.pin_tables(DOMAIN, &[(PinLevel::L2, Mfn(1))]).unwrap_err();
    assert!(matches!(error, XenError::Hypercall { errno: Errno::EINVAL, .. }));
}
