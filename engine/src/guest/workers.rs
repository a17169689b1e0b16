//! The traits between the loop and its workers, which take checkpoints and hold images. A node uses threads; the
//! simulator does the same work in steps ([`stepped`](crate::guest::stepped)) in an order that it chooses.

use crate::guest::participant::Participants;
use crate::guest::pipeline::order::CaptureOrder;
use crate::guest::pipeline::protector::{Protector, ProtectorConfig, Stuck};
use crate::guest::receiver::handle::ReplicaHandle;
use crate::guest::receiver::work::{Held, Work};
use crate::guest::report::Reporter;
use std::fmt::Debug;
use std::io;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_checkpoint::domain::Source;
use understudy_checkpoint::epoch::Limits;

/// Takes the checkpoints of one guest that runs here. Dropping it drops the source.
pub trait Checkpointer: Send + Debug {
    /// Orders a checkpoint.
    fn capture(&self, order: CaptureOrder) -> Result<(), Stuck>;
    /// Gives up the capture of `epoch` if it is in progress. It is still answered.
    fn abort(&self, epoch: Epoch);
    /// Passes on that epochs up to `through` are acked.
    fn acked(&self, through: Epoch);
    /// Resumes a guest that a capture left suspended.
    fn resume(&self) -> Result<(), Stuck>;
    /// Ends a suspend that an earlier engine may have begun.
    fn settle(&self) -> Result<(), Stuck>;
    /// Leaves the guest alone until the next full sync.
    fn leave_alone(&self) -> Result<(), Stuck>;
    /// Ends it and waits, at most `within_max`, until the source is dropped.
    fn finish(self: Box<Self>, within_max: Duration);
}

/// Holds the image of one guest as secondary.
pub trait ReplicaThread: Send + Debug {
    /// Passes work on, or returns it if there is enough to do. The loop is woken when there is room again.
    fn offer(&self, work: Work) -> Result<(), Work>;
    /// Ends it, and waits at most `within_max` until nothing of the guest is left on this host. Returns whether that is
    /// so.
    fn end(self: Box<Self>, within_max: Duration) -> bool;
}

/// Makes workers of both kinds.
pub trait Workers: Send + Sync + Debug {
    /// For a guest of `page_count` frames that runs here.
    fn protect(
        &self,
        source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> io::Result<Box<dyn Checkpointer>>;
    /// For a guest that is held here.
    fn hold(&self, held: Held, limits: Limits, reporter: Reporter) -> io::Result<Box<dyn ReplicaThread>>;
}

/// The workers of a node: threads.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Workers for Threads {
    fn protect(
        &self,
        source: Box<dyn Source>,
        page_count: u64,
        config: ProtectorConfig,
        participants: Participants,
        reporter: &Reporter,
    ) -> io::Result<Box<dyn Checkpointer>> {
        Ok(Box::new(Protector::start(source, page_count, config, participants, reporter)?))
    }

    fn hold(&self, held: Held, limits: Limits, reporter: Reporter) -> io::Result<Box<dyn ReplicaThread>> {
        Ok(Box::new(ReplicaHandle::start(held, limits, reporter)?))
    }
}

impl Checkpointer for Protector {
    fn capture(&self, order: CaptureOrder) -> Result<(), Stuck> {
        Self::capture(self, order)
    }
    fn abort(&self, epoch: Epoch) {
        Self::abort(self, epoch);
    }
    fn acked(&self, through: Epoch) {
        Self::acked(self, through);
    }
    fn resume(&self) -> Result<(), Stuck> {
        Self::resume(self)
    }
    fn settle(&self) -> Result<(), Stuck> {
        Self::settle(self)
    }
    fn leave_alone(&self) -> Result<(), Stuck> {
        Self::leave_alone(self)
    }
    fn finish(self: Box<Self>, within_max: Duration) {
        Self::finish(*self, within_max);
    }
}

impl ReplicaThread for ReplicaHandle {
    fn offer(&self, work: Work) -> Result<(), Work> {
        Self::offer(self, work)
    }
    fn end(self: Box<Self>, within_max: Duration) -> bool {
        Self::end(*self, within_max)
    }
}
