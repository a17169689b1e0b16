//! [`LocalDisk`]: the disk of a guest that runs here, as its capture thread and the loop have it. One thread serves it
//! ([`worker`](super::worker)).
//!
//! ```text
//!   guest ── submit ────────────────────────┐
//!   loop ── pass, revive, fence ────────────┤
//!   capture thread ── begin_copy, copy_on ──┼─► thread: one thing after the other
//!   loop ── hear: Stand, Hashes, Applied ───┘
//!   capture thread ── cut, end ─► Recording (a lock, no wait)
//! ```
//!
//! The guest never waits for the link. The thread ends, and lets the files go, with the last handle. The simulator has no
//! thread: what was asked waits until [`LocalDisk::step`], or until somebody asks for an answer, which comes behind it.

use super::door::DiskAnswers;
use super::error::LocalError;
use super::full_copy::{CopyGoal, CopyPace, NEAR_CHUNKS};
use super::place::DiskPlace;
use super::recording::{CopyError, Full, Recording, WritesOf};
use super::told::Told;
use super::worker::{Ask, DiskClock, Worker};
use crate::guest::participant::{
    CopyStep, DiskParticipant, DiskStanding, Health, Participant, ParticipantError,
};
use crossbeam::channel::{Sender, bounded, unbounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;
use understudy_checkpoint::time::Time;
use understudy_checkpoint::{Epoch, Generation};
use understudy_disk::record::{Overrun, Tagged};
use understudy_lab::{Disk, DiskAnswer, DiskFailed, DiskRequest, Inlet};

/// How what is asked gets to the worker.
enum Way {
    Thread(Sender<Ask>),
    Stepped(Box<Mutex<Stepped>>),
}

/// A worker without a thread, and what it was asked.
struct Stepped {
    worker: Worker,
    asked: VecDeque<Ask>,
}

impl Stepped {
    fn step(&mut self) -> bool {
        let Some(ask) = self.asked.pop_front() else { return false };
        self.worker.take(ask);
        true
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Thread",
            Self::Stepped(_) => "Stepped",
        })
    }
}

/// A handle to the disk.
#[derive(Debug)]
pub struct LocalDisk {
    way: Way,
    recording: Arc<Recording>,
    size_bytes: u64,
    told: Told,
}

impl Disk for LocalDisk {
    fn submit(&self, request: DiskRequest, guest: &Inlet) {
        let (id, inlet) = (request.id, guest.clone());
        if !self.ask_behind(Ask::OfGuest(request, Box::new(inlet))) {
            guest.answer(DiskAnswer { id, result: Err(DiskFailed) });
        }
    }
}

impl LocalDisk {
    /// The disk of a guest that nobody ran before, that ran here last, or that was taken over.
    pub fn start(place: &DiskPlace, sync_bytes_per_s: u64) -> Result<Self, LocalError> {
        let pace = CopyPace { bytes_per_s: sync_bytes_per_s, near_chunks: NEAR_CHUNKS };
        let began = Instant::now();
        let clock = Box::new(move || Time(began.elapsed().as_nanos() as u64));
        let mut worker = Worker::open(place, pace, clock)?;
        let (recording, told) = worker.shared();
        let (asks, asked) = unbounded();
        let thread = Builder::new().name("disk".into()).spawn(move || {
            asked.into_iter().for_each(|ask| worker.take(ask));
        });
        thread.map_err(LocalError::no_room)?;
        Ok(Self { way: Way::Thread(asks), recording, size_bytes: place.size_bytes(), told })
    }

    /// The same without a thread, for the simulator.
    pub fn stepped(place: &DiskPlace, pace: CopyPace, clock: DiskClock) -> Result<Self, LocalError> {
        let worker = Worker::open(place, pace, clock)?;
        let (recording, told) = worker.shared();
        let way = Way::Stepped(Box::new(Mutex::new(Stepped { worker, asked: VecDeque::new() })));
        Ok(Self { way, recording, size_bytes: place.size_bytes(), told })
    }

    /// Takes a request of a guest.
    pub fn submit_to(&self, request: DiskRequest, answers: Box<dyn DiskAnswers>) {
        // Without its thread nothing is answered, as on a host that is gone.
        let _ = self.ask_behind(Ask::OfGuest(request, answers));
    }

    /// Without a thread: does one thing that was asked; `false` if there is none.
    pub fn step(&self) -> bool {
        match &self.way {
            Way::Thread(_) => false,
            Way::Stepped(stepped) => stepped.lock().step(),
        }
    }

    /// Asks, behind what was asked before; `false` if nobody will do it.
    fn ask_behind(&self, ask: Ask) -> bool {
        match &self.way {
            Way::Thread(asks) => asks.send(ask).is_ok(),
            Way::Stepped(stepped) => {
                stepped.lock().asked.push_back(ask);
                true
            }
        }
    }

    fn set_door(&self, ask: Ask) {
        // Without its thread nothing is served.
        let _ = self.ask_behind(ask);
    }

    fn ask<T>(&self, ask: impl FnOnce(Sender<Result<T, CopyError>>) -> Ask) -> Result<T, CopyError> {
        let (to, said) = bounded(1);
        if !self.ask_behind(ask(to)) {
            return Err(CopyError::Unread);
        }
        if let Way::Stepped(stepped) = &self.way {
            while stepped.lock().step() {}
        }
        said.recv().unwrap_or(Err(CopyError::Unread))
    }
}

impl DiskParticipant for LocalDisk {
    fn begin_copy(&self, generation: Generation, epoch: Epoch) -> Result<(), CopyError> {
        self.ask(|to| Ask::BeginCopy(generation, epoch, to))
    }

    fn hear(&self, epoch: Epoch, say: &[u8]) {
        // Without its thread nothing is copied.
        let _ = self.ask_behind(Ask::Heard(epoch, say.to_vec()));
    }

    fn copy_on(&self, goal: CopyGoal) -> Result<CopyStep, CopyError> {
        self.ask(|to| Ask::Copy(goal, to))
    }

    fn is_even(&self) -> bool {
        self.told.left_bytes() == Some(0) && self.recording.full() == Some(Full::Notes)
    }

    fn standing(&self) -> DiskStanding {
        DiskStanding {
            size_bytes: self.size_bytes,
            left_bytes: self.told.left_bytes(),
            behind_bytes: self.told.behind_bytes().min(self.size_bytes),
            fault: self.told.fault(),
        }
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
        self.set_door(Ask::Open);
        self.recording.stop();
        self.told.set_left(None);
    }
    fn fence(&self) {
        // The guest is suspended, and the next full copy overwrites this disk.
        self.set_door(Ask::Shut);
        self.recording.stop();
        self.told.set_left(None);
    }
    fn revive(&self) {
        self.set_door(Ask::Open);
    }
    fn detach(&self) {}
    fn take_health(&self) -> Health {
        Health::default()
    }
    fn last_fault(&self) -> Option<String> {
        None
    }
}
