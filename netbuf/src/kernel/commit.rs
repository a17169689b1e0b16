//! [`OutputCommit`]: what the engine asks of a guest's held output. Implemented by the queue, and by a test's mutant.

use super::KernelError;
use crate::QueueStats;
use understudy_checkpoint::Epoch;

/// What happens to output between attaching and the first cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Output passes, so that the first full sync does not stall the guest. The first cut begins to hold, without a
    /// gap.
    Passing,
    /// Output is held, because it is not known yet whether anything may leave; for example after a restart of the
    /// engine.
    Holding,
}

/// Counters, summed over a guest's interfaces. All but `held_*` count since attaching.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelStats {
    /// The queue's own counters.
    pub queue: QueueStats,
    /// Frames lost before the queue, because nobody read the tap in time.
    pub dropped_unread: u64,
    /// Released frames that the kernel refused to take back.
    pub dropped_refused: u64,
}

impl KernelStats {
    /// Frames lost for lack of room or refused. Alert if this is not zero.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped_at_limit + self.dropped_unread + self.dropped_refused
    }
}

/// A guest's output, held in the kernel. The calls mirror [`EpochQueue`](crate::EpochQueue)'s.
///
/// Each call acts on every interface even if one fails, and returns the first error. After an error of
/// [`cut`](Self::cut) the epoch's output may leave unheld, so the caller must not report the guest as protected. After
/// an error of any other call output may be held longer than necessary, never shorter.
pub trait OutputCommit: Send + Sync {
    /// Closes `epoch`, opens the next, and holds from here on. The guest is suspended.
    fn cut(&self, epoch: Epoch) -> Result<(), KernelError>;

    /// `through` is acknowledged: its output and that of earlier epochs may leave.
    fn release(&self, through: Epoch) -> Result<(), KernelError>;

    /// Everything may leave, now and from here on: the witness has recorded that the guest is unprotected.
    fn pass(&self) -> Result<(), KernelError>;

    /// What is held is thrown away and nothing leaves ever again: this generation has lost its authority.
    fn fence(&self) -> Result<(), KernelError>;

    /// Whether an interface came near a limit since the last call. A checkpoint now would empty it.
    fn take_pressure(&self) -> bool;

    /// Counters, summed over the interfaces.
    fn stats(&self) -> Result<KernelStats, KernelError>;
}
