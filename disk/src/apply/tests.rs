//! A model of a guest's disks, epoch by epoch, beside an [`Applier`] whose machine ends at any operation, again and again.

use super::*;
use crate::batch::{Encoder, pieces};
use crate::journal::JOURNAL_BYTES_MIN;
use crate::label::LABEL_BYTES;
use crate::storage::simulated::{Fault, Machine, SimulatedDisk};
use crate::testing::Dice;
use crate::words::Extent;

const SECTORS: u64 = 24;
const DISKS: usize = 2;
const HISTORY: [u8; 16] = [4; 16];

type Disks = [Vec<u8>; DISKS];

/// Who says that it flushes, and does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Liar {
    Nobody,
    Journal,
    Disks,
}

struct World {
    machine: Machine,
    journal: SimulatedDisk,
    disks: Vec<SimulatedDisk>,
    labels: Vec<SimulatedDisk>,
    /// What the disks are after each epoch of the present history of epochs.
    expected: Vec<(Point, Disks)>,
    dice: Dice,
}

/// What the disks were found to be, where a model says otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    torn: u32,
    went_back: u32,
    starts: u32,
    replays: u32,
}

impl World {
    fn new(seed: u64, liar: Liar) -> Self {
        let machine = Machine::new();
        let journal = machine.disk(JOURNAL_BYTES_MIN);
        let disks: Vec<_> = (0..DISKS).map(|_| machine.disk(SECTORS * 512)).collect();
        let labels: Vec<_> = (0..DISKS).map(|_| machine.disk(LABEL_BYTES)).collect();
        match liar {
            Liar::Nobody => {}
            Liar::Journal => journal.never_flush(),
            Liar::Disks => disks.iter().for_each(SimulatedDisk::never_flush),
        }
        Self { machine, journal, disks, labels, expected: Vec::new(), dice: Dice::new(seed) }
    }

    fn content(&self) -> Disks {
        [0, 1].map(|disk: usize| self.disks[disk].content())
    }

    fn create(&mut self, mode: Mode) -> Applier<SimulatedDisk> {
        let volumes = self.disks.iter().zip(&self.labels).map(|(disk, label)| {
            let first = Label {
                guest: "web".into(),
                vdev: "xvda".into(),
                size_bytes: SECTORS * 512,
                standing: Standing::Blank,
                generation: Generation(1),
                applied: Epoch(0),
                is_clean: true,
            };
            Volume::new(disk.clone(), LabelFile::create(label.clone(), HISTORY, first).unwrap())
        });
        let begin = Point { generation: Generation(1), epoch: Epoch(0) };
        let journal = Journal::create(self.journal.clone(), HISTORY, [5; 16], begin).unwrap();
        let mut applier = Applier::create(volumes.collect(), journal, mode).unwrap();
        applier.begin_sync().unwrap();
        applier.end_sync(begin).unwrap();
        self.expected = vec![(begin, self.content())];
        applier
    }

    fn recover(&self, mode: Mode) -> Result<(Applier<SimulatedDisk>, Trust), ApplyError> {
        let mut volumes = Vec::new();
        for (number, (disk, label)) in self.disks.iter().zip(&self.labels).enumerate() {
            let disk_number = DiskNumber(number as u16);
            let label = LabelFile::open(label.clone())
                .map_err(|source| ApplyError::Label { disk: disk_number, source })?;
            volumes.push(Volume::new(disk.clone(), label));
        }
        Applier::recover(volumes, Recovered::open(self.journal.clone())?, mode)
    }

    /// Writes of an epoch that overlap each other, and what the disks are after them.
    fn epoch(&mut self, generation: Generation) -> (HeldEpoch, Point, Disks) {
        let (last, mut disks) = self.expected.last().expect("a begin").clone();
        let epoch = last.epoch.next();
        let mut encoder = Encoder::default();
        let mut batches = Vec::new();
        for _ in 0..self.dice.below(4) {
            let disk = self.dice.below(DISKS);
            let sector = self.dice.below(SECTORS as usize - 6);
            let sectors = 1 + self.dice.below(6);
            let fill = if self.dice.below(3) == 0 { 0 } else { self.dice.next() as u8 };
            let range = sector * 512..(sector + sectors) * 512;
            disks[disk][range.clone()].fill(fill);
            let extent = Extent::new(range.start as u64, range.len() as u32).unwrap();
            let content = Content::Data(&disks[disk][range]);
            for piece in pieces(Write { disk: DiskNumber(disk as u16), extent, content }) {
                encoder.add(piece);
            }
            if self.dice.below(2) == 0 {
                batches.extend(encoder.finish());
            }
        }
        batches.extend(encoder.finish());
        (HeldEpoch { epoch, batches }, Point { generation, epoch }, disks)
    }

    fn lose_power(&mut self) {
        let dice = &mut self.dice;
        self.machine.lose_power(&mut |count| dice.below(count));
    }
}

#[derive(Clone, Copy)]
struct Marks {
    /// What must not be lost.
    promised: Point,
    /// What may be there.
    logged: Point,
    /// The last one with a write.
    written: Point,
}

impl Marks {
    fn at(point: Point) -> Self {
        Self { promised: point, logged: point, written: point }
    }
}

/// Lives of one machine: each logs and applies epochs until it ends at some operation, then loses its power or not.
fn lives(seed: u64, mode: Mode, liar: Liar) -> Verdict {
    let mut world = World::new(seed, liar);
    let mut verdict = Verdict::default();
    let mut applier = Some(world.create(mode));
    let mut generation = Generation(1);
    let mut marks = Marks::at(applier.as_ref().unwrap().applied());
    for _ in 0..4 {
        let end = world.machine.operations() + world.dice.below(60) as u64;
        let fault = [Fault::End, Fault::End, Fault::Flush, Fault::Device, Fault::Full][world.dice.below(5)];
        world.machine.fail_at(end, fault);
        if let Some(applier) = &mut applier {
            while follow(&mut world, applier, mode, generation, &mut marks).is_ok() {}
        }
        drop(applier.take());
        if world.dice.below(3) == 0 {
            world.machine.restart_process()
        } else {
            world.lose_power()
        }
        // The recovery may end at any operation, too.
        for _ in 0..2 {
            world.machine.fail_at(world.machine.operations() + world.dice.below(40) as u64, Fault::End);
            let _ = world.recover(mode);
            if world.dice.below(2) == 0 { world.machine.restart_process() } else { world.lose_power() }
        }
        let (mut next, point) = match world.recover(mode) {
            Ok((next, Trust::Epoch(point))) => (next, point),
            Ok((_, trust)) => panic!("seed {seed}: {trust:?}"),
            Err(error) => {
                assert_ne!(
                    liar,
                    Liar::Nobody,
                    "seed {seed}: a machine that tells the truth is recovered: {error}"
                );
                return Verdict { torn: verdict.torn + 1, ..verdict };
            }
        };
        verdict.starts += 1;
        verdict.replays += u32::from(point > marks.promised);
        let is_exact = world.expected.iter().any(|(at, disks)| *at == point && *disks == world.content());
        verdict.torn += u32::from(!is_exact);
        verdict.went_back += u32::from(point < marks.promised || point > marks.logged);
        world.expected.retain(|(at, _)| *at <= point);
        generation = generation.next();
        let begin = Point { generation, ..point };
        if !is_exact || next.follow(begin).is_err() {
            return verdict;
        }
        let content = world.content();
        world.expected.push((begin, content));
        marks = Marks::at(begin);
        applier = Some(next);
    }
    verdict
}

fn follow(
    world: &mut World,
    applier: &mut Applier<SimulatedDisk>,
    mode: Mode,
    generation: Generation,
    Marks { promised, logged, written }: &mut Marks,
) -> Result<(), ApplyError> {
    let (held, point, disks) = world.epoch(generation);
    world.expected.push((point, disks));
    // An epoch without a write is at the same content as the one before, and is not remembered by itself.
    let has_writes = !held.batches.is_empty();
    *logged = point;
    applier.log(generation, held)?;
    if has_writes {
        *written = point;
    }
    if mode == Mode::Durable {
        *promised = *written;
    }
    if world.dice.below(3) == 0 {
        applier.apply()?;
        *promised = *written;
    }
    Ok(())
}

fn of_all(seeds: u64, mode: Mode, liar: Liar) -> Verdict {
    (0..seeds).map(|seed| lives(seed, mode, liar)).fold(Verdict::default(), |all, one| Verdict {
        torn: all.torn + one.torn,
        went_back: all.went_back + one.went_back,
        starts: all.starts + one.starts,
        replays: all.replays + one.replays,
    })
}

#[test]
fn after_any_crashes_the_disks_are_exactly_at_an_epoch_not_before_what_was_promised() {
    for mode in [Mode::Ordered, Mode::Durable] {
        let verdict = of_all(700, mode, Liar::Nobody);
        assert_eq!((verdict.torn, verdict.went_back), (0, 0), "{mode:?}: {verdict:?}");
        assert!(verdict.starts > 2500 && verdict.replays > 150, "{mode:?}: {verdict:?}");
    }
}

#[test]
fn a_device_that_does_not_flush_is_noticed_by_this_test() {
    for liar in [Liar::Journal, Liar::Disks] {
        let verdict = of_all(250, Mode::Ordered, liar);
        assert!(verdict.torn + verdict.went_back > 10, "{liar:?}: {verdict:?}");
    }
}

#[test]
fn without_a_journal_a_crash_leaves_disks_that_nobody_believes() {
    for seed in 0..50 {
        let mut world = World::new(seed, Liar::Nobody);
        let mut applier = world.create(Mode::Off);
        for _ in 0..5 {
            let (held, point, disks) = world.epoch(Generation(1));
            world.expected.push((point, disks));
            applier.log(Generation(1), held).unwrap();
        }
        if seed % 2 == 0 {
            applier.apply().unwrap();
            drop(applier);
            world.lose_power();
            assert!(matches!(world.recover(Mode::Off), Ok((_, Trust::Nothing))));
        } else {
            let settled = applier.settle().unwrap();
            drop(applier);
            world.lose_power();
            let (_, trust) = world.recover(Mode::Off).unwrap();
            assert_eq!(trust, Trust::Epoch(settled), "it ended in order");
            assert_eq!(world.content(), world.expected.last().unwrap().1);
        }
    }
}

/// The disks of a host that has taken a guest over: whatever ends it, nothing old is ever written over what the guest wrote.
#[test]
fn after_a_takeover_nothing_is_replayed_over_what_the_guest_writes() {
    let mut owned = 0;
    for seed in 0..400 {
        let mut world = World::new(seed, Liar::Nobody);
        let mut applier = world.create(Mode::Ordered);
        for _ in 0..4 {
            let (held, point, disks) = world.epoch(Generation(1));
            world.expected.push((point, disks));
            applier.log(Generation(1), held).unwrap();
        }
        world.machine.fail_at(world.machine.operations() + world.dice.below(80) as u64, Fault::End);
        let settled = applier.settle().and_then(|point| applier.own(Generation(2)).map(|()| point));
        drop(applier);
        if settled.is_ok() {
            // The guest runs, and writes what no epoch has.
            world.machine.restart_process();
            world.disks[0].write_at(0, &[0xEE; 1024]).unwrap();
            world.disks[0].flush().unwrap();
        }
        world.lose_power();
        let (_, trust) = world.recover(Mode::Ordered).unwrap();
        match (settled, trust) {
            (Ok(point), trust) => {
                assert_eq!(trust, Trust::Owned { generation: Generation(2), applied: point });
                assert_eq!(world.disks[0].content()[..1024], [0xEE; 1024]);
                owned += 1;
            }
            // It ended on the way: at an epoch, owned or not.
            (Err(_), Trust::Epoch(point) | Trust::Owned { applied: point, .. }) => {
                assert!(world.expected.iter().any(|(at, disks)| *at == point && *disks == world.content()));
            }
            (Err(error), Trust::Nothing) => panic!("{error}"),
        }
    }
    assert!(owned > 20, "{owned}");
}

#[test]
fn an_owner_remembers_what_the_other_host_has_applied() {
    let mut world = World::new(1, Liar::Nobody);
    let mut applier = world.create(Mode::Ordered);
    let (held, point, _) = world.epoch(Generation(1));
    applier.log(Generation(1), held).unwrap();
    assert_eq!(applier.settle().unwrap(), point);
    applier.own(Generation(2)).unwrap();
    let trust = |world: &World| world.recover(Mode::Ordered).unwrap().1;
    let generation = Generation(2);
    assert_eq!(trust(&world), Trust::Owned { generation, applied: point }, "it is of the generation before");
    applier.peer_applied(Epoch(7)).unwrap();
    applier.peer_applied(Epoch(6)).unwrap();
    world.lose_power();
    assert_eq!(trust(&world), Trust::Owned { generation, applied: Point { generation, epoch: Epoch(7) } });
}

#[test]
fn an_epoch_costs_a_write_and_a_flush_of_the_journal_and_of_each_disk() {
    let mut world = World::new(1, Liar::Nobody);
    let mut applier = world.create(Mode::Ordered);
    let data = [7; 512];
    let extent = Extent::new(0, 512).unwrap();
    let mut encoder = Encoder::default();
    encoder.add(Write { disk: DiskNumber(0), extent, content: Content::Data(&data) });
    let batches: Vec<_> = encoder.finish().into_iter().collect();
    let before = world.machine.operations();
    applier.log(Generation(1), HeldEpoch { epoch: Epoch(1), batches }).unwrap();
    applier.apply().unwrap();
    // The journal: written, flushed. The disks: one written, two flushed.
    assert_eq!(world.machine.operations() - before, 5);
}

#[test]
fn a_sync_that_was_not_finished_is_no_epoch() {
    let (mut nothing, mut whole) = (0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed, Liar::Nobody);
        let mut applier = world.create(Mode::Ordered);
        let end = Point { generation: Generation(2), epoch: Epoch(9) };
        world.machine.fail_at(world.machine.operations() + world.dice.below(40) as u64, Fault::End);
        let (held, _, disks) = world.epoch(Generation(2));
        let synced = applier
            .begin_sync()
            .and_then(|()| held.batches.iter().try_for_each(|batch| applier.bulk(batch)))
            .and_then(|()| applier.end_sync(end));
        drop(applier);
        world.lose_power();
        match world.recover(Mode::Ordered).unwrap().1 {
            Trust::Nothing => {
                assert!(synced.is_err());
                nothing += 1;
            }
            Trust::Epoch(point) => {
                whole += 1;
                let expected = if point == end { &disks } else { &world.expected[0].1 };
                assert_eq!(&world.content(), expected);
                assert!(point == end || synced.is_err());
            }
            Trust::Owned { .. } => panic!("nobody owned it"),
        }
    }
    assert!(nothing > 50 && whole > 50, "{nothing}, {whole}");
}

#[test]
fn disks_that_were_exchanged_are_refused() {
    let mut world = World::new(1, Liar::Nobody);
    drop(world.create(Mode::Ordered));
    let other = World::new(2, Liar::Nobody).create(Mode::Ordered).volumes[0].label.label().clone();
    LabelFile::create(world.labels[1].clone(), [9; 16], other.clone()).unwrap();
    assert!(matches!(world.recover(Mode::Ordered), Err(ApplyError::Foreign { disk: DiskNumber(1), .. })));
    LabelFile::create(world.labels[1].clone(), HISTORY, Label { size_bytes: 512, ..other }).unwrap();
    assert!(matches!(world.recover(Mode::Ordered), Err(ApplyError::Foreign { disk: DiskNumber(1), .. })));
}
