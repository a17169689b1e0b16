//! Tests of frames in bytes: known bytes, limits, versions; and what becomes of damaged ones (`damage`).

mod damage;

mod golden;
mod parts;

use super::*;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use parts::{KINDS, Parts, hex, known, parts};
use proptest::prelude::*;
use understudy_checkpoint::domain::{Description, GuestKind};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::{Decline, NodeName, ToPrimary};

fn on_the_wire(frames: &[Parts]) -> Vec<u8> {
    let sealed = (0..).zip(frames).map(|(sequence, parts)| encode(&parts.frame()).unwrap().seal(sequence));
    sealed.flatten().collect()
}

fn ready_decoder() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.allow_long_frames();
    decoder
}

/// Feeds `bytes` in pieces that fit, and gives each frame to `see`.
fn feed(decoder: &mut Decoder, mut bytes: &[u8], see: &mut dyn FnMut(Frame<'_>)) -> Result<(), LinkError> {
    while !bytes.is_empty() {
        let space = decoder.space().unwrap();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.filled(count);
        bytes = &bytes[count..];
        while let Some(frame) = decoder.next_frame()? {
            see(frame);
        }
    }
    Ok(())
}

/// The seal too: a hello that both ends must agree on for ever.
#[test]
fn a_goodbye_is_these_24_bytes() {
    assert_eq!(hex(&on_the_wire(&[known(4)])), "75530400000000000000000000000000410ea905a86a7f91");
}

#[test]
fn a_stranger_gets_no_long_frame_and_no_memory() {
    let long = Parts { bytes: vec![1; SMALL_BODY_BYTES_MAX + 1], ..known(9) };
    let mut decoder = Decoder::new();
    let error = feed(&mut decoder, &on_the_wire(&[long]), &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::FrameTooLong { limit: SMALL_BODY_BYTES_MAX, .. }), "{error:?}");
    assert!(decoder.memory_bytes() <= 32 << 10);
}

#[test]
fn the_longest_frame_fits_and_a_lying_length_costs_no_memory() {
    let longest = Parts { bytes: vec![7; BODY_BYTES_MAX], ..known(9) };
    let wire = on_the_wire(&[longest.clone(), known(4)]);
    let (mut decoder, mut seen) = (ready_decoder(), 0);
    feed(&mut decoder, &wire, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 2);
    assert!(decoder.memory_bytes() <= BODY_BYTES_MAX + HEADER_BYTES);

    let mut liar = ready_decoder();
    feed(&mut liar, &wire[..1_000], &mut |_| panic!("not whole")).unwrap();
    assert!(liar.memory_bytes() <= 32 << 10);
}

fn offer_of<'a>(name: &'a str, config: Vec<u8>) -> Frame<'a> {
    let description = Description {
        kind: GuestKind::Pv,
        page_count: 1,
        libxc_version: 3,
        xen_version: (4, 17),
        config,
        static_records: Vec::new(),
        disks_bytes: Vec::new(),
    };
    GuestFrame::Offer { name, generation: Some(Generation(1)), description: Box::new(description) }
        .of(GuestId::new(1).unwrap())
}

/// A proxy that repeats a read of its own: what follows begins in the midst of a frame.
#[test]
fn bytes_that_are_repeated_on_the_way_are_no_bug_of_the_sender() {
    let wire = on_the_wire(&[known(4), known(6)]);
    let repeated = [&wire[..24], &wire[20..]].concat();
    let error = feed(&mut ready_decoder(), &repeated, &mut |_| {}).unwrap_err();
    assert_eq!(error, LinkError::OutOfStep { after: 1 });
    assert!(error.to_string().contains("proxy"), "{error}");
}

/// What is known only at run time (a guest's configuration, its list of frames) may be of any length.
#[test]
fn a_frame_that_does_not_fit_is_an_error_and_never_a_panic() {
    let fixed = encode(&offer_of("g", Vec::new())).unwrap().len_bytes() - HEADER_BYTES;
    assert!(encode(&offer_of("g", vec![0; BODY_BYTES_MAX - fixed])).is_ok());
    let error = encode(&offer_of("g", vec![0; BODY_BYTES_MAX - fixed + 1])).unwrap_err();
    assert_eq!(error, EncodeError::TooLong { what: "a guest's offer", bytes: BODY_BYTES_MAX + 1 });
    let batch = vec![0; BODY_BYTES_MAX + 1];
    assert!(encode(&GuestFrame::PageBatch(&batch).of(GuestId::new(1).unwrap())).is_err());
    for name in ["", &"n".repeat(TEXT_BYTES_MAX + 1)] {
        let bytes = name.len();
        assert_eq!(
            encode(&offer_of(name, Vec::new())),
            Err(EncodeError::Name { what: "a guest's offer", bytes })
        );
        let from = Identity { node: NodeName(name.into()), instance: 1 };
        assert!(encode(&LinkFrame::HelloAnswer(HelloAnswer { version: 1, from }).into()).is_err());
    }
    let long = LinkFrame::Refuse { reason: RefuseReason::Full, detail: "é".repeat(200) };
    assert_eq!(encode(&long.into()).unwrap().len_bytes(), HEADER_BYTES + 1 + 1 + 254);
}

/// A bulletin is for people: nobody keeps much for one, and none keeps an ack waiting for long.
#[test]
fn a_bulletin_is_short_at_both_ends() {
    let longest = LinkFrame::Bulletin(vec![b' '; BULLETIN_BYTES_MAX]);
    let wire = encode(&longest.into()).unwrap().seal(0);
    let mut seen = 0;
    feed(&mut ready_decoder(), &wire, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 1);
    let longer = vec![b' '; BULLETIN_BYTES_MAX + 1];
    let error = encode(&LinkFrame::Bulletin(longer.clone()).into()).unwrap_err();
    assert_eq!(error, EncodeError::Bulletin { bytes: BULLETIN_BYTES_MAX + 1 });
    let mut bytes = Vec::new();
    header::open(&mut bytes, 0x07, 0);
    bytes.extend(longer);
    header::close(&mut bytes);
    header::seal(&mut bytes, 0);
    let error = feed(&mut ready_decoder(), &bytes, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::FrameTooLong { limit: BULLETIN_BYTES_MAX, .. }), "{error:?}");
}

#[test]
fn facts_about_a_host_are_bounded_at_both_ends() {
    let longer = vec![b' '; FACTS_BYTES_MAX + 1];
    let error = encode(&LinkFrame::Facts(longer.clone()).into()).unwrap_err();
    assert_eq!(error, EncodeError::Facts { bytes: FACTS_BYTES_MAX + 1 });
    let mut bytes = Vec::new();
    header::open(&mut bytes, 0x09, 0);
    bytes.extend(longer);
    header::close(&mut bytes);
    header::seal(&mut bytes, 0);
    let error = feed(&mut ready_decoder(), &bytes, &mut |_| {}).unwrap_err();
    assert!(matches!(error, LinkError::FrameTooLong { limit: FACTS_BYTES_MAX, .. }), "{error:?}");
}

/// Both ends count a window's bytes; they must count the same.
#[test]
fn what_windows_count_is_what_is_sent() {
    let counted: Vec<_> = (0..KINDS)
        .filter(|kind| {
            let parts = known(*kind);
            let frame = parts.frame();
            let bytes = encode(&frame).unwrap().len_bytes() as u64;
            let counted = match &frame {
                Frame::Guest(_, frame) => frame.window_bytes(),
                Frame::Link(_) | Frame::Witness(_) => None,
            };
            counted.inspect(|counted| assert_eq!(*counted, bytes, "{frame:?}")).is_some()
        })
        .collect();
    assert_eq!(counted, [7, 8, 9, 10, 11, 12, 52, 53, 61]);
}

#[test]
fn what_is_not_ours_is_told_apart() {
    let mut decoder = Decoder::new();
    let error = feed(&mut decoder, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", &mut |_| {}).unwrap_err();
    assert_eq!(error, LinkError::NotALink);
}

#[test]
fn kinds_and_addresses_that_do_not_exist_are_refused() {
    let craft = |kind: u16, guest: u32| {
        let mut bytes = Vec::new();
        header::open(&mut bytes, kind, guest);
        header::close(&mut bytes);
        header::seal(&mut bytes, 0);
        feed(&mut Decoder::new(), &bytes, &mut |_| {})
    };
    for kind in [0, 0x0A, 0x37, 0xFFFF] {
        assert_eq!(craft(kind, 0), Err(LinkError::UnknownKind(kind)));
    }
    assert_eq!(craft(0x2F, 1), Err(LinkError::UnknownKind(0x2F)));
    assert_eq!(craft(0x04, 1), Err(LinkError::WrongAddress { kind: 0x04, guest: 1 }));
    assert_eq!(craft(0x13, 0), Err(LinkError::WrongAddress { kind: 0x13, guest: 0 }));
}

#[test]
fn a_version_is_common_or_there_is_none() {
    assert_eq!(common_version((1, 1)), Some(1));
    assert_eq!(common_version((1, 2)), Some(2));
    assert_eq!(common_version((1, 3)), Some(3));
    assert_eq!(common_version((0, 9)), Some(7));
    assert_eq!(common_version((8, 9)), None);
    assert_eq!(common_version((0, 0)), None);
    assert_eq!(common_version((9, 2)), None);
}

#[test]
fn an_offer_with_more_disks_than_guests_have_is_neither_sent_nor_read() {
    let Frame::Guest(guest, GuestFrame::Offer { name, generation, mut description }) =
        offer_of("g", Vec::new())
    else {
        unreachable!("an offer")
    };
    description.disks_bytes = vec![512; DISKS_MAX];
    let most = GuestFrame::Offer { name, generation, description: description.clone() }.of(guest);
    assert_eq!(most.since(), DISKS_SINCE);
    let wire = encode(&most).unwrap().seal(0);
    let body = &wire[HEADER_BYTES..];
    assert_eq!(super::decode::decode(0x40, 1, body), Ok(most));
    let more = [body, &[0; 8]].concat();
    assert_eq!(super::decode::decode(0x40, 1, &more), Err(LinkError::BodyTooLong(8)));
    let none = &body[..body.len() - 8 * DISKS_MAX];
    assert_eq!(super::decode::decode(0x40, 1, none), Err(LinkError::BodyTooShort), "that is another kind");
    description.disks_bytes.push(512);
    assert_eq!(check_offer(name, &description), Err(EncodeError::Disks { disks: DISKS_MAX + 1 }));
    assert!(encode(&GuestFrame::Offer { name, generation, description }.of(guest)).is_err());
}

#[test]
fn checks_and_what_answers_them_are_of_version_2() {
    let guest = GuestId::new(1).unwrap();
    let declined = |why| {
        let message = ToPrimary::Declined { generation: Generation(1), epoch: Some(Epoch(1)), why };
        GuestFrame::ToPrimary(message).of(guest).since()
    };
    let batch = |form: u8| GuestFrame::PageBatch(&[form, 0, 0]).of(guest).since();
    assert_eq!([0, 1, 2, 3].map(batch), [1, 1, 2, 2]);
    assert_eq!((declined(Decline::Damaged), declined(Decline::Diverged)), (1, 2));
}
