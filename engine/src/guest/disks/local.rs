//! [`LocalDisk`]: the disk of a lab guest that runs here. One thread serves it, by the rules of `understudy_disk::server`.
//!
//! ```text
//!   guest ── submit ──► thread: order ─► Recording ─► file ─► answer ──► guest
//!   capture thread ── copy_on ──┘
//! ```
//!
//! The guest never waits for the link. The thread ends, and lets the file go, with the last handle. Not here: what becomes of the
//! record ([`recording`](super::recording)).

use super::place::{DiskPlace, PlaceError};
use super::recording::{CopyError, Recording, WritesOf};
use crate::guest::participant::{DiskParticipant, Health, Participant, ParticipantError};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use understudy_checkpoint::time::Time;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::apply::Trust;
use understudy_disk::batch::{Content, Write};
use understudy_disk::bits::Bits;
use understudy_disk::intent::{Intent, REGION_BYTES};
use understudy_disk::label::Standing;
use understudy_disk::ledger::{CHUNK_BYTES, Ledger};
use understudy_disk::nbd::{Command, Errno, Reply};
use understudy_disk::record::{Overrun, Tagged};
use understudy_disk::server::{Action, Book, Server};
use understudy_disk::storage::file::FileStorage;
use understudy_disk::storage::{Guarded, Storage, StorageError};
use understudy_disk::words::{DiskNumber, Extent};
use understudy_lab::{Disk, DiskAnswer, DiskFailed, DiskRequest, DiskWish, Inlet};

const NUMBER: DiskNumber = DiskNumber(0);

/// Epochs of which the ledger tells chunks apart; it is not read yet.
const LEDGER_CHUNKS_MAX: usize = 1024;

/// A guest's disk cannot be served.
#[derive(thiserror::Error, Debug)]
pub enum LocalError {
    /// Its files.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It was being overwritten when this host last had it.
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
    /// Its thread or its memory.
    #[error("the disk gets no thread or no memory: {0}")]
    NoRoom(String),
}

enum Ask {
    OfGuest(DiskRequest, Inlet),
    /// Reads it into the record, and says whether it did.
    Copy(Extent, Sender<Result<(), CopyError>>),
}

/// A handle to the disk.
#[derive(Debug)]
pub struct LocalDisk {
    asks: Sender<Ask>,
    recording: Arc<Recording>,
    size_bytes: u64,
    /// How far the full copy has read.
    copied_bytes: AtomicU64,
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
    /// The disk of a guest that nobody ran before, or that ran here last.
    pub fn start(place: &DiskPlace) -> Result<Self, LocalError> {
        let opened = place.open()?;
        if opened.standing == Standing::Partial {
            return Err(LocalError::Partial);
        }
        let generation = match opened.trust {
            Trust::Epoch(point) => point.generation,
            Trust::Owned { generation, .. } => generation,
            Trust::Nothing => Generation(0),
        };
        let mut applier = opened.applier;
        applier.own(generation).map_err(PlaceError::from)?;
        drop(applier);
        Self::go_on(place)
    }

    /// The disk of a guest that was taken over: its label says so already.
    pub fn go_on(place: &DiskPlace) -> Result<Self, LocalError> {
        let disk = Guarded::new(place.open_disk()?);
        let size_bytes = place.size_bytes();
        let no_room = |error: &dyn ToString| LocalError::NoRoom(error.to_string());
        let regions = Bits::try_new(size_bytes.div_ceil(REGION_BYTES)).map_err(|error| no_room(&error))?;
        let intent = Intent::new(regions).map_err(|error| no_room(&error))?;
        let ledger = Ledger::new(size_bytes, LEDGER_CHUNKS_MAX).map_err(|error| no_room(&error))?;
        let recording = Arc::new(Recording::default());
        let (asks, asked) = unbounded();
        let server = Server::new(NUMBER, intent, ledger);
        let mut worker = Worker { server, disk, recording: recording.clone(), guest: None, copying: None };
        let thread = Builder::new().name("disk".into()).spawn(move || worker.run(&asked));
        thread.map_err(|error| no_room(&error))?;
        Ok(Self { asks, recording, size_bytes, copied_bytes: AtomicU64::new(0) })
    }
}

impl DiskParticipant for LocalDisk {
    fn begin_copy(&self, epoch: Epoch) {
        self.copied_bytes.store(0, Ordering::Relaxed);
        self.recording.begin(epoch);
    }

    fn copy_on(&self) -> Result<Option<Vec<Arc<Tagged>>>, CopyError> {
        let offset = self.copied_bytes.load(Ordering::Relaxed);
        let bytes = CHUNK_BYTES.min(self.size_bytes - offset) as u32;
        let Ok(piece) = Extent::new(offset, bytes) else { return Ok(None) };
        let (to, said) = bounded(1);
        let asked = self.asks.send(Ask::Copy(piece, to)).ok().and_then(|()| said.recv().ok());
        asked.unwrap_or(Err(CopyError::Unread))?;
        self.copied_bytes.store(piece.end(), Ordering::Relaxed);
        Ok(Some(self.recording.take_ready()))
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
        // The guest stands still, and this disk is overwritten by the next full copy.
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

struct Worker {
    server: Server<Vec<u8>>,
    disk: Guarded<FileStorage>,
    recording: Arc<Recording>,
    guest: Option<Inlet>,
    copying: Option<Sender<Result<(), CopyError>>>,
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
                }
                Ask::Copy(extent, to) => {
                    self.copying = Some(to);
                    self.with(|server, book| server.bulk(extent, book));
                }
            }
            self.act();
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Server<Vec<u8>>, &mut Book<'_>)) {
        let server = &mut self.server;
        self.recording.with_book(|book| act(server, book));
    }

    fn command(&self, wish: DiskWish) -> (Result<Command, Errno>, Option<Vec<u8>>) {
        let extent = |offset, bytes| {
            let extent = Extent::new(offset, bytes).map_err(|_| Errno::Invalid)?;
            if extent.end() > self.disk.size_bytes() { Err(Errno::NoSpace) } else { Ok(extent) }
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

    fn act(&mut self) {
        let now = Time(0);
        while let Some(action) = self.server.next_action() {
            match action {
                Action::Read(job, extent) => {
                    let mut data = vec![0; extent.bytes() as usize];
                    let read = self.disk.read_at(extent.offset(), &mut data);
                    let result = read.map(|()| Some(data)).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Write { job, extent, data, is_forced } => {
                    let result = self.write(extent, data, is_forced).map(|()| None).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                Action::Flush(job) => {
                    let result = self.disk.flush().map(|()| None).map_err(failed);
                    self.with(|server, book| server.done(job, result, book, now));
                }
                // There is no map on this way: after anything but a flap all is copied.
                Action::Mark(pending) => self.with(|server, book| server.marked(&pending, true, book, now)),
                Action::Answer { reply, data } => self.answer(reply, data),
                Action::Bulk { extent, data } => self.copied(extent, data),
                Action::End => {}
            }
        }
    }

    fn write(&mut self, extent: Extent, data: Option<Vec<u8>>, is_forced: bool) -> Result<(), StorageError> {
        let data = data.unwrap_or_else(|| vec![0; extent.bytes() as usize]);
        self.disk.write_at(extent.offset(), &data)?;
        if is_forced { self.disk.flush() } else { Ok(()) }
    }

    fn answer(&self, reply: Reply, data: Option<Vec<u8>>) {
        if let Some(guest) = &self.guest {
            let result = reply.result.map(|()| data.unwrap_or_default()).map_err(|_| DiskFailed);
            guest.answer(DiskAnswer { id: reply.cookie, result });
        }
    }

    /// What was read goes into the record before anything that is written later.
    fn copied(&mut self, extent: Extent, data: Result<Vec<u8>, Errno>) {
        let copied = data.map_err(|_| CopyError::Unread).and_then(|data| {
            let write = Write { disk: NUMBER, extent, content: Content::Data(&data) };
            self.recording.with_book(|book| match book {
                Book::Record(record) => record.write(write).map_err(CopyError::from),
                Book::Marks(_) => Err(Overrun.into()),
            })
        });
        if let Some(to) = self.copying.take() {
            // Who asked may have given up.
            let _ = to.send(copied);
        }
    }
}

fn failed(error: StorageError) -> Errno {
    tracing::error!(%error, "The guest's disk fails, and the guest is told so");
    Errno::Io
}
