//! A disk's label: its bytes as they come, and whole slots behind a valid check.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::label::{LABEL_BYTES, Label, LabelFile};
use understudy_disk::storage::Storage;
use understudy_disk::storage::simulated::Machine;
use xxhash_rust::xxh3::xxh3_128;

const BLOCK: usize = 4096;

fuzz_target!(|input: &[u8]| {
    if let Ok(label) = Label::decode(input) {
        let mut disk = Machine::new().disk(LABEL_BYTES);
        LabelFile::create(disk.clone(), [1; 16], label.clone()).expect("this storage does not fail");
        let mut slot = [0; BLOCK];
        disk.read_at(0, &mut slot).expect("this storage does not fail");
        assert_eq!(&slot[40..40 + input.len()], input, "what decodes encodes to the same bytes");
        assert_eq!(LabelFile::open(disk).expect("what was put is there").label(), &label);
    }
    slots(input);
});

/// Two slots: the first bytes of each from the input, the check valid if the input says so.
fn slots(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut disk = Machine::new().disk(LABEL_BYTES);
    for (index, part) in rest.chunks(rest.len().div_ceil(2).max(1)).take(2).enumerate() {
        let mut slot = [0; BLOCK];
        let part = &part[..part.len().min(BLOCK - 16)];
        slot[..part.len()].copy_from_slice(part);
        if mode & 1 == 1 {
            slot[..8].copy_from_slice(b"uSlabel\0");
        }
        if mode & 2 == 2 {
            let check = xxh3_128(&slot[..BLOCK - 16]);
            slot[BLOCK - 16..].copy_from_slice(&check.to_le_bytes());
        }
        disk.write_at((index * BLOCK) as u64, &slot).expect("this storage does not fail");
    }
    if let Ok(file) = LabelFile::open(disk.clone()) {
        let again = LabelFile::open(disk).expect("what was read once is healed");
        assert_eq!(again.label(), file.label());
    }
}
