use super::*;
use crate::batch::{Content, Encoder, Write};
use crate::words::Extent;

fn batch(disk: u16, offset: u64, fill: u8) -> (Vec<u8>, WritesSummary) {
    let data = vec![fill; 4096];
    let extent = Extent::new(offset, 4096).unwrap();
    let write = Write { disk: DiskNumber(disk), extent, content: Content::Data(&data) };
    let (mut encoder, mut summing) = (Encoder::default(), Summing::default());
    encoder.add(write);
    summing.add(write);
    (encoder.finish().unwrap(), WritesSummary::default().then(summing.summary()))
}

fn held(bytes_max: usize) -> Held {
    Held::new(Epoch(0), vec![8192, 4096], bytes_max)
}

#[test]
fn only_whole_epochs_are_committed_in_order_and_once() {
    let mut held = held(1 << 20);
    for epoch in 1..=3 {
        let (bytes, summary) = batch(0, 4096, epoch as u8);
        held.batch(Epoch(epoch), &bytes).unwrap();
        if epoch < 3 {
            held.end(Epoch(epoch), summary).unwrap();
        }
    }
    let committed = held.commit(Epoch(3));
    assert_eq!(committed.iter().map(|held| held.epoch.0).collect::<Vec<_>>(), [1, 2]);
    assert!(held.commit(Epoch(3)).is_empty());
    assert!(held.bytes() > 0, "the writes of 3 wait for their end");
}

#[test]
fn what_is_not_acked_is_dropped_and_its_numbers_may_come_again() {
    let mut held = held(1 << 20);
    let (first, summary) = batch(0, 0, 1);
    for epoch in [1, 2] {
        held.batch(Epoch(epoch), &first).unwrap();
        held.end(Epoch(epoch), summary).unwrap();
    }
    held.batch(Epoch(3), &first).unwrap();
    held.drop_after(Epoch(1));
    let (other, summary) = batch(0, 0, 9);
    held.batch(Epoch(2), &other).unwrap();
    held.end(Epoch(2), summary).unwrap();
    let committed = held.commit(Epoch(9));
    assert_eq!(
        committed.iter().map(|held| (held.epoch.0, &held.batches)).collect::<Vec<_>>(),
        [(1, &vec![first]), (2, &vec![other])]
    );
    assert_eq!(held.bytes(), 0);
}

#[test]
fn a_write_beyond_a_disk_is_refused_and_nothing_of_its_batch_is_held() {
    for (disk, offset) in [(1, 4096), (0, 8192), (2, 0), (u16::MAX, 0), (0, u64::MAX - 8191)] {
        let mut held = held(1 << 20);
        let (bytes, summary) = batch(disk, offset, 1);
        assert!(matches!(held.batch(Epoch(1), &bytes), Err(HeldError::Beyond { .. })));
        assert_eq!(held.bytes(), 0);
        assert_eq!(held.end(Epoch(1), summary), Err(HeldError::Mismatch { epoch: Epoch(1) }));
    }
}

#[test]
fn the_limit_holds_and_what_was_held_before_still_can_be_committed() {
    let (bytes, summary) = batch(0, 0, 1);
    let mut held = held(2 * (bytes.len() + BATCH_COST_BYTES));
    held.batch(Epoch(1), &bytes).unwrap();
    held.end(Epoch(1), summary).unwrap();
    held.batch(Epoch(2), &bytes).unwrap();
    assert!(matches!(held.batch(Epoch(2), &bytes), Err(HeldError::Full { .. })));
    assert_eq!(held.commit(Epoch(1)).len(), 1);
    held.batch(Epoch(2), &bytes).unwrap();
}

#[test]
fn tags_and_ends_do_not_go_back() {
    let mut held = held(1 << 20);
    let (bytes, summary) = batch(0, 0, 1);
    held.batch(Epoch(5), &bytes).unwrap();
    assert!(matches!(held.batch(Epoch(4), &bytes), Err(HeldError::Order { tag: Epoch(4), after: Epoch(5) })));
    held.end(Epoch(5), summary).unwrap();
    assert!(matches!(held.batch(Epoch(5), &bytes), Err(HeldError::Order { .. })));
    assert!(matches!(held.end(Epoch(5), summary), Err(HeldError::Order { .. })));
}
