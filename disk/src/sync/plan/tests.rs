//! Two hosts whose disks are chunks with numbers: after what a plan says was sent, both are equal.

use super::*;
use crate::intent::{Intent, QUIET};
use crate::ledger::Ledger;
use crate::testing::Dice;
use crate::words::Extent;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::time::Time;

const CHUNKS: u64 = 6 * (REGION_BYTES / CHUNK_BYTES);
const SIZE: u64 = CHUNKS * CHUNK_BYTES;
const HISTORY: [u8; 16] = [1; 16];

/// A host that runs the guest, and what its disk, ledger and map are.
struct Primary {
    disk: Vec<u64>,
    ledger: Ledger,
    intent: Intent,
    generation: Generation,
    tag: Epoch,
    now: Time,
    /// Writes by epoch, for the other host.
    log: Vec<(Epoch, u64, u64)>,
    /// All up to it was on the other host's disk when the map last forgot something.
    label: Epoch,
}

impl Primary {
    fn new(disk: Vec<u64>, generation: Generation, tag: Epoch, marked: Bits) -> Self {
        let ledger = Ledger::new(SIZE, 40).unwrap();
        let label = Epoch(tag.0 - 1);
        Self {
            disk,
            ledger,
            intent: Intent::new(marked).unwrap(),
            generation,
            tag,
            now: Time(0),
            log: Vec::new(),
            label,
        }
    }

    fn write(&mut self, dice: &mut Dice, stamp: u64) {
        let chunk = dice.below(CHUNKS as usize) as u64;
        let extent = Extent::new(chunk * CHUNK_BYTES, 512).unwrap();
        let _ = self.intent.begin(extent).unwrap();
        if let Some(pending) = self.intent.take() {
            self.intent.done(&pending);
        }
        self.disk[chunk as usize] = stamp;
        self.ledger.mark(extent, self.tag);
        self.log.push((self.tag, chunk, stamp));
        self.intent.end(extent, self.tag, self.now);
    }

    /// The other host has applied so much.
    fn applied(&mut self, through: Epoch) {
        self.ledger.applied(through);
        self.label = through;
        self.now = self.now + QUIET;
        self.intent.cool(through, self.now);
    }
}

fn follow(disk: &mut [u64], log: &[(Epoch, u64, u64)], after: Epoch, through: Epoch) {
    for (_, chunk, stamp) in log.iter().filter(|(tag, ..)| *tag > after && *tag <= through) {
        disk[*chunk as usize] = *stamp;
    }
}

fn none() -> Bits {
    Bits::try_new(SIZE.div_ceil(REGION_BYTES)).unwrap()
}

fn at(generation: u64, epoch: Epoch) -> Point {
    Point { generation: Generation(generation), epoch }
}

/// A primary that has run a while beside a secondary; the epoch that the secondary has applied, and its disk.
fn pair(dice: &mut Dice, stamp: &mut u64) -> (Primary, Epoch, Vec<u64>) {
    let mut primary = Primary::new(vec![0; CHUNKS as usize], Generation(1), Epoch(1), none());
    let (mut applied, mut disk) = (Epoch(0), vec![0; CHUNKS as usize]);
    for _ in 0..dice.below(30) {
        for _ in 0..dice.below(6) {
            *stamp += 1;
            primary.write(dice, *stamp);
        }
        primary.tag = primary.tag.next();
        if dice.below(3) == 0 {
            let through = Epoch(applied.0 + dice.below((primary.tag.0 - applied.0) as usize) as u64);
            follow(&mut disk, &primary.log, applied, through);
            applied = through;
            // The word that it is applied may be lost.
            if dice.below(3) > 0 {
                primary.applied(applied);
            }
        }
    }
    (primary, applied, disk)
}

fn ours(primary: &Primary, since: Point) -> Ours {
    Ours {
        history: HISTORY,
        size_bytes: SIZE,
        generation: primary.generation,
        since,
        lacking: primary.ledger.lacking(),
    }
}

fn theirs(trust: Trust, marked: Option<Bits>) -> Theirs {
    Theirs { label: Some(Known { history: HISTORY, trust, is_blank: false }), size_bytes: SIZE, marked }
}

/// Carries a plan out; how many chunks it sent.
fn send(plan: Result<Plan, Unlike>, from: &[u64], to: &mut [u64]) -> u64 {
    let Ok(Plan::Send(chunks)) = plan else { panic!("{plan:?}") };
    chunks.runs().flatten().for_each(|chunk| to[chunk as usize] = from[chunk as usize]);
    chunks.marked()
}

#[test]
fn a_secondary_that_comes_back_gets_what_it_has_not_applied() {
    let mut sent = 0;
    for seed in 0..500 {
        let (mut dice, mut stamp) = (Dice::new(seed), 0);
        let (primary, applied, mut disk) = pair(&mut dice, &mut stamp);
        let plan = plan(&ours(&primary, at(1, primary.label)), &theirs(Trust::Epoch(at(1, applied)), None));
        sent += send(plan, &primary.disk, &mut disk);
        assert_eq!(disk, primary.disk, "seed {seed}");
    }
    assert!(sent < 500 * CHUNKS / 4, "{sent}: it is no full copy");
}

#[test]
fn an_old_primary_that_comes_back_is_rolled_back_and_brought_up_to_date() {
    let mut sent = 0;
    for seed in 0..500 {
        let (mut dice, mut stamp) = (Dice::new(seed), 0);
        let (mut old, applied, mut disk) = pair(&mut dice, &mut stamp);
        // The takeover is of the last ack, anywhere between what is applied and what was cut; some was never acked.
        let acked = Epoch(applied.0 + dice.below((old.tag.0 - applied.0) as usize) as u64);
        follow(&mut disk, &old.log, applied, acked);
        let mut new = Primary::new(disk, Generation(2), acked.next(), none());
        for _ in 0..dice.below(20) {
            stamp += 1;
            new.write(&mut dice, stamp);
            // The old one may still write, paused or not: nobody sees it.
            stamp += 1;
            old.write(&mut dice, stamp);
        }
        let trust = Trust::Owned { generation: Generation(1), applied: at(1, old.label) };
        let marked = old.intent.marked().clone();
        let ours = ours(&new, at(1, acked));
        sent += send(plan(&ours, &theirs(trust, Some(marked))), &new.disk, &mut old.disk);
        assert_eq!(old.disk, new.disk, "seed {seed}");
        assert_eq!(
            plan(&ours, &theirs(trust, None)),
            Ok(Plan::Compare),
            "a map that cannot be read is no clean map"
        );
    }
    assert!(sent < 500 * CHUNKS, "{sent}: it is no full copy");
}

#[test]
fn after_a_forced_takeover_back_both_maps_together_are_enough() {
    for seed in 0..500 {
        let (mut dice, mut stamp) = (Dice::new(seed), 0);
        let (mut first, applied, mut disk) = pair(&mut dice, &mut stamp);
        follow(&mut disk, &first.log, applied, first.tag);
        let took_over = first.tag;
        let mut second = Primary::new(disk, Generation(2), took_over.next(), none());
        (0..dice.below(20)).for_each(|_| {
            stamp += 1;
            second.write(&mut dice, stamp);
        });
        // A person starts the first one again from its own disk; the second one comes back to it.
        (first.generation, first.tag) = (Generation(3), took_over.next());
        stamp += 1;
        first.write(&mut dice, stamp);
        let trust = Trust::Owned { generation: Generation(2), applied: at(1, took_over) };
        let theirs = theirs(trust, Some(second.intent.marked().clone()));
        send(plan(&ours(&first, at(1, first.label)), &theirs), &first.disk, &mut second.disk);
        assert_eq!(second.disk, first.disk, "seed {seed}");
    }
}

#[test]
fn nothing_is_called_equal_that_nobody_knows_to_be() {
    let lacking = Bits::try_new(CHUNKS).unwrap();
    let ours = Ours {
        history: HISTORY,
        size_bytes: SIZE,
        generation: Generation(3),
        since: at(2, Epoch(50)),
        lacking,
    };
    let good = theirs(Trust::Epoch(at(2, Epoch(50))), Some(none()));
    assert!(matches!(plan(&ours, &good), Ok(Plan::Send(chunks)) if chunks.is_empty()), "the control");
    let with = |trust| theirs(trust, Some(none()));
    let owned = |generation, applied| with(Trust::Owned { generation: Generation(generation), applied });
    let foreign = Known { history: [2; 16], ..good.label.unwrap() };
    for (what, theirs) in [
        ("no label", Theirs { label: None, ..good.clone() }),
        ("another history", Theirs { label: Some(foreign), ..good.clone() }),
        ("partial", with(Trust::Nothing)),
        ("before the ledger begins", with(Trust::Epoch(at(2, Epoch(49))))),
        ("of another generation", with(Trust::Epoch(at(1, Epoch(60))))),
        ("of a later generation", with(Trust::Epoch(at(3, Epoch(60))))),
        ("owned long ago", owned(1, at(1, Epoch(40)))),
        ("applied by somebody else", owned(2, at(2, Epoch(51)))),
    ] {
        assert_eq!(plan(&ours, &theirs), Ok(Plan::Compare), "{what}");
    }
    let blank = Theirs {
        label: Some(Known { is_blank: true, trust: Trust::Nothing, ..good.label.unwrap() }),
        ..good.clone()
    };
    assert!(matches!(plan(&ours, &blank), Ok(Plan::Send(chunks)) if chunks.marked() == CHUNKS));
    for generation in [3, 4] {
        let refused = plan(&ours, &owned(generation, at(2, Epoch(40))));
        assert_eq!(refused, Err(Unlike::Owned { theirs: Generation(generation), ours: Generation(3) }));
    }
    let smaller = Theirs { size_bytes: SIZE - 512, ..good };
    assert_eq!(plan(&ours, &smaller), Err(Unlike::Size { theirs: SIZE - 512, ours: SIZE }));
}
