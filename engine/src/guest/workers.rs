//! What the loop has done for it elsewhere: taking checkpoints, keeping an image. A node has threads for that; the
//! simulator does the same work in steps ([`stepped`](crate::guest::stepped)), in an order that it chooses.

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

/// Takes the checkpoints of one guest that runs here. Dropping it ends the last hold on the source.
pub trait Checkpointer: Send + Debug {
    /// Orders a checkpoint.
    fn capture(&self, order: CaptureOrder) -> Result<(), Stuck>;
    /// Gives up the capture of `epoch` if it is under way. It is answered all the same.
    fn abort(&self, epoch: Epoch);
    /// Epochs up to `through` are acked.
    fn acked(&self, through: Epoch);
    /// Lets a guest run that a capture left suspended.
    fn resume(&self) -> Result<(), Stuck>;
    /// Ends what an engine before this one may have begun.
    fn settle(&self) -> Result<(), Stuck>;
    /// Ends it and waits until the source is given back, `within_max` at most.
    fn finish(self: Box<Self>, within_max: Duration);
}

/// Keeps the image of one guest that is held here.
pub trait ReplicaThread: Send + Debug {
    /// Hands work over; gives it back if there is enough to do. The loop is woken when there is room again.
    fn offer(&self, work: Work) -> Result<(), Work>;
    /// Ends it, and waits until nothing of the guest is left on this host, `within_max` at most; whether that is so.
    fn end(self: Box<Self>, within_max: Duration) -> bool;
}

/// Makes both.
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

/// A node's: threads.
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
