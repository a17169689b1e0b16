//! What goes to the other host, what goes again after a lost link, and how much is kept.

use super::*;
use understudy_disk::batch::Content;
use understudy_disk::held::Held;
use understudy_disk::words::{DiskNumber, Extent};

fn write(recording: &Recording, sector: u64, byte: u8, bytes: usize) {
    let extent = Extent::new(sector * 512, bytes as u32).unwrap();
    let data = vec![byte; bytes];
    let write = Write { disk: DiskNumber(0), extent, content: Content::Data(&data) };
    recording.with_book(|book| {
        if let Book::Record(record) = book {
            let _ = record.write(write);
        }
    });
}

fn epoch(recording: &Recording, number: u64) -> WritesOf {
    recording.cut(Epoch(number));
    recording.end(Epoch(number)).unwrap()
}

fn arrive(held: &mut Held, number: u64, writes: &WritesOf) {
    writes.batches.iter().for_each(|tagged| held.batch(tagged.tag, &tagged.batch).unwrap());
    held.end(Epoch(number), writes.summary).unwrap();
}

#[test]
fn what_was_not_acked_goes_again_and_what_was_does_not() {
    let recording = Recording::default();
    write(&recording, 0, 9, 512);
    recording.begin(Epoch(3));
    recording.note();
    write(&recording, 1, 1, 512);
    assert_eq!(epoch(&recording, 3).summary.writes, 1, "what came before the copy is in what is read");
    let mut held = Held::new(Epoch(3), vec![1 << 20], 1 << 20);
    for number in 4..7 {
        write(&recording, number, number as u8, 512);
        let writes = epoch(&recording, number);
        if number == 4 {
            arrive(&mut held, number, &writes);
        }
    }
    recording.acked(Epoch(4));
    assert!(recording.go_back_to(Epoch(3)).is_err(), "that was forgotten");
    recording.go_back_to(Epoch(4)).unwrap();
    write(&recording, 7, 7, 512);
    let again = epoch(&recording, 7);
    assert_eq!(again.batches.iter().map(|tagged| tagged.tag.0).collect::<Vec<_>>(), [5, 6, 7]);
    arrive(&mut held, 7, &again);
    // The link is lost again before the epoch has arrived.
    held.drop_after(Epoch(4));
    recording.go_back_to(Epoch(4)).unwrap();
    let again = epoch(&recording, 8);
    arrive(&mut held, 8, &again);
    assert_eq!(again.summary.writes, 3);
    assert_eq!(held.commit(Epoch(8)).iter().map(|held| held.batches.len()).collect::<Vec<_>>(), [1, 3]);
}

/// This many incompressible writes of 64 KiB.
fn write_noise(recording: &Recording, writes: usize) {
    let mut word = 88_172_645_463_325_252_u64;
    let mut data = vec![0; 64 << 10];
    for chunk in data.chunks_exact_mut(8) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    for at in 0..writes {
        recording.with_book(|book| {
            let Book::Record(record) = book else { return };
            let extent = Extent::new((at * data.len()) as u64, data.len() as u32).unwrap();
            let _ = record.write(Write { disk: DiskNumber(0), extent, content: Content::Data(&data) });
        });
    }
}

#[test]
fn no_copy_goes_on_with_a_gap() {
    let recording = Recording::default();
    assert!(recording.end(Epoch(1)).is_err(), "nobody records");
    recording.begin(Epoch(1));
    assert!(recording.go_back_to(Epoch(1)).is_err(), "the full copy has not ended");
    recording.note();
    epoch(&recording, 1);
    write_noise(&recording, RECORD_BYTES_MAX / (64 << 10) + 1);
    write(&recording, 0, 1, 512);
    recording.cut(Epoch(2));
    assert!(recording.end(Epoch(2)).is_err(), "a write had no room");
    recording.begin(Epoch(3));
    recording.note();
    write(&recording, 0, 1, 512);
    assert_eq!(epoch(&recording, 3).summary.writes, 1, "another copy is whole");
}

#[test]
fn a_full_copy_whose_record_is_full_has_no_gap_but_marks() {
    let recording = Recording::default();
    recording.begin(Epoch(1));
    write(&recording, 0, 1, 512);
    recording.cut(Epoch(1));
    assert!(recording.end(Epoch(1)).is_err(), "what was marked was not sent");

    recording.begin(Epoch(2));
    recording.note();
    write_noise(&recording, RECORD_BYTES_MAX / (64 << 10) + 1);
    assert_eq!(recording.full(), Some(Full::Marks));
    assert!(!recording.take_ready().is_empty(), "what was recorded goes its way");
    recording.note();
    write(&recording, 0, 1, 512);
    assert!(epoch(&recording, 2).summary.writes > 100, "all of it counts");
}

#[test]
fn what_is_kept_is_bounded_and_what_is_not_kept_is_told() {
    let recording = Recording::default();
    recording.begin(Epoch(1));
    recording.note();
    epoch(&recording, 1);
    for number in 2..5 {
        write_noise(&recording, KEPT_BYTES_MAX / (64 << 10) * 3 / 8);
        epoch(&recording, number);
    }
    assert!(recording.go_back_to(Epoch(1)).is_err(), "epoch 2 is not kept any more");
    recording.go_back_to(Epoch(2)).unwrap();
    let tags: Vec<_> = epoch(&recording, 5).batches.iter().map(|tagged| tagged.tag).collect();
    assert_eq!((tags.first(), tags.last()), (Some(&Epoch(3)), Some(&Epoch(4))));
}
