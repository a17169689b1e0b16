//! The link's decoder, with bytes as they come and with bodies behind valid seals.
//!
//! A fuzzer does not find a 64-bit hash by itself, so half of the inputs are cut into bodies here and sealed as
//! `docs/LINK.md` says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_link::{BODY_BYTES_MAX, Decoder, HEADER_BYTES, encode};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let piece_bytes = usize::from(mode >> 1) + 1;
    if mode & 1 == 0 { feed(rest, piece_bytes) } else { feed(&sealed(rest), piece_bytes) }
});

/// Cuts `input` into frames: kind, guest and length of a body in one byte each, then the body.
fn sealed(mut input: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut sequence = 0u32;
    while let [kind, guest, length, rest @ ..] = input {
        let (body, after) = rest.split_at(rest.len().min(usize::from(*length)));
        let mut head = b"uS".to_vec();
        head.extend(u16::from(*kind).to_le_bytes());
        head.extend(u32::from(*guest).to_le_bytes());
        head.extend((body.len() as u32).to_le_bytes());
        head.extend(sequence.to_le_bytes());
        head.extend(xxh3_64_with_seed(&head, xxh3_64(body)).to_le_bytes());
        wire.extend(head);
        wire.extend(body);
        sequence += 1;
        input = after;
    }
    wire
}

/// Feeds `wire` piece by piece; every frame that comes out must encode to the bytes it came from.
fn feed(wire: &[u8], piece_bytes: usize) {
    let mut decoder = Decoder::new();
    decoder.allow_long_frames();
    let (mut at, mut sequence) = (0, 0);
    for piece in wire.chunks(piece_bytes) {
        let mut rest = piece;
        while !rest.is_empty() {
            let space = decoder.space().unwrap();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            decoder.filled(count);
            rest = &rest[count..];
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => {
                        let again = encode(&frame).expect("what decodes fits").seal(sequence);
                        assert_eq!(again, wire[at..at + again.len()]);
                        at += again.len();
                        sequence += 1;
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
    }
    assert!(decoder.memory_bytes() <= HEADER_BYTES + BODY_BYTES_MAX);
    assert_eq!(at + decoder.pending_bytes(), wire.len());
}
