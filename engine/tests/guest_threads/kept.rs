//! Epochs of the past on a receive thread: each is read as it was, while the guest goes on.

use super::rig::{HANG, PAGES, Rig, seeded};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use understudy::guest::{ReadError, ReadPart, ReadRequest, Report, Work};
use understudy_checkpoint::Epoch;
use understudy_checkpoint::epoch::{NotKept, Staging};
use understudy_session::primary::Capture;

/// Frames of a block; the last one is not full.
const BLOCK: usize = 64;

type Content = BTreeMap<u64, u8>;

/// Somebody who reads, and how far that is.
struct Reader {
    parts: Receiver<ReadPart>,
    back: Sender<Staging>,
    read: Content,
}

impl Rig {
    /// Changes some frames, and waits until that is committed.
    fn go_on(&mut self, round: u64) -> (Epoch, Content) {
        let frames = (0..40).map(|index| (index * 37 + round * 11) % PAGES);
        frames.for_each(|pfn| self.memory.write(pfn, (round * 13 + pfn % 7) as u8));
        let epoch = self.order(Capture::Delta, false);
        self.acked(epoch);
        self.await_report(|report| {
            matches!(report, Report::Committed { epoch: committed } if *committed == epoch).then_some(())
        });
        (epoch, (0..PAGES).map(|pfn| (pfn, self.memory.content(pfn))).collect())
    }

    fn read(&self, epoch: Option<Epoch>) -> Reader {
        let (to, parts) = bounded(4);
        let (back, emptied) = bounded(1);
        self.hand_over(Work::Read(ReadRequest { epoch, parts: to, emptied }));
        Reader { parts, back, read: Content::new() }
    }
}

impl Reader {
    fn next(&self) -> ReadPart {
        self.parts.recv_timeout(HANG).expect("a part follows")
    }

    /// Reads a block; `false` at the end.
    fn block(&mut self, emptied: Staging) -> Option<Staging> {
        self.back.send(emptied).unwrap();
        match self.next() {
            ReadPart::Frames(staging) => {
                for (entry, page) in staging.iter() {
                    let page = page.expect("every frame of this guest has a page");
                    assert!(page.iter().all(|byte| *byte == page[0]));
                    assert_eq!(self.read.insert(entry.pfn().0, page[0]), None, "once");
                }
                Some(staging)
            }
            ReadPart::State(state) => {
                assert_eq!(state.libxc, [7; 64]);
                None
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_epoch_of_the_past_is_read_as_it_was_while_the_guest_goes_on() {
    let mut rig = seeded();
    let past: Vec<(Epoch, Content)> = (0..6).map(|round| rig.go_on(round)).collect();
    for (number, (epoch, content)) in past.iter().enumerate().skip(2) {
        let mut reader = rig.read(Some(*epoch));
        if number > 2 {
            // What went on below has replaced it.
            assert!(matches!(reader.next(), ReadPart::Refused(ReadError::NotKept(NotKept::Other(_)))));
            continue;
        }
        assert!(matches!(reader.next(), ReadPart::Begun(begun) if begun == *epoch));
        let (mut emptied, mut round) = (Some(Staging::new(BLOCK)), 100);
        while let Some(staging) = emptied {
            rig.go_on(round);
            emptied = reader.block(staging);
            round += 1;
        }
        assert!(round > 105, "several epochs were committed meanwhile");
        assert_eq!(reader.read, *content);
    }
    rig.assert_same();
}

#[test]
fn what_is_committed_is_read_without_a_number_and_whoever_goes_away_ends_his_reading() {
    let mut rig = seeded();
    let (epoch, content) = rig.go_on(1);
    let leaver = rig.read(None);
    assert!(matches!(leaver.next(), ReadPart::Begun(begun) if begun == epoch));
    let second = rig.read(None);
    assert!(matches!(second.next(), ReadPart::Refused(ReadError::Busy)));
    drop(leaver);
    let mut reader = rig.read(None);
    while matches!(reader.next(), ReadPart::Refused(ReadError::Busy)) {
        reader = rig.read(None);
    }
    let mut emptied = Some(Staging::new(BLOCK));
    while let Some(staging) = emptied {
        emptied = reader.block(staging);
    }
    assert_eq!(reader.read, content);
    let unknown = rig.read(Some(Epoch(77_777)));
    assert!(matches!(unknown.next(), ReadPart::Refused(ReadError::NotKept(NotKept::Other(Epoch(77_777))))));
}
