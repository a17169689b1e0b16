//! An intent map whose sectors are anything: what is whole says what it says, and all else is marked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::intent::{IntentFile, REGION_BYTES};
use understudy_disk::storage::Storage;
use understudy_disk::storage::simulated::{Machine, SimulatedDisk};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SECTOR_REGIONS: u64 = 3968;
const REGIONS: u64 = 2 * SECTOR_REGIONS + 5;
const SIZE: u64 = REGIONS * REGION_BYTES;
const HISTORY: [u8; 16] = [3; 16];

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut disk = Machine::new().disk(IntentFile::<SimulatedDisk>::bytes(SIZE));
    IntentFile::create(disk.clone(), HISTORY, SIZE).expect("this storage does not fail");
    let mut whole = [true; 3];
    for (index, part) in rest.chunks(rest.len().div_ceil(3).max(1)).take(3).enumerate() {
        let mut sector = [0; 512];
        let part = &part[..part.len().min(512)];
        sector[..part.len()].copy_from_slice(part);
        if mode >> index & 1 == 1 {
            sector[8..16].copy_from_slice(&(index as u64).to_le_bytes());
            let check = xxh3_64_with_seed(&sector[8..], u64::from_le_bytes([3; 8]));
            sector[..8].copy_from_slice(&check.to_le_bytes());
        } else {
            // A fuzzer does not find the check of a sector.
            whole[index] = false;
        }
        disk.write_at(8192 + 512 * index as u64, &sector).expect("this storage does not fail");
    }
    let opened = IntentFile::open(disk.clone(), HISTORY, SIZE).expect("the head is whole");
    assert_eq!(opened.damaged_sectors, whole.iter().filter(|whole| !**whole).count() as u64);
    for region in 0..REGIONS {
        assert!(whole[(region / SECTOR_REGIONS) as usize] || opened.marked.has(region));
    }
    let again = IntentFile::open(disk, HISTORY, SIZE).expect("the head is whole");
    assert_eq!((again.damaged_sectors, again.marked), (0, opened.marked), "what was not whole is written again");
});
