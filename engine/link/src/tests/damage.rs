//! Whatever happens to bytes on their way: split, cut, flipped, repeated. Nothing is taken for what was not sent.

use super::*;

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_split(
        frames in proptest::collection::vec(parts(), 1..12),
        cuts in proptest::collection::vec(1usize..3_000, 1..40),
    ) {
        let wire = on_the_wire(&frames);
        let (mut decoder, mut seen, mut rest) = (ready_decoder(), 0, &wire[..]);
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            feed(&mut decoder, piece, &mut |frame| {
                assert_eq!(frame, frames[seen].frame());
                seen += 1;
            }).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, frames.len());
        prop_assert_eq!(decoder.pending_bytes(), 0);
    }

    #[test]
    fn a_truncated_stream_is_the_whole_frames_before_the_cut(
        frames in proptest::collection::vec(parts(), 1..6), keep in 0.0f64..1.0,
    ) {
        let wire = on_the_wire(&frames);
        let mut seen = 0;
        feed(&mut ready_decoder(), &wire[..(wire.len() as f64 * keep) as usize], &mut |frame| {
            assert_eq!(frame, frames[seen].frame());
            seen += 1;
        }).unwrap();
        prop_assert!(seen < frames.len());
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_content(
        frames in proptest::collection::vec(parts(), 1..4), at in any::<proptest::sample::Index>(), bit in 0u8..8,
    ) {
        let mut wire = on_the_wire(&frames);
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        let mut seen = 0;
        // An error, or a wait for bytes that a damaged length announces; never another frame.
        let _ = feed(&mut ready_decoder(), &wire, &mut |frame| {
            assert_eq!(frame, frames[seen].frame());
            seen += 1;
        });
        prop_assert!(seen < frames.len());
    }

    #[test]
    fn a_frame_that_is_repeated_or_missing_is_noticed(frames in proptest::collection::vec(parts(), 2..6)) {
        let sealed: Vec<_> = (0..).zip(&frames).map(|(n, parts)| encode(&parts.frame()).unwrap().seal(n)).collect();
        let repeated = [sealed[0].clone(), sealed[0].clone()].concat();
        let skipped = feed(&mut ready_decoder(), &sealed[1], &mut |_| {});
        prop_assert_eq!(skipped, Err(LinkError::OutOfSequence { expected: 0, found: 1 }));
        let repeated = feed(&mut ready_decoder(), &repeated, &mut |_| {});
        prop_assert_eq!(repeated, Err(LinkError::OutOfSequence { expected: 1, found: 0 }));
    }

    /// Bodies behind a valid seal: the decoder takes exactly what the encoder writes.
    #[test]
    fn a_body_that_decodes_encodes_to_the_same_bytes(
        kind in 0u16..0x50, guest in 0u32..3, body in proptest::collection::vec(0u8..4, 0..64),
    ) {
        if let Ok(frame) = crate::decode::decode(kind, guest, &body) {
            let again = encode(&frame).unwrap().seal(0);
            prop_assert_eq!(&again[HEADER_BYTES..], &body[..]);
        }
    }
}
