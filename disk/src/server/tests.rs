//! A guest that sends requests, a local disk that carries them out in any order, and what the record makes of another disk.

use super::*;
use crate::batch::{BadBatch, decode};
use crate::bits::Bits;
use crate::intent::{IntentFile, REGION_BYTES};
use crate::ledger::CHUNK_BYTES;
use crate::storage::simulated::{Fault, Machine, SimulatedDisk};
use crate::testing::Dice;

const REGIONS: u64 = 6;
const SIZE: u64 = REGIONS * REGION_BYTES;
const HISTORY: [u8; 16] = [1; 16];

/// Content by sector: the cookie of the write that it is of, or 0.
type Sectors = BTreeMap<u64, u64>;

struct World {
    machine: Machine,
    map: SimulatedDisk,
    file: IntentFile<SimulatedDisk>,
    server: Server<Vec<u8>>,
    record: Record,
    /// There is a record, and not only marks.
    is_recording: bool,
    /// The record has had no gap.
    is_whole: bool,
    local: Sectors,
    remote: Sectors,
    /// Handed out by the server, not done.
    work: Vec<Action<Vec<u8>>>,
    asked: BTreeMap<u64, Command>,
    answered: BTreeMap<u64, Result<(), Errno>>,
    recorded: Vec<u64>,
    dice: Dice,
    now: Time,
}

impl World {
    fn new(seed: u64, record_bytes: usize) -> Self {
        let machine = Machine::new();
        let map = machine.disk(IntentFile::<SimulatedDisk>::bytes(SIZE));
        let file = IntentFile::create(map.clone(), HISTORY, SIZE).unwrap();
        let intent = Intent::new(Bits::try_new(REGIONS).unwrap()).unwrap();
        let server = Server::new(DiskNumber(0), intent, Ledger::new(SIZE, 1000).unwrap());
        let record = Record::new(Epoch(1), record_bytes);
        Self {
            machine,
            map,
            file,
            server,
            record,
            is_recording: true,
            is_whole: true,
            local: Sectors::new(),
            remote: Sectors::new(),
            work: Vec::new(),
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            recorded: Vec::new(),
            dice: Dice::new(seed),
            now: Time(0),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Server<Vec<u8>>, &mut Book<'_>) -> T) -> T {
        let tag = self.record.tag();
        let mut book = if self.is_recording { Book::Record(&mut self.record) } else { Book::Marks(tag) };
        act(&mut self.server, &mut book)
    }

    fn ask(&mut self, cookie: u64, command: Command) {
        let data = if let Command::Write { extent, .. } = command {
            Some(cookie.to_le_bytes().repeat(extent.bytes() as usize / 8))
        } else {
            None
        };
        self.asked.insert(cookie, command);
        self.with(|server, book| server.request(cookie, Ok(command), data, book));
        self.look();
    }

    fn random_command(&mut self) -> Command {
        let offset =
            self.dice.below(REGIONS as usize) as u64 * REGION_BYTES + self.dice.below(6) as u64 * 512;
        let extent = Extent::new(offset, 512 * (1 + self.dice.below(4) as u32)).unwrap();
        let is_forced = self.dice.below(4) == 0;
        match self.dice.below(8) {
            0 => Command::Flush,
            1 => Command::Zero { extent, is_forced },
            2 | 3 => Command::Read(extent),
            _ => Command::Write { extent, is_forced },
        }
    }

    /// Takes the server's actions: answers at once, all else as work.
    fn look(&mut self) {
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Answer { reply, .. } => self.answer(reply),
                Action::Write { extent, .. } => {
                    let marked =
                        IntentFile::open(self.map.clone(), HISTORY, SIZE).map(|opened| opened.marked);
                    if let Ok(marked) = marked {
                        extent.pieces(REGION_BYTES).for_each(|region| assert!(marked.has(region), "R8"));
                    }
                    self.work.push(action);
                }
                other => self.work.push(other),
            }
        }
    }

    fn answer(&mut self, reply: Reply) {
        let before = self.answered.insert(reply.cookie, reply.result);
        assert_eq!(before, None, "each request is answered once");
        if matches!(self.asked[&reply.cookie], Command::Write { .. }) && reply.result.is_ok() && self.is_whole
        {
            self.cut();
            assert!(self.recorded.contains(&reply.cookie), "R1: it is in the record before it is answered");
        }
    }

    /// The epoch is cut, and what was recorded reaches the other disk.
    fn cut(&mut self) {
        self.record.cut(self.record.tag().next());
        while let Some(tagged) = self.record.next_batch() {
            decode::<BadBatch>(&tagged.batch, &mut Vec::new(), |write| {
                let cookie = match write.content {
                    Content::Zeros => 0,
                    Content::Data(data) => u64::from_le_bytes(data[..8].try_into().unwrap()),
                };
                self.recorded.push(cookie);
                write.extent.pieces(512).for_each(|sector| _ = self.remote.insert(sector, cookie));
                Ok(())
            })
            .unwrap();
        }
    }

    /// The local disk, or the map's, does any one of its jobs.
    fn work(&mut self) {
        if self.work.is_empty() {
            return;
        }
        let index = self.dice.below(self.work.len());
        let now = self.now;
        match self.work.swap_remove(index) {
            Action::Read(job, extent) => {
                let content: Vec<u64> =
                    extent.pieces(512).map(|sector| self.local.get(&sector).copied().unwrap_or(0)).collect();
                let data = content.iter().flat_map(|cookie| cookie.to_le_bytes().repeat(64)).collect();
                self.with(|server, book| server.done(job, Ok(Some(data)), book, now));
            }
            Action::Write { job, extent, data, .. } => {
                let cookie = data.map_or(0, |data| u64::from_le_bytes(data[..8].try_into().unwrap()));
                extent.pieces(512).for_each(|sector| _ = self.local.insert(sector, cookie));
                self.with(|server, book| server.done(job, Ok(None), book, now));
            }
            Action::Flush(job) => self.with(|server, book| server.done(job, Ok(None), book, now)),
            Action::Mark(pending) => {
                let is_written = self.file.write(&pending).is_ok();
                self.with(|server, book| server.marked(&pending, is_written, book, now));
            }
            Action::Bulk { .. } => {}
            other => panic!("{other:?}"),
        }
        self.look();
    }

    fn run(&mut self, requests: u64) {
        for cookie in 1..=requests {
            let command = self.random_command();
            self.ask(cookie, command);
            (0..self.dice.below(3)).for_each(|_| self.work());
        }
        self.finish();
        assert_eq!(self.answered.len() as u64, requests);
    }

    fn finish(&mut self) {
        while !self.work.is_empty() {
            self.work();
        }
        assert_eq!(self.server.count(), 0);
        self.cut();
    }
}

fn without_zeros(sectors: &Sectors) -> Sectors {
    sectors.iter().filter(|(_, cookie)| **cookie != 0).map(|(sector, cookie)| (*sector, *cookie)).collect()
}

#[test]
fn whatever_order_the_disk_works_in_the_record_makes_the_same_disk() {
    for seed in 0..300 {
        let mut world = World::new(seed, 1 << 20);
        world.run(120);
        assert!(world.answered.values().all(Result::is_ok));
        assert_eq!(without_zeros(&world.local), without_zeros(&world.remote), "seed {seed}");
    }
}

#[test]
fn a_record_that_is_full_holds_up_nobody_and_what_it_lacks_is_marked() {
    for seed in 0..50 {
        let mut world = World::new(seed, 2048);
        (world.is_recording, world.is_whole) = (seed % 2 == 0, false);
        world.run_marked(100);
        assert!(!world.is_recording || world.record.end(Epoch(1)).is_err(), "an epoch with a gap is told");
    }
}

impl World {
    fn run_marked(&mut self, requests: u64) {
        for cookie in 1000..1000 + requests {
            let command = self.random_command();
            self.ask(cookie, command);
            self.work();
        }
        self.finish();
        let lacking = self.server.ledger().lacking();
        for sector in self.local.keys() {
            assert!(lacking.has(sector * 512 / CHUNK_BYTES), "sector {sector}");
        }
        assert!(self.answered.values().all(Result::is_ok));
    }
}

#[test]
fn a_map_that_fails_fails_the_writes_that_need_it_and_nothing_else() {
    let (mut failed, mut went) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed, 1 << 20);
        // The first regions are marked well, then the map's device fails for good.
        for cookie in [100_000, 100_001] {
            let extent = Extent::new((cookie - 100_000) * REGION_BYTES, 512).unwrap();
            world.ask(cookie, Command::Write { extent, is_forced: false });
            world.finish();
        }
        world.machine.fail_at(world.machine.operations(), Fault::End);
        for cookie in 1..=80 {
            let command = world.random_command();
            world.ask(cookie, command);
            (0..world.dice.below(3)).for_each(|_| world.work());
        }
        world.finish();
        for (cookie, result) in &world.answered {
            match world.asked[cookie] {
                Command::Write { extent, .. } | Command::Zero { extent, .. } => {
                    let is_marked = extent.offset() < 2 * REGION_BYTES;
                    assert_eq!(result.is_ok(), is_marked, "seed {seed}: {extent}");
                    (failed, went) = (failed + u32::from(!is_marked), went + u32::from(is_marked));
                }
                _ => assert_eq!(*result, Ok(())),
            }
        }
        assert_eq!(world.answered.len(), 82);
        assert_eq!(without_zeros(&world.local), without_zeros(&world.remote));
    }
    assert!(failed > 1000 && went > 1000, "{failed}, {went}");
}

#[test]
fn a_flush_and_a_forced_write_are_the_disks_to_answer() {
    let mut world = World::new(1, 1 << 20);
    let extent = Extent::new(0, 512).unwrap();
    world.ask(1, Command::Write { extent, is_forced: true });
    world.ask(2, Command::Flush);
    assert!(world.answered.is_empty());
    let marks = world.work.iter().filter(|action| matches!(action, Action::Mark(_))).count();
    let flushes = world.work.iter().filter(|action| matches!(action, Action::Flush(_))).count();
    assert_eq!((marks, flushes, world.work.len()), (1, 1, 2), "the write waits for its mark");
    let job = world
        .work
        .iter()
        .find_map(|action| if let Action::Flush(job) = action { Some(*job) } else { None })
        .unwrap();
    world.with(|server, book| server.done(job, Err(Errno::Io), book, Time(0)));
    world.work.retain(|action| !matches!(action, Action::Flush(_)));
    world.look();
    assert_eq!(world.answered[&2], Err(Errno::Io), "a flush that failed is never answered well");
    world.work();
    assert!(matches!(world.work[..], [Action::Write { is_forced: true, .. }]));
    world.finish();
    assert_eq!(world.answered[&1], Ok(()));
}

#[test]
fn a_read_for_a_sync_sees_no_write_that_is_recorded_behind_it() {
    let mut world = World::new(1, 1 << 20);
    let extent = Extent::new(0, 512).unwrap();
    world.ask(1, Command::Write { extent, is_forced: false });
    world.with(|server, book| server.bulk(extent, book));
    world.ask(2, Command::Write { extent, is_forced: false });
    let mut bulk = None;
    while bulk.is_none() {
        bulk = world.work.iter().find_map(|action| {
            if let Action::Bulk { data, .. } = action { Some(data.clone()) } else { None }
        });
        if bulk.is_none() {
            assert!(!world.recorded.contains(&2));
            world.work();
        }
    }
    assert_eq!(bulk.unwrap().unwrap()[..8], 1u64.to_le_bytes(), "the first write, and not the second");
    world.finish();
    assert_eq!(world.recorded, [1, 2]);
}
