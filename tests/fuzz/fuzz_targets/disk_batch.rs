//! Arbitrary bytes as batches of disk writes: no panic, nothing beyond a disk, nothing beyond the bound, and what decodes is
//! the same writes after it was encoded again.
//!
//! The input is a list of pieces: a byte to say what it is, its length in two bytes, and that many bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::epoch::WritesSummary;
use understudy_disk::batch::{BadBatch, Content, Encoder, Summing, decode};
use understudy_disk::held::Held;

const BYTES_MAX: usize = 8192;
const SIZES: [u64; 2] = [1 << 20, 4096];

fuzz_target!(|input: &[u8]| {
    let mut held = Held::new(Epoch(0), SIZES.to_vec(), BYTES_MAX);
    let (mut tag, mut rest) = (1, input);
    while let [what, low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (piece, after) = after.split_at(length);
        rest = after;
        if held.batch(Epoch(tag), piece).is_ok() {
            again(piece, true);
        } else {
            again(piece, false);
        }
        assert!(held.bytes() <= BYTES_MAX);
        match what % 4 {
            0 => tag += 1,
            1 => drop(held.end(Epoch(tag), WritesSummary::default())),
            2 => held.drop_after(Epoch(u64::from(*what))),
            _ => drop(held.commit(Epoch(tag))),
        }
    }
});

fn again(batch: &[u8], is_within: bool) {
    let (mut encoder, mut summing) = (Encoder::default(), Summing::default());
    let mut batches = Vec::new();
    let read = decode::<BadBatch>(batch, &mut Vec::new(), |write| {
        if is_within {
            assert!(write.extent.end() <= SIZES[usize::from(write.disk.0)]);
        }
        if let Content::Data(data) = write.content {
            assert_eq!(data.len(), write.extent.bytes() as usize);
        }
        summing.add(write);
        batches.extend(encoder.add(write));
        Ok(())
    });
    batches.extend(encoder.finish());
    let mut second = Summing::default();
    for batch in &batches {
        decode::<BadBatch>(batch, &mut Vec::new(), |write| {
            second.add(write);
            Ok(())
        })
        .expect("what was encoded decodes");
    }
    if read.is_ok() {
        assert_eq!(second.summary(), summing.summary());
    }
}
