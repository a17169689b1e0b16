//! The capture thread of a protected guest: takes checkpoints when the session orders them.
//!
//! ```text
//!   event loop ──order──► capture thread ──jobs──► encode thread ──frames──► link
//!        ▲                    │ full sync: live passes while the guest runs, then a pause for the rest
//!        │                    │ others: what is dirty, while the guest runs; then a pause for what is written meanwhile
//! ```
//!
//! The thread owns the guest as a [`Source`], and the [`UnackedDirty`] frames that the peer lacks.
//! [`pause`](super::pause) has what it does while the guest is suspended, [`seed`] a full sync.

pub(in crate::guest) mod seed;

use super::ahead::Ahead;
use super::failure::Failure;
use super::job::Job;
use super::order::{CaptureOrder, Order};
use super::pause::Pause;
use super::pool::{Abort, EmptyPieces, Pieces};
use super::scrub::Scrub;
use super::unacked_dirty::UnackedDirty;
use super::unmarked::Unmarked;
use crate::guest::disks::recording::CopyError;
use crate::guest::figures::PauseTimes;
use crate::guest::participant::Participants;
use crate::guest::report::{Report, Reporter};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use seed::Seeding;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_session::primary::Capture;
use understudy_session::{EpochKind, Time};

/// How long a copy of a disk that keeps to its limit of speed sleeps at most, before it looks whether it was given up.
const COPY_WAIT_MAX: Duration = Duration::from_millis(20);

/// What an order says of a checkpoint, beside what it is made of.
#[derive(Clone, Copy, Debug)]
pub(in crate::guest) struct Ordered {
    pub(super) epoch: Epoch,
    stay_paused: bool,
    now: Time,
}

impl Ordered {
    pub(super) fn of(order: &CaptureOrder) -> Self {
        Self { epoch: order.epoch, stay_paused: order.stay_paused, now: order.now }
    }
}

/// What a capture has come to.
pub(in crate::guest) enum Progress {
    /// A full sync waits so long before it goes on.
    Waits(Seeding, Duration),
    /// The checkpoint is taken: its pause, and the pages that it has.
    Captured(Box<PauseTimes>, u64),
}

/// The newest acked epoch, passed to the capture thread without an order. Values may be skipped.
#[derive(Clone, Debug, Default)]
pub(in crate::guest) struct Acked(Arc<AtomicU64>);

impl Acked {
    /// Sets the newest acked epoch.
    pub(in crate::guest) fn set(&self, through: Epoch) {
        self.0.store(through.0 + 1, Ordering::Release);
    }

    fn get(&self) -> Option<Epoch> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(Epoch)
    }
}

/// The state of the thread.
pub(in crate::guest) struct Capturer {
    pub(in crate::guest) source: Box<dyn Source>,
    pub(in crate::guest) unacked: UnackedDirty,
    pub(in crate::guest) participants: Participants,
    pub(in crate::guest) pieces: Pieces,
    pub(in crate::guest) states: Receiver<DomainState>,
    pub(in crate::guest) jobs: Sender<Job>,
    pub(in crate::guest) abort: Abort,
    pub(in crate::guest) acked: Acked,
    pub(in crate::guest) reporter: Reporter,
    pub(in crate::guest) copiers: usize,
    /// The longest wait of a suspended guest for a slow link.
    pub(in crate::guest) pause_wait_max: Duration,
    /// Pages that one pause copies without waiting for the link.
    pub(in crate::guest) staging_pages: u64,
    pub(in crate::guest) ahead: Ahead,
    pub(in crate::guest) scrub: Scrub,
    pub(in crate::guest) unmarked: Unmarked,
    /// The newest captured epoch, on which the next delta builds.
    pub(in crate::guest) last: Option<Epoch>,
    /// A guest that is found suspended must stay so.
    pub(in crate::guest) stays_paused: bool,
    /// A suspend that an earlier engine may have begun has not been ended yet.
    pub(in crate::guest) is_unsettled: bool,
}

/// A number of pages, for the figures.
fn few(pages: u64) -> u32 {
    pages.try_into().unwrap_or(u32::MAX)
}

/// How often to check whether a guest that should run is suspended, while no checkpoint is made.
const LOOK_AFTER: Duration = Duration::from_secs(1);

impl Capturer {
    /// Carries out orders until the loop drops its end. `pieces` are allocated for the first capture, because every
    /// page of them is touched then, and a guest that was just taken over needs the processor to connect its cards.
    pub(in crate::guest) fn run(mut self, orders: &Receiver<Order>, mut pieces: EmptyPieces) {
        loop {
            match orders.recv_timeout(LOOK_AFTER) {
                Ok(Order::Capture(order)) => self.answer(order, &mut pieces),
                Ok(Order::Resume) => self.let_run(),
                Ok(Order::Settle) => self.begin_settling(),
                Ok(Order::LeaveAlone) => self.leave_alone(),
                Err(RecvTimeoutError::Timeout) => self.look_after(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // A guest that is gone by now tracks nothing either.
        let _ = self.source.end_log_dirty();
    }

    pub(in crate::guest) fn let_run(&mut self) {
        self.stays_paused = false;
        match self.source.resume() {
            Ok(()) => self.settle(),
            Err(error) => {
                tracing::error!(%error, "The guest cannot be resumed; it is tried again each second")
            }
        }
        self.source.after_resume();
    }

    /// Until the next full sync, which begins the log anew, the guest's writes cost nothing, and other tools may save it.
    pub(in crate::guest) fn leave_alone(&mut self) {
        if let Err(error) = self.source.end_log_dirty() {
            tracing::warn!(%error, "The guest's dirty log does not end; it costs the guest something, and is tried again");
        }
    }

    pub(in crate::guest) fn begin_settling(&mut self) {
        self.is_unsettled = true;
        self.settle();
    }

    /// Ends a suspend that an earlier engine began. If the guest is paused, this has to wait: the guest would follow
    /// the request when it runs.
    fn settle(&mut self) {
        if !self.is_unsettled {
            return;
        }
        match self.source.settle() {
            Ok(is_settled) => self.is_unsettled = !is_settled,
            Err(error) => {
                tracing::warn!(%error, "Whether a dead engine had asked the guest to suspend is not known yet");
            }
        }
    }

    /// Makes sure that a guest that should run does run. Called while there are no orders.
    pub(in crate::guest) fn look_after(&mut self) {
        if !self.stays_paused
            && let Err(error) = self.source.resume().and_then(|()| self.source.look_after())
        {
            tracing::error!(%error, "Whether the guest runs is not known; it is looked after again");
        }
        self.source.after_resume();
        self.settle();
    }

    fn answer(&mut self, order: CaptureOrder, pieces: &mut EmptyPieces) {
        let mut seeding = self.begin(order, pieces);
        while let Some((waiting, span)) = seeding {
            if !span.is_zero() {
                sleep(span.min(COPY_WAIT_MAX));
            }
            seeding = self.go_on(waiting);
        }
    }

    /// Takes a checkpoint and reports it, unless it is a full sync that has to wait.
    pub(in crate::guest) fn begin(
        &mut self,
        order: CaptureOrder,
        pieces: &mut EmptyPieces,
    ) -> Option<(Seeding, Duration)> {
        let ordered = Ordered::of(&order);
        let progress = pieces.fill().and_then(|()| self.capture(order));
        self.progressed(ordered, progress)
    }

    /// Goes on with a full sync that waited.
    pub(in crate::guest) fn go_on(&mut self, seeding: Seeding) -> Option<(Seeding, Duration)> {
        let progress = self.seed_on(seeding);
        self.progressed(seeding.ordered, progress)
    }

    fn progressed(
        &mut self,
        ordered: Ordered,
        progress: Result<Progress, Failure>,
    ) -> Option<(Seeding, Duration)> {
        match progress {
            Ok(Progress::Waits(seeding, span)) => return Some((seeding, span)),
            Ok(Progress::Captured(pause, dirty_pages)) => self.ended(ordered, Ok((*pause, dirty_pages))),
            Err(failure) => self.ended(ordered, Err(failure)),
        }
        None
    }

    fn ended(&mut self, ordered: Ordered, captured: Result<(PauseTimes, u64), Failure>) {
        let Ordered { epoch, stay_paused, now } = ordered;
        // After a failure the guest is to run on.
        self.stays_paused = stay_paused && captured.is_ok();
        let is_captured = captured.is_ok();
        let report = match captured {
            Ok((pause, dirty_pages)) => Report::Captured { epoch, pause, dirty_pages },
            Err(failure) => Report::CaptureFailed {
                epoch,
                guest_gone: failure.guest_gone(),
                needs_seed: failure.needs_seed(),
                described: self.after_failure(&failure),
                end_of_recording: matches!(failure, Failure::Domain(DomainError::EndOfRecording)),
                why: failure.to_string(),
            },
        };
        self.reporter.tell(report);
        self.source.after_resume();
        if is_captured && self.scrub.look(&mut *self.source, now) {
            self.unmarked.begin_round();
        }
    }

    /// Repairs the accounts after a failure. Pages of the failed epoch may be with the encoder or the peer, so neither
    /// may rely on them. Without its dirty log the guest may have written anything. Returns the guest's new
    /// description, if that is the reason.
    fn after_failure(&mut self, failure: &Failure) -> Option<Box<Description>> {
        self.scrub.forget();
        self.ahead.give_back(self.unacked.pending_mut());
        if failure.needs_seed() {
            self.unacked.pending_mut().set_all();
        }
        let cleaned =
            self.pieces.put_back().is_ok() && self.jobs.send(Job::Abandon { stand: self.last }).is_ok();
        if !cleaned {
            tracing::error!("The encode thread has ended");
        }
        let Failure::Domain(DomainError::Outgrown(_)) = failure else { return None };
        match self.describe_anew() {
            Ok(description) => Some(Box::new(description)),
            Err(error) => {
                tracing::error!(%error, "The guest cannot be described anew; it is tried at the next capture");
                None
            }
        }
    }

    /// Describes the guest again, and sizes the accounts for its frames.
    fn describe_anew(&mut self) -> Result<Description, DomainError> {
        let description = self.source.describe()?;
        let unacked = self.unacked.resized(description.page_count)?;
        let ahead = self.ahead.resized(description.page_count)?;
        self.scrub = Scrub::new(description.page_count)?;
        (self.unacked, self.ahead) = (unacked, ahead);
        Ok(description)
    }

    fn capture(&mut self, order: CaptureOrder) -> Result<Progress, Failure> {
        if let Some(acked) = self.acked.get() {
            self.unacked.forget_through(acked);
        }
        let ordered = Ordered::of(&order);
        if !matches!(order.capture, Capture::Seed) {
            self.unmarked.mark(self.unacked.pending_mut())?;
        }
        match order.capture {
            Capture::Seed => return self.begin_seed(order),
            Capture::Delta => {
                let base = self.last.ok_or(Failure::NoBase)?;
                self.pieces.begin(Job::begin(order, EpochKind::Delta, Some(base)));
            }
            // New threads for a guest that has a copy elsewhere do not know what it wrote since that copy.
            Capture::Resync { .. } if !self.unacked.has_begun() => return Err(Failure::NoBase),
            Capture::Resync { base } => {
                self.unacked.rewind_to(base);
                if let Some(disk) = self.participants.disk() {
                    disk.go_back_to(base).map_err(CopyError::from)?;
                }
                self.last = Some(base);
                self.job(Job::Forget { after: base })?;
                self.pieces.begin(Job::begin(order, EpochKind::Delta, Some(base)));
            }
        }
        self.copy_ahead(ordered.epoch)?;
        self.pause(ordered)
    }

    fn copy_ahead(&mut self, epoch: Epoch) -> Result<(), Failure> {
        let Self { ahead, abort, source, copiers, pieces, unacked, .. } = self;
        ahead.copy(epoch, abort, (&mut **source, *copiers), pieces, unacked.pending_mut())
    }

    pub(super) fn job(&self, job: Job) -> Result<(), Failure> {
        self.jobs.send(job).map_err(|_| Failure::EncoderGone)
    }

    pub(super) fn pause(&mut self, ordered: Ordered) -> Result<Progress, Failure> {
        let Ordered { epoch, stay_paused, .. } = ordered;
        self.pieces.wait_for_room(epoch)?;
        let mut state = self.pieces.wait_for(&self.states, epoch)?;
        state.clear();
        let times = Pause {
            source: &mut *self.source,
            pending: self.unacked.pending_mut(),
            pieces: &mut self.pieces,
            state: &mut state,
            participants: &self.participants,
            copiers: self.copiers,
            wait_max: self.pause_wait_max,
        }
        .run(epoch, stay_paused);
        let times = match times {
            Ok(times) => PauseTimes { ahead_pages: few(self.ahead.count()), ..times },
            Err(failure) => {
                self.job(Job::PutBackState(state))?;
                return Err(failure);
            }
        };
        self.pieces.hand_over()?;
        let writes = match self.participants.disk().map(|disk| disk.end(epoch)).transpose() {
            Ok(writes) => writes,
            Err(overrun) => {
                self.job(Job::PutBackState(state))?;
                return Err(CopyError::from(overrun).into());
            }
        };
        self.ahead.join(times.again_pages.into(), self.unacked.pending_mut());
        let checks = self.scrub.clean(self.unacked.pending());
        self.job(Job::End { state, checks, writes })?;
        let dirty_pages = self.unacked.pending().count();
        self.unacked.staged(epoch);
        self.last = Some(epoch);
        Ok(Progress::Captured(Box::new(times), dirty_pages))
    }
}
