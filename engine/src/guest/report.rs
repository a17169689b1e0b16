//! [`Report`]: messages from workers to the event loop.
//!
//! Workers may block here when the loop is behind. The loop never blocks on a worker, so this cannot deadlock.

use crate::guest::figures::{Encoded, PauseTimes};
use crate::guest::machine::RunningGuest;
use crate::guest::waker::LoopWaker;
use crossbeam::channel::Sender;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::HoldRefusal;
use understudy_session::{Decline, EpochKind};

/// A message from a worker of one guest.
#[derive(Debug)]
pub enum Report {
    /// A capture's pause is over.
    Captured {
        /// The epoch captured.
        epoch: Epoch,
        /// The parts of the pause.
        pause: PauseTimes,
        /// Pages copied in the pause.
        dirty_pages: u64,
    },
    /// A capture failed. Its pages stay pending.
    CaptureFailed {
        /// The epoch that was not captured.
        epoch: Epoch,
        /// The guest is gone.
        guest_gone: bool,
        /// No later delta can build on what the peer holds; a full sync is needed.
        needs_seed: bool,
        /// The guest's new description, if it no longer matches the old one.
        described: Option<Box<Description>>,
        /// The guest is a recording that has ended.
        end_of_recording: bool,
        /// The reason, for the log.
        why: String,
    },
    /// A full sync goes on: this many pages of it are encoded so far, those of later passes included.
    Seeding { pages: u64 },
    /// An epoch is encoded and in the link's queue (or the connection has ended).
    Encoded {
        epoch: Epoch,
        /// Full sync or delta.
        kind: EpochKind,
        /// Its size and encodings.
        encoded: Encoded,
    },
    /// An epoch has arrived completely.
    Complete {
        /// As in its head.
        generation: Generation,
        epoch: Epoch,
    },
    /// An arrived epoch cannot be used.
    Broken {
        /// As in its head.
        generation: Generation,
        epoch: Epoch,
        /// The answer to the primary.
        why: Decline,
        /// The error, for the log.
        error: String,
    },
    /// The image is at this epoch.
    Committed { epoch: Epoch },
    /// The epochs of the past that are kept now.
    Kept {
        /// Oldest first, each with the time at which it was kept: nanoseconds since 1970.
        epochs: Vec<(Epoch, u64)>,
        /// Memory for all of them.
        bytes: usize,
    },
    /// The image is lost.
    CommitFailed {
        epoch: Epoch,
        /// The error, for the log.
        error: String,
    },
    /// The guest's disk here cannot follow the guest.
    DiskFails {
        /// The error, for the operator.
        error: String,
    },
    /// What the guest's disk here is worth, or has.
    DiskSay {
        /// The generation of the question, or of the epoch that is applied.
        generation: Generation,
        /// Its epoch.
        epoch: Epoch,
        /// For the primary.
        say: Vec<u8>,
    },
    /// The copy is at exactly this epoch, and halted.
    CopySet { epoch: Epoch },
    /// The copy could not be set, and is gone.
    CopySetFailed {
        epoch: Epoch,
        /// The error, for the log.
        error: String,
    },
    /// The copy is halted.
    CopyHalted,
    /// The copy has ended by itself.
    CopyEnded {
        /// The error, for the log.
        error: String,
    },
    /// The guest runs, started from the image.
    Activated { guest: RunningGuest },
    /// The guest cannot be held here any more; its image is gone.
    GivenUp { refusal: HoldRefusal },
    /// The guest could not be started from the image yet; it may be tried again.
    ActivationDelayed {
        /// The error, for the log.
        error: String,
    },
    /// The guest could not be started from the image.
    ActivationFailed {
        /// The error, for the log.
        error: String,
    },
    /// What has become of the image of a guest that could not be started.
    ImageSaved {
        /// Where it is, and what a person can do with it.
        advice: String,
    },
    /// A thread of this guest panicked. Its other threads end, too.
    Panicked { worker: &'static str, message: String },
}

impl Report {
    /// The kind of report, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Captured { .. } => "captured",
            Self::CaptureFailed { .. } => "capture failed",
            Self::Seeding { .. } => "seeding",
            Self::Encoded { .. } => "encoded",
            Self::Complete { .. } => "complete",
            Self::Broken { .. } => "broken",
            Self::Committed { .. } => "committed",
            Self::Kept { .. } => "kept",
            Self::CommitFailed { .. } => "commit failed",
            Self::DiskFails { .. } => "disk fails",
            Self::DiskSay { .. } => "said of a disk",
            Self::CopySet { .. } => "copy set",
            Self::CopySetFailed { .. } => "copy not set",
            Self::CopyHalted => "copy halted",
            Self::CopyEnded { .. } => "copy ended",
            Self::Activated { .. } => "activated",
            Self::GivenUp { .. } => "given up",
            Self::ActivationDelayed { .. } => "activation delayed",
            Self::ActivationFailed { .. } => "activation failed",
            Self::ImageSaved { .. } => "image saved",
            Self::Panicked { .. } => "panicked",
        }
    }
}

/// Distinguishes one runtime of a guest from earlier and later ones. Reports of a dropped runtime are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuntimeId(pub u64);

/// A worker's channel to the loop.
#[derive(Clone, Debug)]
pub struct Reporter {
    runtime: RuntimeId,
    reports: Sender<(RuntimeId, Report)>,
    waker: LoopWaker,
}

impl Reporter {
    /// Sends to `reports` in the name of `runtime`, and wakes the loop by `waker`.
    pub fn new(runtime: RuntimeId, reports: Sender<(RuntimeId, Report)>, waker: LoopWaker) -> Self {
        Self { runtime, reports, waker }
    }

    /// Sends a report. Without a loop (during shutdown) it is dropped.
    pub fn tell(&self, report: Report) {
        if self.reports.send((self.runtime, report)).is_ok() {
            self.wake();
        }
    }

    /// Leaves a report for the loop's next iteration without waking it: an iteration only to count things is not worth
    /// its cost.
    pub fn note(&self, report: Report) {
        // Without a loop nobody wants it.
        let _ = self.reports.send((self.runtime, report));
    }

    /// Wakes the loop without a report, because there is room for more work.
    pub fn wake(&self) {
        self.waker.wake();
    }
}
