//! Bytes as a list of hashes: what decodes encodes to the same bytes, and is of chunks that the disk has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::bits::Bits;
use understudy_disk::sync::hashes::{HASHES_MAX, Hashes};

const CHUNKS: u64 = 5000;

fuzz_target!(|input: &[u8]| {
    let Ok(hashes) = Hashes::decode(input, CHUNKS) else { return };
    assert_eq!(hashes.encode(), input);
    assert!(hashes.next() <= CHUNKS && hashes.next() - hashes.first() <= HASHES_MAX as u64);
    let mut differ = Bits::try_new(CHUNKS).expect("a small set");
    hashes.compare(&hashes, &mut differ).expect("it is of the same chunks");
    assert!(differ.is_empty());
});
