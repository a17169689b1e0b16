//! Patches of frames that leave early.

mod support;

use proptest::prelude::*;
use support::*;
use understudy_colo::packet::{Offload, Options, Side};
use understudy_colo::patch::{NotTcp, Patch};

fn patched(patch: Patch, tcp: &Tcp) -> Vec<u8> {
    let mut frame = tcp.frame();
    patch.apply(&mut frame, WHOLE).unwrap();
    assert!(is_checksum_right(&frame));
    frame
}

#[test]
fn an_ack_and_a_window_are_lowered() {
    let patch = Patch { ack: Some(5000), window: Some(100), ..Patch::default() };
    for tcp in [
        guest(ACK, 1, 9000).options(&stamps(1, 2)).payload(b"reply"),
        guest(ACK, 1, 9000).ipv6(),
        Tcp { vlan: Some(7), ..guest(ACK, 1, 9000) },
    ] {
        let frame = patched(patch, &tcp);
        let expected = Tcp { ack: 5000, window: 100, ..tcp };
        assert_eq!(frame, expected.frame());
    }
}

#[test]
fn a_clock_is_put_at_any_alignment_and_only_where_there_is_one() {
    let patch = Patch { clock: Some(7_000_001), ..Patch::default() };
    for with in [stamps, odd_stamps] {
        let tcp = guest(ACK, 1, 9000).payload(b"reply");
        let expected = tcp.clone().options(&with(7_000_001, 2)).frame();
        assert_eq!(patched(patch, &tcp.options(&with(1, 2))), expected);
    }
    let without = guest(ACK, 1, 9000);
    assert_eq!(patched(patch, &without), without.frame());
}

#[test]
fn selective_acks_beyond_the_ack_stay() {
    let patch = Patch { ack: Some(5000), ..Patch::default() };
    let tcp = guest(ACK, 1, 9000).options(&sacks(&[(9500, 9600), (10_000, 10_100)]));
    assert_eq!(patched(patch, &tcp), Tcp { ack: 5000, ..tcp }.frame());
}

#[test]
fn multipath_becomes_fillers_in_a_syn_alone() {
    let patch = Patch { is_multipath_blanked: true, ..Patch::default() };
    let options = [2, 4, 5, 0xb4, 30, 4, 1, 0x81, 3, 3, 7, 0];
    let frame = patched(patch, &guest(SYN | ACK, 1, 2).options(&options));
    let kinds: Vec<_> = segment(&frame).options.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Options::SEGMENT_MAX, Options::WINDOW_SCALE]);
    assert_eq!(segment(&frame).options.0[4..8], [1; 4]);
    let data = guest(ACK, 1, 2).options(&options);
    assert_eq!(patched(patch, &data), data.frame());
}

#[test]
fn an_empty_patch_changes_nothing_and_another_frame_is_an_error() {
    let tcp = guest(ACK, 1, 2).payload(b"reply");
    assert!(Patch::default().is_empty());
    assert_eq!(patched(Patch::default(), &tcp), tcp.frame());
    let mut frame = vec![7; 60];
    let patch = Patch { ack: Some(1), ..Patch::default() };
    assert_eq!(patch.apply(&mut frame, WHOLE), Err(NotTcp));
    assert_eq!(frame, [7; 60]);
}

proptest! {
    #[test]
    fn a_patch_is_what_the_guest_would_have_sent(
        (ack, lower, window, narrow) in any::<(u32, u32, u16, u16)>(),
        payload in prop::collection::vec(any::<u8>(), 0..50), is_partial in any::<bool>(),
    ) {
        let tcp = guest(ACK, 1, ack).payload(&payload);
        let tcp = Tcp { window, ..tcp };
        let mut frame = tcp.frame();
        let place = parsed(&frame, Side::Guest).1.at + 16;
        let offload = Offload { is_checksum_partial: is_partial, segment_bytes: 0 };
        let patch = Patch { ack: Some(lower), window: Some(narrow), is_multipath_blanked: true, clock: None };
        patch.apply(&mut frame, offload).unwrap();
        let mut expected = Tcp { ack: lower, window: narrow, ..tcp.clone() }.frame();
        if is_partial {
            expected[place..place + 2].copy_from_slice(&tcp.frame()[place..place + 2]);
        }
        prop_assert_eq!(frame, expected);
    }
}
