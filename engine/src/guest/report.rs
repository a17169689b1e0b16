//! What workers tell the event loop.
//!
//! Workers may block here when the loop is behind; the loop never blocks on a worker, so this cannot lock up.

use crate::guest::figures::{Encoded, PauseTimes};
use crate::guest::machine::RunningGuest;
use crate::guest::waker::LoopWaker;
use crossbeam::channel::Sender;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::HoldRefusal;
use understudy_session::{Decline, EpochKind};

/// What a worker of one guest has to say.
#[derive(Debug)]
pub enum Report {
    /// The pause of a capture is over.
    Captured {
        /// The epoch captured.
        epoch: Epoch,
        /// How long the guest stood still.
        pause: PauseTimes,
        /// Pages copied in the pause.
        dirty_pages: u64,
    },
    /// A capture came to nothing; its pages stay in the account.
    CaptureFailed {
        /// The epoch not captured.
        epoch: Epoch,
        /// There is no guest any more.
        guest_gone: bool,
        /// What the peer holds can be no base of a later capture: only a seed can help.
        needs_seed: bool,
        /// What the guest is now, where it is not what it was described as.
        described: Option<Box<Description>>,
        /// The guest is a recording, and it is over.
        end_of_recording: bool,
        /// For the log.
        why: String,
    },
    /// An epoch is encoded and in the link's queue (or the connection has ended).
    Encoded {
        /// The epoch.
        epoch: Epoch,
        /// Seed or delta.
        kind: EpochKind,
        /// What it became.
        encoded: Encoded,
    },
    /// An epoch arrived whole.
    Complete {
        /// As its begin said.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
    },
    /// An epoch that arrived cannot be used.
    Broken {
        /// As its begin said.
        generation: Generation,
        /// The epoch.
        epoch: Epoch,
        /// What to tell the primary.
        why: Decline,
        /// For the log.
        error: String,
    },
    /// The image stands at this epoch.
    Committed {
        /// The epoch.
        epoch: Epoch,
    },
    /// The image is lost.
    CommitFailed {
        /// The epoch.
        epoch: Epoch,
        /// For the log.
        error: String,
    },
    /// The copy is exactly this epoch, and stands still.
    CopySet {
        /// The epoch.
        epoch: Epoch,
    },
    /// The copy could not be set: there is none.
    CopySetFailed {
        /// The epoch.
        epoch: Epoch,
        /// For the log.
        error: String,
    },
    /// The copy stands still.
    CopyHalted,
    /// The copy has ended by itself.
    CopyEnded {
        /// For the log.
        error: String,
    },
    /// The guest runs, from the image.
    Activated {
        /// It.
        guest: RunningGuest,
    },
    /// The guest cannot be held any more; its image is gone.
    GivenUp {
        /// Why.
        refusal: HoldRefusal,
    },
    /// The guest could not be started from the image yet: that may be tried again.
    ActivationDelayed {
        /// For the log.
        error: String,
    },
    /// The guest could not be started from the image.
    ActivationFailed {
        /// For the log.
        error: String,
    },
    /// A thread of this guest panicked. Its other threads end as well.
    Panicked {
        /// Which thread.
        worker: &'static str,
        /// What it said.
        message: String,
    },
}

impl Report {
    /// What it is about, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Captured { .. } => "captured",
            Self::CaptureFailed { .. } => "capture failed",
            Self::Encoded { .. } => "encoded",
            Self::Complete { .. } => "complete",
            Self::Broken { .. } => "broken",
            Self::Committed { .. } => "committed",
            Self::CommitFailed { .. } => "commit failed",
            Self::CopySet { .. } => "copy set",
            Self::CopySetFailed { .. } => "copy not set",
            Self::CopyHalted => "copy halted",
            Self::CopyEnded { .. } => "copy ended",
            Self::Activated { .. } => "activated",
            Self::GivenUp { .. } => "given up",
            Self::ActivationDelayed { .. } => "activation delayed",
            Self::ActivationFailed { .. } => "activation failed",
            Self::Panicked { .. } => "panicked",
        }
    }
}

/// Tells one runtime of a guest from another of the same guest before or after it: reports of a runtime that
/// was dropped are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuntimeId(pub u64);

/// One worker's way to the loop.
#[derive(Clone, Debug)]
pub struct Reporter {
    runtime: RuntimeId,
    reports: Sender<(RuntimeId, Report)>,
    waker: LoopWaker,
}

impl Reporter {
    /// Reports go to `reports` as coming from `runtime`, and wake the loop by `waker`.
    pub fn new(runtime: RuntimeId, reports: Sender<(RuntimeId, Report)>, waker: LoopWaker) -> Self {
        Self { runtime, reports, waker }
    }

    /// Hands a report over. Without a loop (shutdown) nobody wants it and it is dropped.
    pub fn tell(&self, report: Report) {
        if self.reports.send((self.runtime, report)).is_ok() {
            self.wake();
        }
    }

    /// Leaves a report for the loop's next turn, whatever wakes it: a turn only to count things costs more than
    /// it is worth.
    pub fn note(&self, report: Report) {
        // Without a loop nobody wants it.
        let _ = self.reports.send((self.runtime, report));
    }

    /// Wakes the loop without a report: there is room for more work.
    pub fn wake(&self) {
        self.waker.wake();
    }
}
