use super::*;
use crate::storage::simulated::{Fault, Machine, SimulatedDisk};
use crate::testing::Dice;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const HISTORY: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9];
/// Two sectors of the map and a bit of a third.
const REGIONS: u64 = 2 * SECTOR_REGIONS + 3;
const SIZE: u64 = REGIONS * REGION_BYTES - 512;

fn extent(region: u64) -> Extent {
    Extent::new(region * REGION_BYTES, 4096).unwrap()
}

fn open(disk: &SimulatedDisk) -> Result<Opened<SimulatedDisk>, IntentError> {
    IntentFile::open(disk.clone(), HISTORY, SIZE)
}

fn created() -> (Machine, SimulatedDisk, IntentFile<SimulatedDisk>, Intent) {
    let machine = Machine::new();
    let disk = machine.disk(IntentFile::<SimulatedDisk>::bytes(SIZE));
    let file = IntentFile::create(disk.clone(), HISTORY, SIZE).unwrap();
    (machine, disk, file, Intent::new(Bits::try_new(REGIONS).unwrap()).unwrap())
}

fn flush(intent: &mut Intent, file: &mut IntentFile<SimulatedDisk>) {
    while let Some(pending) = intent.take() {
        match file.write(&pending) {
            Ok(()) => intent.done(&pending),
            Err(_) => intent.failed(),
        }
    }
}

#[test]
fn a_sector_is_these_bytes() {
    let (_, disk, mut file, mut intent) = created();
    for region in [0, 9, SECTOR_REGIONS - 1, SECTOR_REGIONS] {
        assert_eq!(intent.begin(extent(region)), Ok(false));
    }
    flush(&mut intent, &mut file);
    let content = disk.content();
    assert_eq!(content.len(), 8192 + 4096);
    assert_eq!(content[40..56], [SIZE.to_le_bytes(), (4u64 << 20).to_le_bytes()].concat());
    let sector = &content[8192..8704];
    assert_eq!(sector[8..18], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!((sector[511], content[8704 + 8], content[8704 + 16]), (0x80, 1, 1));
    assert_eq!(sector[..8], xxh3_64_with_seed(&sector[8..], 0x0807_0605_0403_0201).to_le_bytes());
    assert_eq!(content[8192 + 3 * 512..], [0; 5 * 512], "what tells of nothing is zeros");
    let marked: Vec<u64> = open(&disk).unwrap().marked.runs().flatten().collect();
    assert_eq!(marked, [0, 9, SECTOR_REGIONS - 1, SECTOR_REGIONS]);
}

#[test]
fn a_region_costs_one_flush_and_none_while_it_is_hot() {
    let (machine, _, mut file, mut intent) = created();
    assert_eq!((intent.begin(extent(3)), intent.begin(extent(3))), (Ok(false), Ok(false)));
    let first = intent.take().unwrap();
    assert_eq!(intent.begin(extent(4)), Ok(false));
    assert!(intent.take().is_none(), "one at a time");
    file.write(&first).unwrap();
    intent.done(&first);
    assert!(intent.is_durable(extent(3)) && !intent.is_durable(extent(4)));
    flush(&mut intent, &mut file);
    let operations = machine.operations();
    for _ in 0..100 {
        assert_eq!(intent.begin(extent(4)), Ok(true));
        flush(&mut intent, &mut file);
    }
    assert_eq!(machine.operations(), operations);
}

#[test]
fn a_region_gets_cold_when_it_is_quiet_and_applied_and_nothing_is_in_flight() {
    let (_, disk, mut file, mut intent) = created();
    intent.begin(extent(3)).unwrap();
    intent.begin(extent(3)).unwrap();
    flush(&mut intent, &mut file);
    let later = Time(0) + QUIET;
    intent.end(extent(3), Epoch(7), Time(5));
    assert_eq!(intent.cool(Epoch(9), later + Span(5)), 0, "one is in flight");
    intent.end(extent(3), Epoch(6), Time(0));
    assert_eq!(intent.cool(Epoch(6), later + Span(5)), 0, "epoch 7 is not applied");
    assert_eq!(intent.cool(Epoch(7), later), 0, "it was not quiet for so long");
    assert_eq!(intent.cool(Epoch(7), later + Span(5)), 1);
    assert!(!intent.is_durable(extent(3)), "a write waits again before the media have changed");
    flush(&mut intent, &mut file);
    assert!(open(&disk).unwrap().marked.is_empty());
}

#[test]
fn what_a_former_life_left_stays_marked_until_the_resync_is_over() {
    let (_, disk, mut file, mut intent) = created();
    intent.begin(extent(3)).unwrap();
    intent.begin(extent(5)).unwrap();
    flush(&mut intent, &mut file);
    drop(file);
    let Opened { mut file, marked, .. } = open(&disk).unwrap();
    let mut intent = Intent::new(marked).unwrap();
    assert_eq!(intent.begin(extent(3)), Ok(true));
    intent.end(extent(3), Epoch(1), Time(0));
    let later = Time(1) + QUIET;
    assert_eq!(intent.cool(Epoch(9), later), 0);
    intent.release_inherited();
    assert_eq!(
        intent.marked().runs().flatten().collect::<Vec<_>>(),
        [3],
        "3 is hot, and 5 is as on the other host"
    );
    assert_eq!(intent.cool(Epoch(9), later), 1);
    flush(&mut intent, &mut file);
    assert!(open(&disk).unwrap().marked.is_empty());
}

#[test]
fn a_map_that_fails_lets_no_write_through_that_it_has_not_marked() {
    let (machine, _, mut file, mut intent) = created();
    intent.begin(extent(3)).unwrap();
    flush(&mut intent, &mut file);
    intent.begin(extent(4)).unwrap();
    machine.fail_at(machine.operations() + 1, Fault::Flush);
    flush(&mut intent, &mut file);
    assert!(!intent.is_durable(extent(4)));
    assert_eq!(intent.begin(extent(4)), Err(Failed));
    assert_eq!(intent.begin(extent(3)), Ok(true));
    assert!(intent.take().is_none());
}

#[test]
fn rot_marks_all_that_its_sector_tells_of_and_no_map_is_no_clean_map() {
    for at in [0, 8, 12, 16, 511] {
        let (_, disk, ..) = created();
        disk.rot(8192 + 512 + at, 4);
        let opened = open(&disk).unwrap();
        assert_eq!(opened.damaged_sectors, 1);
        assert!(opened.marked.runs().eq(std::iter::once(SECTOR_REGIONS..2 * SECTOR_REGIONS)));
    }
    let (machine, disk, ..) = created();
    assert!(matches!(
        IntentFile::open(disk.clone(), [0; 16], SIZE),
        Err(IntentError::Foreign { what: "the history" })
    ));
    assert!(matches!(
        IntentFile::open(disk.clone(), HISTORY, SIZE - 512),
        Err(IntentError::Foreign { what: "the size" })
    ));
    machine.fail_at(machine.operations() + 5, Fault::Device);
    assert!(matches!(open(&disk), Err(IntentError::Storage(_))));
    let blank = machine.disk(disk.content().len() as u64);
    assert!(matches!(open(&blank), Err(IntentError::Head(crate::pair::PairError::Blank { .. }))));
}

/// Lives that write and get cold and end anywhere: whatever was submitted, and is not applied, is marked afterwards.
#[test]
fn after_any_crash_each_region_that_may_have_been_written_is_marked() {
    let (mut lives, mut cooled) = (0, 0);
    for seed in 0..400 {
        let (machine, disk, file, intent) = created();
        let mut dice = Dice::new(seed);
        let mut now = Time(0);
        // Per region: the epoch of its last write that was submitted.
        let mut submitted: BTreeMap<u64, Epoch> = BTreeMap::new();
        let mut life = Some((file, intent));
        let (mut tag, mut applied) = (Epoch(1), Epoch(0));
        for _ in 0..4 {
            let (mut file, mut intent) = life.take().unwrap_or_else(|| {
                let opened = open(&disk).unwrap();
                (opened.file, Intent::new(opened.marked).unwrap())
            });
            let fault = [Fault::End, Fault::Flush][dice.below(2)];
            machine.fail_at(machine.operations() + dice.below(30) as u64, fault);
            let mut pending: Option<Pending> = None;
            let mut waiting: Vec<u64> = Vec::new();
            for _ in 0..120 {
                now = now + Span(QUIET.0 / 7);
                match dice.below(6) {
                    0 | 1 => {
                        let region = [0, 1, 2, SECTOR_REGIONS, REGIONS - 1][dice.below(5)];
                        if intent.begin(extent_at_end(region)).is_ok() {
                            waiting.push(region);
                        }
                    }
                    2 => pending = pending.or_else(|| intent.take()),
                    3 => {
                        if let Some(pending) = pending.take() {
                            match file.write(&pending) {
                                Ok(()) => intent.done(&pending),
                                Err(_) => intent.failed(),
                            }
                        }
                    }
                    4 => {
                        applied = Epoch(tag.0 - dice.below(2) as u64);
                        submitted.retain(|_, last| *last > applied);
                        cooled += intent.cool(applied, now);
                    }
                    _ => tag = tag.next(),
                }
                waiting.retain(|region| {
                    let goes = intent.is_durable(extent_at_end(*region));
                    if goes {
                        submitted.insert(*region, tag);
                        // An answer may come much later than it goes; here it comes at once, or with the crash.
                        if region % 2 == 0 {
                            intent.end(extent_at_end(*region), tag, now);
                        }
                    }
                    !goes
                });
                // Answered or not, a write that is not applied is remembered.
                tag = tag.max(applied.next());
            }
            machine.lose_power(&mut |count| dice.below(count));
            let marked = open(&disk).unwrap().marked;
            for (region, last) in &submitted {
                assert!(
                    marked.has(*region),
                    "seed {seed}: region {region}, written in {last}, applied {applied}"
                );
            }
            lives += 1;
        }
    }
    assert!(lives == 1600 && cooled > 500, "{lives}, {cooled}");
}

fn extent_at_end(region: u64) -> Extent {
    Extent::new(region * REGION_BYTES + REGION_BYTES - 8192, 4096).unwrap()
}
