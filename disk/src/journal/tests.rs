use super::*;
use crate::storage::simulated::{Fault, Machine, SimulatedDisk};
use crate::testing::Dice;

const RING_BLOCKS: u64 = 12;
const BYTES: u64 = PAIR_BYTES + RING_BLOCKS * BLOCK_BYTES as u64;

fn point(epoch: u64) -> Point {
    Point { generation: Generation(1), epoch: Epoch(epoch) }
}

fn batch(fill: u64, bytes: usize) -> Vec<u8> {
    let mut batch = vec![fill as u8; bytes];
    batch[..8].copy_from_slice(&fill.to_le_bytes());
    batch
}

struct Bench {
    machine: Machine,
    disk: SimulatedDisk,
}

impl Bench {
    fn new() -> (Self, Journal<SimulatedDisk>) {
        let machine = Machine::new();
        let disk = machine.disk(BYTES);
        let mut journal = Journal::create(disk.clone(), [1; 16], [2; 16], point(0)).unwrap();
        journal.begin(point(0)).unwrap();
        (Self { machine, disk }, journal)
    }

    fn recover(&self) -> Result<Recovered<SimulatedDisk>, JournalError> {
        Recovered::open(self.disk.clone())
    }

    /// What a recovery replays, as the number at the begin of each batch.
    fn replayed(&self) -> Result<(Vec<u64>, Point), JournalError> {
        let mut recovered = self.recover()?;
        let mut fills = Vec::new();
        recovered.replay(|batch| {
            fills.push(u64::from_le_bytes(batch[..8].try_into().unwrap()));
            Ok::<_, JournalError>(())
        })?;
        Ok((fills, recovered.point()))
    }

    /// The frames at these places of the ring, as they are now.
    fn block(&self, position: u64) -> Vec<u8> {
        self.disk.content()[(PAIR_BYTES + position) as usize..][..BLOCK_BYTES].to_vec()
    }
}

#[test]
fn a_head_is_these_bytes() {
    let tail = Place { position: 0x3000, sequence: 9 };
    let applied = Point { generation: Generation(2), epoch: Epoch(5) };
    let head = Head { is_open: true, tail, salt: [7; 16], applied };
    let mut expected = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    expected.extend([7; 16]);
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(head.encode(), expected);
    assert_eq!(Head::decode(&expected, 0x4000), Some(head));
    for (at, value) in [(0, 0), (0, 3), (1, 1), (8, 1), (9, 0x40), (23, 0x80)] {
        let mut bad = expected.clone();
        bad[at] = value;
        assert_eq!(Head::decode(&bad, 0x4000), None, "{at}");
    }
    assert_eq!(Head::decode(&expected[..55], 0x4000), None);
}

#[test]
fn whole_epochs_come_back_in_order_over_the_end_of_the_ring() {
    let (bench, mut journal) = Bench::new();
    for epoch in 1..=40 {
        let batches = [batch(2 * epoch, 100), batch(2 * epoch + 1, 4000 + (epoch as usize % 3) * 4096)];
        journal.append(point(epoch), &batches).unwrap();
        journal.flush().unwrap();
        if epoch > 1 {
            journal.trim(point(epoch - 1)).unwrap();
        }
        assert_eq!(
            bench.replayed().unwrap(),
            (vec![2 * epoch, 2 * epoch + 1], point(epoch)),
            "without a close"
        );
    }
    assert!(journal.used_bytes() <= BYTES - PAIR_BYTES);
}

#[test]
fn what_has_no_room_leaves_the_journal_as_it_was() {
    let (bench, mut journal) = Bench::new();
    journal.append(point(1), &[batch(1, 100)]).unwrap();
    let operations = bench.machine.operations();
    let large = vec![batch(2, 4096); RING_BLOCKS as usize / 2];
    assert!(
        matches!(journal.append(point(2), &large), Err(JournalError::Full { bytes, room_bytes }) if bytes == 13 * 4096 && room_bytes == 11 * 4096)
    );
    assert_eq!(bench.machine.operations(), operations);
    journal.append(point(2), &large[1..]).unwrap();
    journal.append(point(3), &[]).unwrap();
    journal.append(point(4), &[batch(4, 8)]).unwrap();
    assert!(matches!(
        journal.append(point(5), &[batch(5, 8)]),
        Err(JournalError::Full { room_bytes: 0, .. })
    ));
    journal.flush().unwrap();
    assert_eq!(bench.recover().unwrap().point(), point(4), "a ring may be full to its last block");
}

#[test]
fn an_epoch_that_is_not_whole_is_dropped_and_never_completed_by_a_later_life() {
    // An earlier life has left [A, B] of an epoch that has three frames; C is missing.
    let (bench, mut journal) = Bench::new();
    journal.append(point(1), &[batch(1, 100)]).unwrap();
    journal.append(point(2), &[batch(10, 100), batch(11, 100), batch(12, 100)]).unwrap();
    let old = [1, 2, 3].map(|index| bench.block(index * 4096));
    let mut torn = bench.disk.clone();
    torn.write_at(PAIR_BYTES + 3 * 4096, &[0; 4096]).unwrap();
    drop(journal);
    let recovered = bench.recover().unwrap();
    assert_eq!((recovered.dropped_frames(), recovered.point()), (2, point(1)));
    let mut journal = recovered.finish().unwrap();
    journal.begin(point(1)).unwrap();
    journal.append(point(2), &[batch(20, 100), batch(21, 100), batch(22, 100)]).unwrap();
    let new = [1, 2, 3].map(|index| bench.block(index * 4096));
    // Of the new frames any set reaches the media; where it does not, the old one is there, C of before as well.
    for kept in 0..7u32 {
        for (index, position) in (1..=3).enumerate() {
            let block = if kept >> index & 1 == 1 { &new[index] } else { &old[index] };
            torn.write_at(PAIR_BYTES + position * 4096, block).unwrap();
        }
        assert_eq!(bench.replayed().unwrap(), (vec![], point(1)), "{kept:03b}");
    }
}

#[test]
fn a_frame_that_was_durable_and_is_gone_is_damage_and_not_the_end() {
    for rotten in 0..3 {
        let (bench, mut journal) = Bench::new();
        for epoch in 1..=4 {
            journal.append(point(epoch), &[batch(epoch, 100)]).unwrap();
            journal.flush().unwrap();
        }
        drop(journal);
        bench.disk.rot(PAIR_BYTES + rotten * 4096 + 110, 1);
        assert!(matches!(bench.recover(), Err(JournalError::Damaged { .. })), "frame {rotten}");
    }
    // The last one has no witness: it is as if it had been torn.
    let (bench, mut journal) = Bench::new();
    for epoch in 1..=2 {
        journal.append(point(epoch), &[batch(epoch, 100)]).unwrap();
        journal.flush().unwrap();
    }
    bench.disk.rot(PAIR_BYTES + 4096 + 110, 1);
    assert_eq!(bench.recover().unwrap().point(), point(1));
}

#[test]
fn a_frame_that_was_never_flushed_may_be_missing_before_one_that_was_written_after_it() {
    let (bench, mut journal) = Bench::new();
    journal.append(point(1), &[batch(1, 100)]).unwrap();
    journal.append(point(2), &[batch(2, 100)]).unwrap();
    let mut disk = bench.disk.clone();
    disk.write_at(PAIR_BYTES, &[0; 4096]).unwrap();
    assert_eq!(bench.replayed().unwrap(), (vec![], point(0)), "torn, not rotten");
}

#[test]
fn a_read_that_fails_is_not_the_end_of_the_journal() {
    let (bench, mut journal) = Bench::new();
    journal.append(point(1), &[batch(1, 100)]).unwrap();
    journal.flush().unwrap();
    drop(journal);
    let begin = bench.machine.operations();
    bench.recover().unwrap();
    let reads = bench.machine.operations() - begin;
    let mut failed = 0;
    for operation in 0..reads {
        bench.machine.fail_at(bench.machine.operations() + operation, Fault::Device);
        match bench.recover() {
            Err(JournalError::Storage(_) | JournalError::Head(PairError::Storage(_))) => failed += 1,
            Err(error) => panic!("{error}"),
            Ok(recovered) => assert_eq!(recovered.point(), point(1)),
        }
        bench.machine.restart_process();
    }
    assert!(failed >= reads - 4, "{failed} of {reads}: all but flushes");
}

/// The trap of the flush that failed: the next process reads its frames from a cache that calls itself clean.
#[test]
fn what_a_failed_flush_gave_up_is_written_again_before_it_is_replayed() {
    for seed in 0..50 {
        let (bench, mut journal) = Bench::new();
        journal.append(point(1), &[batch(1, 100)]).unwrap();
        bench.machine.fail_at(bench.machine.operations(), Fault::Flush);
        journal.flush().unwrap_err();
        journal.flush().unwrap_err();
        drop(journal);
        assert_eq!(bench.replayed().unwrap().1, point(1));
        let mut dice = Dice::new(seed);
        bench.machine.lose_power(&mut |count| dice.below(count));
        assert_eq!(bench.replayed().unwrap().1, point(1), "a disk may have its bytes by now");
    }
}

#[test]
fn a_closed_journal_replays_nothing_and_another_format_is_refused() {
    let (bench, mut journal) = Bench::new();
    journal.append(point(1), &[batch(1, 100)]).unwrap();
    journal.flush().unwrap();
    journal.close(point(1)).unwrap();
    assert!(bench.recover().unwrap().is_closed());
    assert_eq!(bench.replayed().unwrap(), (vec![], point(1)));
    assert!(matches!(
        Journal::create(bench.machine.disk(BYTES - 5 * 4096), [0; 16], [0; 16], point(0)),
        Err(JournalError::Small { .. })
    ));
    let mut disk = bench.disk.clone();
    disk.write_at(0, &vec![0; PAIR_BYTES as usize]).unwrap();
    assert!(matches!(bench.recover(), Err(JournalError::Head(PairError::Blank { .. }))));
}

#[test]
fn frames_of_a_journal_that_was_here_before_are_none_of_the_new_one() {
    let (bench, mut journal) = Bench::new();
    for epoch in 1..=6 {
        journal.append(point(epoch), &[batch(epoch, 100)]).unwrap();
        journal.flush().unwrap();
    }
    drop(journal);
    let mut journal = Journal::create(bench.disk.clone(), [1; 16], [3; 16], point(0)).unwrap();
    journal.begin(point(0)).unwrap();
    assert_eq!(bench.replayed().unwrap(), (vec![], point(0)));
}
