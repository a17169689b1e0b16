//! A journal with anything in its head and ring: recovery ends, and what it replays once it replays again.
//!
//! A fuzzer does not find a 128-bit hash, so heads and frames get a valid check where the input says so.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::journal::{JOURNAL_BYTES_MIN, Journal, JournalError, Recovered};
use understudy_disk::storage::Storage;
use understudy_disk::storage::simulated::{Machine, SimulatedDisk};
use understudy_disk::words::Point;
use xxhash_rust::xxh3::Xxh3;

const BLOCK: usize = 4096;
const RING_AT: u64 = 2 * BLOCK as u64;
const SALT: [u8; 16] = [7; 16];

fuzz_target!(|input: &[u8]| {
    let begin = Point { generation: Generation(1), epoch: Epoch(0) };
    let mut disk = Machine::new().disk(JOURNAL_BYTES_MIN);
    let mut journal = Journal::create(disk.clone(), [1; 16], SALT, begin).expect("this storage does not fail");
    journal.begin(begin).expect("this storage does not fail");
    frames(&mut disk, input);
    let Some(first) = replayed(&disk) else { return };
    assert_eq!(replayed(&disk).as_ref(), Some(&first), "what was replayed once is there for the next time");
    let recovered = Recovered::open(disk.clone()).expect("it was read before");
    let mut journal = recovered.finish().expect("this storage does not fail");
    assert_eq!(replayed(&disk), Some(vec![]), "and after it was applied it is not replayed");
    // A life goes on behind it, if its numbers leave room.
    let applied = journal.applied();
    if applied.epoch.0 < u64::MAX {
        journal.begin(applied).expect("this storage does not fail");
        let next = Point { epoch: applied.epoch.next(), ..applied };
        journal.append(next, &[vec![9; 100]]).expect("the ring is empty");
        assert_eq!(replayed(&disk), Some(vec![vec![9; 100]]));
    }
});

fn replayed(disk: &SimulatedDisk) -> Option<Vec<Vec<u8>>> {
    let mut batches = Vec::new();
    let mut recovered = Recovered::open(disk.clone()).ok()?;
    recovered
        .replay(|batch| {
            batches.push(batch.to_vec());
            Ok::<_, JournalError>(())
        })
        .expect("what was read is there");
    Some(batches)
}

/// Blocks of the ring: a byte of mode, the bytes of its head from the input, and more of it as its batch.
fn frames(disk: &mut SimulatedDisk, mut input: &[u8]) {
    let ring = (JOURNAL_BYTES_MIN - RING_AT) as usize;
    let (mut at, mut sequence) = (0, 1u64);
    while let [mode, kind, epoch, blocks, rest @ ..] = input {
        let bytes = rest.len().min(64);
        let (content, after) = rest.split_at(bytes);
        input = after;
        let length = (usize::from(*blocks) * 97).min(ring - at);
        let mut frame = b"uSjf".to_vec();
        frame.extend([*kind % 5, 0, 0, 0]);
        frame.extend(SALT);
        let durable = if mode & 8 == 8 { sequence + 1 } else { sequence };
        for number in [sequence, durable, 1, u64::from(*epoch), length as u64] {
            frame.extend(number.to_le_bytes());
        }
        let batch: Vec<u8> = content.iter().copied().chain(std::iter::repeat(0)).take(length).collect();
        let mut hash = Xxh3::new();
        hash.update(&frame);
        hash.update(&batch);
        frame.extend(hash.digest128().to_le_bytes());
        frame.extend(batch);
        if mode & 1 == 1 {
            let place = content.first().map_or(0, |byte| usize::from(*byte)) % frame.len();
            frame[place] ^= mode >> 4;
        }
        frame.resize(frame.len().next_multiple_of(BLOCK), 0);
        if at + frame.len() > ring {
            break;
        }
        disk.write_at(RING_AT + at as u64, &frame).expect("this storage does not fail");
        at = if *kind % 5 == 3 { 0 } else { (at + frame.len()) % ring };
        sequence += 1;
    }
}
