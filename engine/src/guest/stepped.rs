//! The work of a guest's threads without threads: each step is done when the caller asks for it, on the caller's
//! thread. The simulator uses it to choose the order of steps. The code of a step is the same as in the threads.
//!
//! ```text
//!   SteppedCapture   capture() ─jobs─► encode() ─parts─► Outlet
//!   SteppedReplica   take(work) ─► Receiver<Box<dyn Replica>>
//! ```
//!
//! Nothing here waits. The guest must be so small that one piece of staging holds a quarter of it, and that its first
//! copy needs no live pass; the threads' own tests cover larger ones.

use crate::guest::participant::Participants;
use crate::guest::pipeline::capture::seed::Seeding;
use crate::guest::pipeline::capture::{Acked, Capturer};
use crate::guest::pipeline::encode::{EncodeThread, Open};
use crate::guest::pipeline::job::Job;
use crate::guest::pipeline::order::CaptureOrder;
use crate::guest::pipeline::pool::{Abort, EmptyPieces};
use crate::guest::pipeline::protector::{Parts, ProtectorConfig};
use crate::guest::receiver::receive::ReceiveThread;
use crate::guest::receiver::work::{Held, Work};
use crate::guest::replica::Replica;
use crate::guest::report::Reporter;
use crossbeam::channel::Receiver as Inbox;
use std::fmt;
use std::io;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::{DomainError, Source};
use understudy_checkpoint::epoch::{Limits, Receiver};

/// The work of a capture thread and an encode thread.
pub struct SteppedCapture {
    capturer: Capturer,
    pieces: EmptyPieces,
    /// `None` once the encode thread has died.
    encoder: Option<(EncodeThread, Inbox<Job>, Option<Open>)>,
    abort: Abort,
    acked: Acked,
    /// A full sync that waits.
    seeding: Option<Seeding>,
}

impl fmt::Debug for SteppedCapture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SteppedCapture")
    }
}

impl SteppedCapture {
    /// Like [`Protector::start`](super::Protector::start).
    pub fn new(
        source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> io::Result<Self> {
        let parts = Parts::make(source, page_count, config, participants, reporter)?;
        let Parts { capturer, encoder, jobs, pieces, abort, acked } = parts;
        let encoder = Some((encoder, jobs, None));
        Ok(Self { capturer, pieces, encoder, abort, acked, seeding: None })
    }

    /// Takes a checkpoint and reports it. Encodes first what is left of the last one. A full sync that has to wait says how
    /// long, and is to [`go_on`](Self::go_on) then.
    pub fn capture(&mut self, order: CaptureOrder) -> Option<Duration> {
        self.encode();
        let waits = self.capturer.begin(order, &mut self.pieces);
        self.keep(waits)
    }

    /// Whether a full sync waits.
    pub fn is_waiting(&self) -> bool {
        self.seeding.is_some()
    }

    /// Goes on with a full sync that waited, if there is one.
    pub fn go_on(&mut self) -> Option<Duration> {
        self.encode();
        let seeding = self.seeding.take()?;
        let waits = self.capturer.go_on(seeding);
        self.keep(waits)
    }

    fn keep(&mut self, waits: Option<(Seeding, Duration)>) -> Option<Duration> {
        let (seeding, span) = waits.unzip();
        self.seeding = seeding;
        span
    }

    /// Encodes what was captured.
    pub fn encode(&mut self) {
        let Some((encoder, jobs, open)) = &mut self.encoder else { return };
        while let Ok(job) = jobs.try_recv() {
            *open = encoder.step(job, open.take());
        }
    }

    /// Makes the encode thread die.
    pub fn lose_encoder(&mut self) {
        self.encoder = None;
    }

    /// Gives up the capture of `epoch`.
    pub fn abort(&self, epoch: Epoch) {
        self.abort.give_up(epoch);
    }

    /// Passes on that epochs up to `through` are acked.
    pub fn acked(&self, through: Epoch) {
        self.acked.set(through);
    }

    /// Resumes a guest that a capture left suspended.
    pub fn resume(&mut self) {
        self.capturer.let_run();
    }

    /// Ends a suspend that an earlier engine may have begun.
    pub fn settle(&mut self) {
        self.capturer.begin_settling();
    }

    /// Leaves the guest alone until the next full sync.
    pub fn leave_alone(&mut self) {
        self.capturer.leave_alone();
    }

    /// What the thread does now and then while it has no order.
    pub fn look_after(&mut self) {
        self.capturer.look_after();
    }

    /// Ends the thread: the source is dropped.
    pub fn finish(mut self) -> Result<(), DomainError> {
        self.capturer.source.end_log_dirty()
    }
}

/// The work of a receive thread.
pub struct SteppedReplica(Box<ReceiveThread>);

impl fmt::Debug for SteppedReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SteppedReplica")
    }
}

impl SteppedReplica {
    /// Like [`ReplicaHandle::start`](super::ReplicaHandle::start), but without regard to the host's memory, so that the
    /// result depends on the orders alone.
    pub fn new(held: Held, limits: Limits, reporter: Reporter) -> Self {
        let mut thread = ReceiveThread::new(held, limits, reporter);
        thread.available_bytes = || None;
        Self(Box::new(thread))
    }

    /// Does one piece of work and reports the result; `None` once the guest was to be started, which ends the thread.
    #[must_use]
    pub fn take(mut self, work: Work) -> Option<Self> {
        if let Work::Activate { .. } | Work::ActivateCopy { .. } = work {
            return self.0.take(work).map(Box::new).map(Self);
        }
        self.0.step(work);
        Some(self)
    }

    /// Whether a copy is being set, which takes steps of its own.
    pub fn is_setting(&self) -> bool {
        self.0.is_setting()
    }

    /// Sets some more of the copy, and reports once it is set.
    pub fn set_on(&mut self) {
        self.0.set_on();
    }

    /// The receiver, for tests that damage it.
    pub fn receiver_mut(&mut self) -> &mut Receiver<Box<dyn Replica>> {
        &mut self.0.receiver
    }

    /// What is held.
    pub fn receiver(&self) -> &Receiver<Box<dyn Replica>> {
        &self.0.receiver
    }
}
