//! A disk of the simulator, as a guest has it: what the guest knows of its sectors, and how it uses them.
//!
//! ```text
//!   guest's memory, by sector:  seen ─ the last write that it saw completed     under way ─ what it waits for     kept ─ forced
//!        │ submit            ▲ answer
//!        ▼                   │
//!   LocalDisk (the engine's own, without its thread) ─► files of a SimMachine
//! ```
//!
//! The guest has one write under way in a sector at most. One that is restored submits again what its memory says is under way,
//! as blkfront does; one that is started anew reads what is there. Not here: the files below ([`machine`](super::machine)).

use super::mutant::Mutant;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use understudy::guest::{DiskAnswers, LocalDisk};
use understudy_lab::{DiskAnswer, DiskRequest, DiskWish};

/// The guest's sectors, one in each of its pages.
pub const SECTORS: usize = 8;
pub(super) const SECTOR_BYTES: usize = 512;
/// Between two of the guest's sectors: some share a chunk, and the last is in the one that is no whole chunk.
const APART_BYTES: u64 = 55 * 512;

/// What a guest's memory says of a sector of its disk. A write is its number among those of the sector, and a draw.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sector {
    /// The last write that it has seen completed.
    pub seen: u64,
    /// The one that it waits for; 0 if there is none.
    pub under_way: u64,
    /// The last forced one that it has seen completed: on the media, whatever happens.
    pub kept: u64,
}

impl Sector {
    /// Whether this may be on the disk, if the memory is as it is.
    pub fn allows(&self, content: u64) -> bool {
        content == self.seen || self.under_way != 0 && content == self.under_way
    }

    fn next_write(&self, draw: u64) -> u64 {
        ((self.seen.max(self.under_way) >> 32) + 1) << 32 | draw & 0xFFFF_FFFF
    }
}

/// The number of a write among those of its sector.
pub fn number_of(write: u64) -> u64 {
    write >> 32
}

fn is_forced(write: u64) -> bool {
    write & 1 == 1
}

/// A guest writes for a while, and then it does not: a chunk that is forgotten is not always written again soon.
fn writes_at(counter: u64) -> bool {
    (counter / 32).is_multiple_of(2)
}

/// Where a guest's sector is.
pub(super) fn offset_of(sector: usize) -> u64 {
    sector as u64 * APART_BYTES
}

#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<DiskAnswer>>>);

impl DiskAnswers for Answers {
    fn answer(&self, answer: DiskAnswer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }
}

/// A guest's disk as the guest has it.
pub struct SimDisk {
    /// The engine's.
    pub disk: Arc<LocalDisk>,
    answers: Answers,
    /// For a mutant: answered, and not submitted yet.
    owed: Vec<(usize, u64)>,
    mutant: Option<Mutant>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

impl SimDisk {
    /// A disk of a guest that is about to run; what it had under way is submitted again.
    pub fn new(disk: LocalDisk, sectors: &[Sector; SECTORS], mutant: Option<Mutant>) -> Self {
        let it = Self { disk: Arc::new(disk), answers: Answers::default(), owed: Vec::new(), mutant };
        for (sector, known) in sectors.iter().enumerate().filter(|(_, known)| known.under_way != 0) {
            it.submit(sector, known.under_way);
        }
        it
    }

    fn submit(&self, sector: usize, write: u64) {
        let mut data = vec![0; SECTOR_BYTES];
        data[..8].copy_from_slice(&write.to_le_bytes());
        let wish = DiskWish::Write { offset: offset_of(sector), data, is_forced: is_forced(write) };
        self.disk.submit_to(DiskRequest { id: sector as u64, wish }, Box::new(self.answers.clone()));
    }

    /// A step of the guest, its `counter`th: it sees what has been answered, and sometimes writes. The answer has the sectors of
    /// which its memory changed.
    pub fn used(&mut self, sectors: &mut [Sector; SECTORS], counter: u64, draw: u64) -> u8 {
        let mut touched = 0;
        std::mem::take(&mut self.owed).into_iter().for_each(|(sector, write)| self.submit(sector, write));
        let answered = std::mem::take(&mut *self.answers.0.lock().unwrap_or_else(PoisonError::into_inner));
        for DiskAnswer { id, result } in answered {
            let sector = id as usize;
            let known = &mut sectors[sector];
            match result {
                Ok(_) if known.under_way == 0 => {}
                Ok(_) => {
                    let write = std::mem::take(&mut known.under_way);
                    known.seen = write;
                    if is_forced(write) {
                        known.kept = write;
                    }
                    touched |= 1 << sector;
                }
                // It may be there or not: only once it is there, that is known.
                Err(_) => self.submit(sector, known.under_way),
            }
        }
        let sector = (draw >> 8) as usize % SECTORS;
        if writes_at(counter) && draw.is_multiple_of(3) && sectors[sector].under_way == 0 {
            self.writes(sectors, sector, draw >> 16);
            touched |= 1 << sector;
        }
        for _ in 0..(draw >> 12) % 4 {
            self.disk.step();
        }
        touched
    }

    fn writes(&mut self, sectors: &mut [Sector; SECTORS], sector: usize, draw: u64) {
        let known = &mut sectors[sector];
        let write = known.next_write(draw);
        known.under_way = write;
        if self.mutant == Some(Mutant::ReplyBeforeRecord) {
            self.answers.answer(DiskAnswer { id: sector as u64, result: Ok(Vec::new()) });
            return self.owed.push((sector, write));
        }
        self.submit(sector, write);
    }

    /// For a mutant: a write of which the memory that was captured does not know.
    pub fn writes_late(&mut self, sectors: &mut [Sector; SECTORS], draw: u64) -> u8 {
        let sector = draw as usize % SECTORS;
        if sectors[sector].under_way != 0 {
            return 0;
        }
        self.writes(sectors, sector, draw >> 16);
        while self.disk.step() {}
        1 << sector
    }
}
