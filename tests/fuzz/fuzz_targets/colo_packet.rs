//! Frames of a guest, or of whoever speaks with it: what is read lies in the frame, padding changes nothing, and a patch
//! changes what it is for and no byte more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_colo::packet::{Card, Content, Frame, Offload, Packet, Side};
use understudy_colo::patch::Patch;

fuzz_target!(|input: &[u8]| {
    let Some(([mode, ack], bytes)) = input.split_first_chunk() else { return };
    let offload =
        Offload { is_checksum_partial: mode & 1 != 0, segment_bytes: if mode & 2 != 0 { 1448 } else { 0 } };
    let side = if mode & 4 != 0 { Side::Guest } else { Side::World };
    let packet = Packet::parse(Frame { card: Card(0), offload, bytes }, side);
    match packet.content {
        Content::Tcp(segment) => {
            assert!(bytes.get(segment.header()).is_some_and(|header| header.len() >= 20));
            assert!(segment.header().end + segment.payload.len() <= bytes.len());
            assert!(segment.options.iter().all(|one| one.at + one.value.len() <= segment.options.0.len()));
            segment.options.timestamps();
            assert!(segment.options.selective_acks().count() <= 4);
            patch(bytes, offload, segment.header(), *ack);
        }
        Content::Datagram(datagram) => assert!(datagram.body.len() <= bytes.len()),
    }
});

fn patch(bytes: &[u8], offload: Offload, header: core::ops::Range<usize>, ack: u8) {
    let mut frame = bytes.to_vec();
    let patch = Patch { ack: Some(ack.into()), window: Some(ack.into()), clock: Some(ack.into()), is_multipath_blanked: true };
    patch.apply(&mut frame, offload).expect("it was TCP");
    assert_eq!(frame.len(), bytes.len());
    assert_eq!(frame[..header.start], bytes[..header.start]);
    assert_eq!(frame[header.end..], bytes[header.end..]);
    let Content::Tcp(segment) =
        Packet::parse(Frame { card: Card(0), offload, bytes: &frame }, Side::Guest).content
    else {
        panic!("it is TCP no more");
    };
    assert_eq!((segment.ack, segment.window), (ack.into(), ack.into()));
    let once = frame.clone();
    patch.apply(&mut frame, offload).expect("it was TCP");
    assert_eq!(frame, once, "the same patch, again");
}
