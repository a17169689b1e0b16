//! What a session may ask of a guest's held output: of the queue, and of a test's mutant in its place.

use super::KernelError;
use crate::QueueStats;
use understudy_checkpoint::Epoch;

/// What becomes of output between attaching and the first cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// It passes: the first full sync does not stall the guest. The first cut begins to hold, without a gap.
    Passing,
    /// It is held: whether anything may leave is not known yet, as after a restart of the engine.
    Holding,
}

/// Counters of all interfaces of a guest; all since attaching but `held_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelStats {
    /// What the queue counts.
    pub queue: QueueStats,
    /// Frames lost on the way into the queue, because nobody read them in time.
    pub dropped_unread: u64,
    /// Released frames that the kernel did not take back.
    pub dropped_refused: u64,
}

impl KernelStats {
    /// Frames lost by lack of room or by refusal. Not zero: alert.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped_at_limit + self.dropped_unread + self.dropped_refused
    }
}

/// A guest's output, held in the kernel. Calls mirror [`EpochQueue`](crate::EpochQueue)'s.
///
/// Each call is done for every interface, also if one of them fails: the first error is returned. After an
/// error of [`cut`](Self::cut) the epoch's output may pass unheld, so the caller must not go on as protected.
/// After an error of any other call output is held longer than it had to be, never shorter.
pub trait OutputCommit: Send + Sync {
    /// Closes `epoch`, opens the next, and holds from here on. The guest is suspended.
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError>;

    /// `through` is acknowledged: its output and that of earlier epochs may leave.
    fn release(&self, through: Epoch) -> Result<(), KernelError>;

    /// Everything may leave, now and from here on: the witness has recorded that the guest is unprotected.
    fn pass(&self) -> Result<(), KernelError>;

    /// What is held is thrown away and nothing leaves ever again: this generation has lost its authority.
    fn fence(&self) -> Result<(), KernelError>;

    /// Whether an interface came near a limit since this was asked last: a checkpoint now would empty it.
    fn take_pressure(&self) -> bool;

    /// Counters, summed over the interfaces.
    fn stats(&self) -> Result<KernelStats, KernelError>;
}
