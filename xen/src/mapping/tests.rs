//! Mappings of a simulated guest: what is read, what holes do, and what a copier meets while a piece is replaced.

use super::*;
use crate::simulated::Simulated;
use crate::{Gfn, Hypervisor};

fn page(value: u8) -> Page {
    [value; PAGE_SIZE]
}

fn slots(frames: &[u64]) -> Vec<GfnSlot> {
    frames.iter().map(|frame| Gfn(*frame).into()).collect()
}

fn places(changes: &[(usize, u64)]) -> Vec<(usize, GfnSlot)> {
    changes.iter().map(|(index, frame)| (*index, Gfn(*frame).into())).collect()
}

fn mapped(hypervisor: &Simulated, frames: &[u64], access: Access) -> Mapping {
    Mapping::new(hypervisor.foreign_memory(DomId(1)).unwrap(), DomId(1), &slots(frames), access).unwrap()
}

fn first_byte(mapping: &Mapping, index: usize) -> Option<u8> {
    let mut into = page(0xEE);
    mapping.copy_page(index, &mut into).then(|| {
        assert!(into.iter().all(|byte| *byte == into[0]));
        into[0]
    })
}

#[test]
fn pages_are_seen_as_the_guest_has_them_now() {
    let hypervisor = Simulated::new();
    hypervisor.write_frame(7, &page(1));
    let mapping = mapped(&hypervisor, &[9, 7], Access::Read);
    assert_eq!((first_byte(&mapping, 0), first_byte(&mapping, 1)), (Some(0), Some(1)));
    hypervisor.write_frame(7, &page(2));
    assert_eq!(first_byte(&mapping, 1), Some(2));
    assert!(!mapping.write_page(1, &page(3)), "for reading only");
    assert_eq!((mapping.len(), mapping.error(0)), (2, None));
}

#[test]
fn what_is_written_is_the_guests() {
    let hypervisor = Simulated::new();
    let mapping = mapped(&hypervisor, &[3, 4], Access::ReadWrite);
    assert!(mapping.write_page(1, &page(5)));
    assert!(mapping.write(1, 4091, &[1, 2, 3, 4, 5]));
    let seen = hypervisor.read_frame(4);
    assert!(seen[..4091].iter().all(|byte| *byte == 5));
    assert_eq!(seen[4091..], [1, 2, 3, 4, 5]);
    assert_eq!(hypervisor.read_frame(3), page(0));
}

#[test]
fn every_length_and_offset_is_copied_exactly() {
    let hypervisor = Simulated::new();
    let mapping = mapped(&hypervisor, &[0], Access::ReadWrite);
    let source: Page = std::array::from_fn(|at| (at * 31) as u8);
    for (offset, bytes) in (0..40).flat_map(|offset| (0..40).map(move |bytes| (offset, bytes))) {
        mapping.write_page(0, &page(0xAA));
        mapping.write(0, offset, &source[..bytes]);
        let seen = hypervisor.read_frame(0);
        assert_eq!(seen[offset..offset + bytes], source[..bytes]);
        assert!(seen[..offset].iter().chain(&seen[offset + bytes..]).all(|byte| *byte == 0xAA));
    }
}

#[test]
fn frames_that_do_not_map_say_why_and_the_others_do() {
    let hypervisor = Simulated::new();
    hypervisor.break_frame(6, Errno::EINVAL);
    let mapping = mapped(&hypervisor, &[5, 6, 7], Access::Read);
    assert_eq!(mapping.error(1), Some(Errno::EINVAL as i32));
    assert_eq!((first_byte(&mapping, 1), mapping.page(1)), (None, None));
    assert_eq!((first_byte(&mapping, 2), mapping.page(2).is_some()), (Some(0), true));
    assert_eq!(mapping.first_error(), Some((Gfn(6).into(), Errno::EINVAL)));
}

#[test]
fn a_paged_out_frame_is_waited_for() {
    let hypervisor = Simulated::new();
    hypervisor.page_out(8, 3);
    hypervisor.write_frame(8, &page(8));
    assert_eq!(first_byte(&mapped(&hypervisor, &[8], Access::Read), 0), Some(8));
}

#[test]
fn a_place_gets_another_frame_and_keeps_its_address() {
    let hypervisor = Simulated::new();
    for gfn in 0..3000 {
        hypervisor.write_frame(gfn, &page(gfn as u8));
    }
    let frames: Vec<u64> = (0..2500).collect();
    let mapping = mapped(&hypervisor, &frames, Access::Read);
    let before = mapping.page(1023);
    // Over the end of a piece.
    let replaced = hypervisor.replaced();
    mapping.remap(1023, &slots(&[2999, 2998])).unwrap();
    assert_eq!(hypervisor.replaced() - replaced, 2, "once for each piece");
    assert_eq!(mapping.page(1023), before);
    assert_eq!(first_byte(&mapping, 1022), Some(1022u32 as u8));
    assert_eq!(first_byte(&mapping, 1023), Some(2999u32 as u8));
    assert_eq!(first_byte(&mapping, 1024), Some(2998u32 as u8));
    assert_eq!(first_byte(&mapping, 1025), Some(1025u32 as u8));
    assert_eq!(first_byte(&mapping, 2499), Some(2499u32 as u8));
}

#[test]
fn a_hole_is_filled_without_disturbing_its_piece() {
    for kernel_fills in [true, false] {
        let hypervisor = Simulated::new();
        hypervisor.kernel_fills(kernel_fills);
        hypervisor.break_frame(6, Errno::EINVAL);
        hypervisor.write_frame(6, &page(6));
        let mapping = mapped(&hypervisor, &[5, 6, 7], Access::Read);
        let replaced = hypervisor.replaced();
        hypervisor.mend_frame(6);
        mapping.remap(1, &slots(&[6])).unwrap();
        assert_eq!(first_byte(&mapping, 1), Some(6));
        assert_eq!(hypervisor.replaced() - replaced, usize::from(!kernel_fills));
        for frame in [5, 6, 7] {
            hypervisor.break_frame(frame, Errno::EINVAL);
        }
        mapping.remap_each(&places(&[(0, 5), (1, 6), (2, 7)])).unwrap();
        hypervisor.mend_frame(5);
        hypervisor.mend_frame(7);
        let replaced = hypervisor.replaced();
        mapping.remap_each(&places(&[(0, 5), (2, 7)])).unwrap();
        assert_eq!(first_byte(&mapping, 0).zip(first_byte(&mapping, 2)), Some((0, 0)));
        assert_eq!(first_byte(&mapping, 1), None);
        assert_eq!(hypervisor.replaced() - replaced, usize::from(!kernel_fills));
        hypervisor.mend_frame(6);
        mapping.remap(1, &slots(&[6])).unwrap();
        // And the other way round: what is there no more becomes a hole.
        hypervisor.break_frame(7, Errno::EINVAL);
        mapping.remap(2, &slots(&[7])).unwrap();
        assert_eq!((first_byte(&mapping, 2), first_byte(&mapping, 1)), (None, Some(6)));
    }
}

#[test]
fn a_piece_that_cannot_be_mapped_anew_is_told_and_not_readable() {
    let hypervisor = Simulated::new();
    let mapping = mapped(&hypervisor, &[1, 2], Access::Read);
    hypervisor.fail_maps(Errno::ENOMEM);
    let error = mapping.remap(0, &slots(&[3])).unwrap_err();
    assert!(matches!(error, XenError::Map { errno: Errno::ENOMEM, .. }), "{error}");
    assert_eq!((first_byte(&mapping, 0), first_byte(&mapping, 1)), (None, None));
}

#[test]
fn copiers_and_a_remapper_do_not_meet() {
    let hypervisor = Simulated::new();
    for gfn in 0..64 {
        hypervisor.write_frame(gfn, &page(gfn as u8));
    }
    let frames: Vec<u64> = (0..32).collect();
    let mapping = mapped(&hypervisor, &frames, Access::Read);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let index = round % 32;
                    let seen = usize::from(first_byte(&mapping, index).unwrap());
                    assert!(seen == index || seen == index + 32);
                }
            });
        }
        for round in 0..200u64 {
            let index = round % 32;
            mapping.remap(index as usize, &slots(&[index + 32 * (round / 32 % 2)])).unwrap();
        }
    });
}

#[test]
fn an_empty_mapping_is_legal() {
    assert_eq!(mapped(&Simulated::new(), &[], Access::Read).len(), 0);
}
