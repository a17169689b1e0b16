//! [`LocalDisk`]: the disk of a lab guest that runs here. One thread serves it, by the rules of `understudy_disk::server`.
//!
//! ```text
//!   guest ── submit ──► thread: intent map ─► order ─► Recording ─► file ─► answer ──► guest
//!   capture thread ── begin_copy, copy_on ──┤
//!   loop ── hear: Stand, Hashes, Applied ───┘
//! ```
//!
//! The guest never waits for the link. The thread ends, and lets the files go, with the last handle. Not here: what becomes of
//! the record ([`recording`](super::recording)), and what is left of a full copy ([`full_copy`](super::full_copy)).

use super::full_copy::{ANSWER_WAIT, CopyGoal, FullCopy, Step};
use super::past::Past;
use super::place::{DiskPlace, NUMBER, PlaceError};
use super::recording::{CopyError, Full, Recording, WritesOf};
use crate::guest::participant::{CopyNext, CopyStep, DiskParticipant, Health, Participant, ParticipantError};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Instant;
use understudy_checkpoint::time::Time;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::batch::{Content, Write};
use understudy_disk::intent::Intent;
use understudy_disk::label::Standing;
use understudy_disk::ledger::{CHUNK_BYTES, Ledger};
use understudy_disk::nbd::{Command, Errno, Reply};
use understudy_disk::record::{Overrun, Tagged};
use understudy_disk::server::{Action, Book, Server};
use understudy_disk::storage::{Storage, StorageError};
use understudy_disk::sync::hashes::hash;
use understudy_disk::sync::plan::{Theirs, chunks_of};
use understudy_disk::sync::talk::{Ask as Question, Say};
use understudy_disk::words::Extent;
use understudy_lab::{Disk, DiskAnswer, DiskFailed, DiskRequest, DiskWish, Inlet};

/// Chunks that the ledger tells apart by epoch: 16 MiB of them.
const LEDGER_CHUNKS_MAX: usize = 256;

/// Why a guest's disk cannot be served.
#[derive(thiserror::Error, Debug)]
pub enum LocalError {
    /// The disk's files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The disk holds an unfinished copy.
    #[error(
        "the guest's disk was being overwritten by a full copy when that ended, so it is at no moment of the guest; start \
         the guest on the host that has it whole, or remove the disk's directory"
    )]
    Partial,
    /// The node has no directory for disks.
    #[error(
        "the guest has a disk, and the node is not told where to keep disks; give it --lab-disks DIRECTORY"
    )]
    NoDirectory,
    /// The system gives no thread or no memory.
    #[error("the disk gets no thread or no memory: {0}")]
    NoRoom(String),
}

enum Ask {
    OfGuest(DiskRequest, Inlet),
    /// Begins a full copy, which this epoch ends.
    BeginCopy(Generation, Epoch, Sender<Result<(), CopyError>>),
    /// Goes a step of it.
    Copy(CopyGoal, Sender<Result<CopyStep, CopyError>>),
    /// The other host says something, in or of this epoch.
    Heard(Epoch, Vec<u8>),
}

/// A handle to the disk.
#[derive(Debug)]
pub struct LocalDisk {
    asks: Sender<Ask>,
    recording: Arc<Recording>,
    size_bytes: u64,
    /// What the full copy has still to read.
    left_bytes: Arc<AtomicU64>,
}

impl Disk for LocalDisk {
    fn submit(&self, request: DiskRequest, guest: &Inlet) {
        let (id, inlet) = (request.id, guest.clone());
        if self.asks.send(Ask::OfGuest(request, inlet)).is_err() {
            guest.answer(DiskAnswer { id, result: Err(DiskFailed) });
        }
    }
}

impl LocalDisk {
    /// The disk of a guest that nobody ran before, that ran here last, or that was taken over.
    pub fn start(place: &DiskPlace, sync_bytes_per_s: u64) -> Result<Self, LocalError> {
        let opened = place.open()?;
        if opened.standing == Standing::Partial {
            return Err(LocalError::Partial);
        }
        let size_bytes = place.size_bytes();
        let map = opened.map.map_err(PlaceError::from)?;
        let no_room = |error: &dyn ToString| LocalError::NoRoom(error.to_string());
        let mut ledger = Ledger::new(size_bytes, LEDGER_CHUNKS_MAX).map_err(|error| no_room(&error))?;
        // What was written before this life, and the other host may lack: of no epoch of this life.
        let before = chunks_of(&map.marked, size_bytes).map_err(|error| no_room(&error))?;
        ledger.behind(&before, Epoch(0));
        let intent = Intent::new(map.marked).map_err(|error| no_room(&error))?;
        let past = Past::new(opened.applier, opened.trust, map.file).map_err(PlaceError::from)?;
        let (recording, left_bytes) = (Arc::new(Recording::default()), Arc::new(AtomicU64::new(0)));
        let (asks, asked) = unbounded();
        let mut worker = Worker {
            server: Server::new(NUMBER, intent, ledger),
            size_bytes,
            past,
            recording: recording.clone(),
            guest: None,
            copy: Copying::No,
            read: None,
            sync_bytes_per_s,
            left_bytes: left_bytes.clone(),
            began: Instant::now(),
        };
        let thread = Builder::new().name("disk".into()).spawn(move || worker.run(&asked));
        thread.map_err(|error| no_room(&error))?;
        Ok(Self { asks, recording, size_bytes, left_bytes })
    }

    fn ask<T>(&self, ask: impl FnOnce(Sender<Result<T, CopyError>>) -> Ask) -> Result<T, CopyError> {
        let (to, said) = bounded(1);
        let said = self.asks.send(ask(to)).ok().and_then(|()| said.recv().ok());
        said.unwrap_or(Err(CopyError::Unread))
    }
}

impl DiskParticipant for LocalDisk {
    fn begin_copy(&self, generation: Generation, epoch: Epoch) -> Result<(), CopyError> {
        self.ask(|to| Ask::BeginCopy(generation, epoch, to))
    }

    fn hear(&self, epoch: Epoch, say: &[u8]) {
        // Without its thread nothing is copied.
        let _ = self.asks.send(Ask::Heard(epoch, say.to_vec()));
    }

    fn copy_on(&self, goal: CopyGoal) -> Result<CopyStep, CopyError> {
        self.ask(|to| Ask::Copy(goal, to))
    }

    fn is_even(&self) -> bool {
        self.left_bytes.load(Ordering::Relaxed) == 0 && self.recording.full() == Some(Full::Notes)
    }

    fn left_bytes(&self) -> (u64, u64) {
        (self.left_bytes.load(Ordering::Relaxed).min(self.size_bytes), self.size_bytes)
    }

    fn take_ready(&self) -> Vec<Arc<Tagged>> {
        self.recording.take_ready()
    }

    fn end(&self, epoch: Epoch) -> Result<WritesOf, Overrun> {
        self.recording.end(epoch)
    }

    fn go_back_to(&self, base: Epoch) -> Result<(), Overrun> {
        self.recording.go_back_to(base)
    }
}

impl Participant for LocalDisk {
    fn check(&self) -> Result<(), ParticipantError> {
        Ok(())
    }
    fn cut(&self, epoch: Epoch) -> Result<(), ParticipantError> {
        self.recording.cut(epoch);
        Ok(())
    }
    fn release(&self, through: Epoch) {
        self.recording.acked(through);
    }
    fn pass(&self) {
        self.recording.stop();
    }
    fn fence(&self) {
        // The guest is suspended, and the next full copy overwrites this disk.
        self.recording.stop();
    }
    fn revive(&self) {}
    fn detach(&self) {}
    fn take_health(&self) -> Health {
        Health::default()
    }
    fn last_fault(&self) -> Option<String> {
        None
    }
}

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

struct Worker {
    server: Server<Vec<u8>>,
    size_bytes: u64,
    past: Past,
    recording: Arc<Recording>,
    guest: Option<Inlet>,
    copy: Copying,
    /// What came of the last chunk that was read, and what for.
    read: Option<Result<Read, CopyError>>,
    sync_bytes_per_s: u64,
    left_bytes: Arc<AtomicU64>,
    began: Instant,
}

impl Worker {
    fn run(&mut self, asked: &Receiver<Ask>) {
        for ask in asked {
            match ask {
                Ask::OfGuest(request, inlet) => {
                    self.guest = Some(inlet);
                    let id = request.id;
                    let (command, data) = self.command(request.wish);
                    self.with(|server, book| server.request(id, command, data, book));
                    self.act(false);
                    if let Ok(Command::Write { extent, .. }) = command {
                        self.wrote(extent);
                    }
                }
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
        }
    }

    fn now(&self) -> Time {
        Time(self.began.elapsed().as_nanos() as u64)
    }

    fn begin_copy(&mut self, generation: Generation, epoch: Epoch) -> Result<(), CopyError> {
        self.past.begin_copy(generation, epoch).map_err(|error| {
            tracing::error!(%error, "The label of the guest's disk cannot be written");
            CopyError::Label
        })?;
        self.copy = Copying::Asking { epoch, is_asked: false, heard: None };
        self.left_bytes.store(self.size_bytes, Ordering::Relaxed);
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
                let copy = Box::new(FullCopy::new(self.size_bytes, plan, self.sync_bytes_per_s)?);
                self.copy = Copying::Going { epoch: *epoch, copy };
                (Some(Question::Begin(self.past.history())), CopyNext::Step)
            }
            Copying::Going { .. } => self.step(goal)?,
        };
        self.tell_left();
        Ok(CopyStep { ready, ask, next })
    }

    fn step(&mut self, goal: CopyGoal) -> Result<(Option<Question>, CopyNext), CopyError> {
        let now = self.now();
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
            Copying::No => 0,
            Copying::Asking { .. } => self.size_bytes,
            Copying::Going { copy, .. } => copy.left_bytes(),
        };
        self.left_bytes.store(left_bytes, Ordering::Relaxed);
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
        let now = self.now();
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
            Err(error) => tracing::error!(%error, "The label of the guest's disk cannot be written"),
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
        let now = self.now();
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Read(job, extent) => {
                    let mut data = vec![0; extent.bytes() as usize];
                    let read = self.past.disk().read_at(extent.offset(), &mut data);
                    let result = read.map(|()| Some(data)).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Write { job, extent, data, is_forced } => {
                    let result = self.write(extent, data, is_forced).map(|()| None).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Flush(job) => {
                    let result = self.past.disk().flush().map(|()| None).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Mark(pending) => {
                    let written = self.past.mark(&pending).map_err(failed);
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

fn failed(error: StorageError) -> Errno {
    tracing::error!(%error, "The guest's disk fails, and the guest is told so");
    Errno::Io
}
