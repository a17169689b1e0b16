//! [`Worker`]: serves the disk of a guest that runs here, one thing after the other, by the rules of `understudy_disk::server`.
//!
//! ```text
//!   guest's request ─► door ─► intent map ─► order ─► Recording ─► file ─► answer
//!   begin_copy, copy_on ─► a chunk, in its turn among the requests ─► Recording
//!   the other host's word: Stand, Hashes ─► what is left of the copy; Applied ─► ledger, label, intent map
//! ```
//!
//! The [`door`](super::door) is shut until this host may run the guest. Until then the label does not say that it ran here.
//!
//! Not here: who asks, and on which thread ([`local`](super::local)); what becomes of the record
//! ([`recording`](super::recording)), and what is left of a full copy ([`full_copy`](super::full_copy)).

use super::door::{Asked, DiskAnswers, Door};
use super::error::LocalError;
use super::full_copy::{ANSWER_WAIT, CopyGoal, CopyPace, FullCopy, Step};
use super::past::Past;
use super::place::{DiskPlace, NUMBER, PlaceError};
use super::recording::{CopyError, Recording};
use super::told::Told;
use crate::guest::participant::{CopyNext, CopyStep};
use crossbeam::channel::Sender;
use std::sync::Arc;
use understudy_checkpoint::time::Time;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::ApplyError;
use understudy_disk::batch::{Content, Write};
use understudy_disk::intent::Intent;
use understudy_disk::label::Standing;
use understudy_disk::ledger::{CHUNK_BYTES, Ledger};
use understudy_disk::nbd::{Command, Errno, Reply};
use understudy_disk::server::{Action, Book, Server};
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::sync::hashes::hash;
use understudy_disk::sync::plan::{Theirs, chunks_of};
use understudy_disk::sync::talk::{Ask as Question, Say};
use understudy_disk::words::Extent;
use understudy_lab::{DiskAnswer, DiskFailed, DiskRequest, DiskWish};

/// Chunks that the ledger tells apart by epoch: 16 MiB of them.
const LEDGER_CHUNKS_MAX: usize = 256;

/// What is asked of the disk.
pub(super) enum Ask {
    OfGuest(DiskRequest, Box<dyn DiskAnswers>),
    /// This host may run the guest.
    Open,
    /// It may not, from here on.
    Shut,
    /// Begins a full copy, which this epoch ends.
    BeginCopy(Generation, Epoch, Sender<Result<(), CopyError>>),
    /// Goes a step of it.
    Copy(CopyGoal, Sender<Result<CopyStep, CopyError>>),
    /// The other host says something, in or of this epoch.
    Heard(Epoch, Vec<u8>),
}

/// The time since some moment.
pub type DiskClock = Box<dyn Fn() -> Time + Send>;

/// A full copy on its way.
enum Copying {
    No,
    /// The other host is asked what its disk is worth.
    Asking {
        epoch: Epoch,
        is_asked: bool,
        heard: Option<Theirs>,
    },
    Going {
        epoch: Epoch,
        copy: Box<FullCopy>,
    },
}

impl Copying {
    fn going(&mut self) -> Option<&mut FullCopy> {
        if let Self::Going { copy, .. } = self { Some(copy) } else { None }
    }
}

/// A chunk that was read.
enum Read {
    /// It is in the record.
    Recorded,
    /// Its hash.
    Hashed(u128),
}

pub(super) struct Worker {
    server: Server<Vec<u8>>,
    size_bytes: u64,
    past: Past,
    recording: Arc<Recording>,
    door: Door,
    guest: Option<Box<dyn DiskAnswers>>,
    copy: Copying,
    /// What came of the last chunk that was read, and what for.
    read: Option<Result<Read, CopyError>>,
    pace: CopyPace,
    told: Told,
    clock: DiskClock,
}

impl Worker {
    /// Opens the disk of a guest that nobody ran before, that ran here last, or that was taken over.
    pub(super) fn open(place: &DiskPlace, pace: CopyPace, clock: DiskClock) -> Result<Self, LocalError> {
        let opened = place.open()?;
        if opened.standing == Standing::Partial {
            return Err(LocalError::Partial);
        }
        let size_bytes = place.size_bytes();
        let map = opened.map.map_err(PlaceError::from)?;
        let mut ledger = Ledger::new(size_bytes, LEDGER_CHUNKS_MAX).map_err(LocalError::no_room)?;
        // What was written before this life, and the other host may lack: of no epoch of this life.
        let before = chunks_of(&map.marked, size_bytes).map_err(LocalError::no_room)?;
        ledger.behind(&before, Epoch(0));
        let intent = Intent::new(map.marked).map_err(LocalError::no_room)?;
        let past = Past::new(opened.applier, opened.trust, map.file);
        Ok(Self {
            server: Server::new(NUMBER, intent, ledger),
            size_bytes,
            past,
            recording: Arc::new(Recording::default()),
            door: Door::Shut(Vec::new()),
            guest: None,
            copy: Copying::No,
            read: None,
            pace,
            told: Told::default(),
            clock,
        })
    }

    /// What is shared with who cuts, sends and tells.
    pub(super) fn shared(&self) -> (Arc<Recording>, Told) {
        (self.recording.clone(), self.told.clone())
    }

    /// Does what is asked, to its end.
    pub(super) fn take(&mut self, ask: Ask) {
        match ask {
            Ask::OfGuest(request, answers) => {
                if let Some(asked) = self.door.enter((request, answers)) {
                    self.serve(asked);
                }
            }
            // The guest waits for its disk if that fails; the next full copy tries again.
            Ask::Open => _ = self.open_door(),
            Ask::Shut => self.door.shut(),
            Ask::BeginCopy(generation, epoch, to) => {
                // Who asked may have given up, here and below.
                let _ = to.send(self.begin_copy(generation, epoch));
            }
            Ask::Copy(goal, to) => {
                let step = self.copy_on(goal);
                let _ = to.send(step);
            }
            Ask::Heard(epoch, say) => self.heard(epoch, &say),
        }
        self.told.set_behind(self.server.ledger().lacking_max() * CHUNK_BYTES);
    }

    fn serve(&mut self, (request, answers): Asked) {
        self.guest = Some(answers);
        let id = request.id;
        let (command, data) = self.command(request.wish);
        self.with(|server, book| server.request(id, command, data, book));
        self.act(false);
        if let Ok(Command::Write { extent, .. }) = command {
            self.wrote(extent);
        }
    }

    /// The label says that the guest runs here; then what waited comes first.
    fn open_door(&mut self) -> Result<(), CopyError> {
        if self.door.is_open() {
            return Ok(());
        }
        let owned = self.past.own();
        owned.map_err(|error| self.label_failed(&error))?;
        self.door.open().into_iter().for_each(|asked| self.serve(asked));
        Ok(())
    }

    fn label_failed(&self, error: &ApplyError) -> CopyError {
        tracing::error!(%error, "The label of the guest's disk cannot be written");
        self.told.set_fault(error);
        CopyError::Label
    }

    fn begin_copy(&mut self, generation: Generation, epoch: Epoch) -> Result<(), CopyError> {
        self.open_door()?;
        let begun = self.past.begin_copy(generation, epoch);
        begun.map_err(|error| self.label_failed(&error))?;
        self.copy = Copying::Asking { epoch, is_asked: false, heard: None };
        self.tell_left();
        self.recording.begin(epoch);
        Ok(())
    }

    /// The record is emptied first, so that what is read has room.
    fn copy_on(&mut self, goal: CopyGoal) -> Result<CopyStep, CopyError> {
        let ready = self.recording.take_ready();
        let (ask, next) = match &mut self.copy {
            Copying::No => return Err(CopyError::Over),
            Copying::Asking { is_asked: is_asked @ false, .. } => {
                *is_asked = true;
                (Some(Question::Stand), CopyNext::Wait(ANSWER_WAIT))
            }
            Copying::Asking { heard: None, .. } => (None, CopyNext::Wait(ANSWER_WAIT)),
            Copying::Asking { epoch, heard: Some(theirs), .. } => {
                let plan = self.past.plan(self.size_bytes, self.server.ledger().lacking(), theirs)?;
                let copy = Box::new(FullCopy::new(self.size_bytes, plan, self.pace)?);
                self.copy = Copying::Going { epoch: *epoch, copy };
                (Some(Question::Begin(self.past.history())), CopyNext::Step)
            }
            Copying::Going { .. } => self.step(goal)?,
        };
        self.tell_left();
        Ok(CopyStep { ready, ask, next })
    }

    fn step(&mut self, goal: CopyGoal) -> Result<(Option<Question>, CopyNext), CopyError> {
        let now = (self.clock)();
        let copy = self.copy.going().ok_or(CopyError::Over)?;
        match copy.step(goal, now)? {
            Step::Done => return Ok((None, CopyNext::Done)),
            Step::Wait(span) => return Ok((None, CopyNext::Wait(span))),
            Step::Ask(ask) => return Ok((Some(ask), CopyNext::Step)),
            Step::Note => self.recording.note(),
            Step::Read(extent) => {
                let read = self.read_chunk(extent, false);
                if let Some(copy) = self.copy.going() {
                    copy.landed(extent, read.is_ok());
                }
                read?;
            }
            Step::Compare(extent, there) => {
                let read = self.read_chunk(extent, true)?;
                if let (Some(copy), Read::Hashed(here)) = (self.copy.going(), read) {
                    copy.compared(extent, here == there);
                }
            }
        }
        Ok((None, CopyNext::Step))
    }

    /// Reads a chunk in its turn among the guest's requests.
    fn read_chunk(&mut self, extent: Extent, is_compared: bool) -> Result<Read, CopyError> {
        self.with(|server, book| server.bulk(extent, book));
        self.act(is_compared);
        self.read.take().unwrap_or(Err(CopyError::Unread))
    }

    /// The guest's write was noted: what is copied has it, or has to have it.
    fn wrote(&mut self, extent: Extent) {
        let Some(copy) = self.copy.going() else { return };
        match self.recording.full() {
            Some(full) => copy.wrote(extent, full),
            None => self.copy = Copying::No,
        }
        self.tell_left();
    }

    fn tell_left(&mut self) {
        let left_bytes = match &self.copy {
            Copying::No | Copying::Asking { .. } => None,
            Copying::Going { copy, .. } => Some(copy.left_bytes().min(self.size_bytes)),
        };
        self.told.set_left(left_bytes);
    }

    /// What is of another copy than the one on its way came too late.
    fn heard(&mut self, of: Epoch, say: &[u8]) {
        let say = match Say::decode(say, self.size_bytes) {
            Ok(say) => say,
            Err(error) => return tracing::error!(%error, "The other host's word about a disk is passed over"),
        };
        match (say, &mut self.copy) {
            (Say::Applied, _) => self.applied(of),
            (Say::Stand(theirs), Copying::Asking { epoch, heard, .. }) if *epoch == of => {
                *heard = Some(theirs)
            }
            (Say::Hashes(hashes), Copying::Going { epoch, copy }) if *epoch == of => {
                if !copy.heard(hashes) {
                    tracing::error!(
                        "The other host sends hashes that were not asked for; they are passed over"
                    );
                }
            }
            (Say::Stand(_) | Say::Hashes(_), _) => {}
        }
    }

    /// The other host's disk is at this epoch, or has all of it.
    fn applied(&mut self, through: Epoch) {
        let now = (self.clock)();
        let server = &mut self.server;
        match self.past.applied(through, now, || server.ledger().applied(through)) {
            Ok(false) => {}
            Ok(true) => {
                if self.past.is_copied() {
                    self.server.copied();
                }
                self.server.applied(through, now);
                self.act(false);
            }
            Err(error) => _ = self.label_failed(&error),
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Server<Vec<u8>>, &mut Book<'_>)) {
        let server = &mut self.server;
        self.recording.with_book(|book| act(server, book));
    }

    fn command(&self, wish: DiskWish) -> (Result<Command, Errno>, Option<Vec<u8>>) {
        let extent = |offset, bytes| {
            let extent = Extent::new(offset, bytes).map_err(|_| Errno::Invalid)?;
            if extent.end() > self.size_bytes { Err(Errno::NoSpace) } else { Ok(extent) }
        };
        match wish {
            DiskWish::Read { offset, bytes } => (extent(offset, bytes).map(Command::Read), None),
            DiskWish::Write { offset, data, is_forced } => {
                let place = u32::try_from(data.len()).map_err(|_| Errno::Invalid);
                let place = place.and_then(|bytes| extent(offset, bytes));
                (place.map(|extent| Command::Write { extent, is_forced }), Some(data))
            }
            DiskWish::Flush => (Ok(Command::Flush), None),
        }
    }

    /// Carries out what the server wants; a chunk that is read for a full copy is only hashed if it `is_compared`.
    fn act(&mut self, is_compared: bool) {
        let now = (self.clock)();
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Read(job, extent) => {
                    let mut data = vec![0; extent.bytes() as usize];
                    let read = self.past.disk().read_at(extent.offset(), &mut data);
                    let result = read.map(|()| Some(data)).map_err(|error| failed(&self.told, &error));
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Write { job, extent, data, is_forced } => {
                    let written = self.write(extent, data, is_forced);
                    let result = written.map(|()| None).map_err(|error| failed(&self.told, &error));
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Flush(job) => {
                    let flushed = self.past.disk().flush();
                    let result = flushed.map(|()| None).map_err(|error| failed(&self.told, &error));
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Mark(pending) => {
                    let written = self.past.mark(&pending).map_err(|error| failed(&self.told, &error));
                    self.with(|server, book| server.marked(&pending, written.is_ok(), book, now));
                }
                Action::Answer { reply, data } => self.answer(reply, data),
                Action::Bulk { extent, data } => self.read_for_copy(extent, data, is_compared),
                Action::End => {}
            }
        }
    }

    fn write(&mut self, extent: Extent, data: Option<Vec<u8>>, is_forced: bool) -> Result<(), StorageError> {
        let data = data.unwrap_or_else(|| vec![0; extent.bytes() as usize]);
        let disk = self.past.disk();
        disk.write_at(extent.offset(), &data)?;
        if is_forced { disk.flush() } else { Ok(()) }
    }

    fn answer(&self, reply: Reply, data: Option<Vec<u8>>) {
        if let Some(guest) = &self.guest {
            let result = reply.result.map(|()| data.unwrap_or_default()).map_err(|_| DiskFailed);
            guest.answer(DiskAnswer { id: reply.cookie, result });
        }
    }

    /// What is sent goes into the record before anything that is written later.
    fn read_for_copy(&mut self, extent: Extent, data: Result<Vec<u8>, Errno>, is_compared: bool) {
        let chunk = extent.offset() / CHUNK_BYTES;
        self.read = Some(data.map_err(|_| CopyError::Unread).and_then(|data| {
            if is_compared {
                return Ok(Read::Hashed(hash(chunk, &data)));
            }
            let write = Write { disk: NUMBER, extent, content: Content::Data(&data) };
            self.recording.read(write).map(|()| Read::Recorded)
        }));
    }
}

/// The first error is what is told; those that follow say only that there was one.
fn failed(told: &Told, error: &StorageError) -> Errno {
    tracing::error!(%error, "The guest's disk fails, and the guest is told so");
    told.set_fault(error);
    Errno::Io
}
