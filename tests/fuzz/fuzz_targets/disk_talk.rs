//! Bytes as questions and answers about a disk: what decodes encodes to the same bytes, and is of chunks that the disk has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::sync::hashes::HASHES_MAX;
use understudy_disk::sync::talk::{Ask, Say};

const CHUNK_BYTES: u64 = 64 << 10;
const CHUNKS: u64 = 5000;

fuzz_target!(|input: &[u8]| {
    if let Ok(ask) = Ask::decode(input, CHUNKS * CHUNK_BYTES) {
        assert_eq!(ask.encode(), input);
        if let Ask::Compare { first, count } = ask {
            assert!(first + u64::from(count) <= CHUNKS && count as usize <= HASHES_MAX);
        }
    }
    match Say::decode(input, CHUNKS * CHUNK_BYTES) {
        // The map of a disk of another size is passed over.
        Ok(Say::Stand(theirs)) if theirs.size_bytes != CHUNKS * CHUNK_BYTES => assert!(theirs.marked.is_none()),
        Ok(say) => assert_eq!(say.encode(), input),
        Err(_) => {}
    }
});
