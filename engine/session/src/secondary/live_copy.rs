//! The states of a copy that runs here beside the image.
//!
//! ```text
//!           SetCopy(n)          CopySet: RunCopy, Live(n)         n+1 is whole: HaltCopy
//!   Off ───────────────► Setting ───────────────────────► Running ──────────────────────► Halting
//!    ▲                     ▲   │ n+1 was acked, or                │ crash                   │ CopyHalted
//!    │ no copy is wanted   │   ▼ the link was lost                ▼                         ▼
//!    └─────────────────────┴─ Halted ◄──────────────────────── Crashed     LookAgain, Ack(n+1), Commit(n+1): Halted
//!                    n+1 is committed: SetCopy(n+1)
//! ```
//!
//! **A copy of base n is the guest until n+1 is acked**: clients may have seen what it sent, and the image is older.
//! After the ack it is useless. So the copy is halted before the ack, which promises that the guest goes on from n+1;
//! and a takeover that finds n acked goes on with the copy. Its output is reported only on the link on which it was
//! set: a copy that has missed some input no longer does what the guest does.
//!
//! Not here: the steps between these states (`copy`), what a copy is, its input, and who compares its output.

use understudy_checkpoint::Epoch;

/// The state of the copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum LiveCopy {
    /// There is no copy.
    #[default]
    Off,
    /// It is being set to this epoch.
    Setting {
        base: Epoch,
        /// Whether the link was lost meanwhile, and input with it: then it is not run.
        is_cut: bool,
    },
    /// It runs.
    Running {
        base: Epoch,
        /// Whether its output is reported to the primary.
        is_told: bool,
    },
    /// It is being halted.
    Halting {
        base: Epoch,
        /// The epoch that is acked once it has halted.
        whole: Option<Epoch>,
    },
    /// It is halted.
    Halted {
        base: Epoch,
        /// Whether it has run since it was set.
        has_run: bool,
    },
    /// It has crashed.
    Crashed {
        base: Epoch,
        /// Whether any of its output was reported to the primary.
        has_forwarded: bool,
    },
}

impl LiveCopy {
    /// The epoch that the copy was, or is being, set to.
    pub(super) fn base(self) -> Option<Epoch> {
        match self {
            Self::Off => None,
            Self::Setting { base, .. }
            | Self::Running { base, .. }
            | Self::Halting { base, .. }
            | Self::Halted { base, .. }
            | Self::Crashed { base, .. } => Some(base),
        }
    }

    /// Whether an order about the copy is unanswered.
    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Setting { .. } | Self::Halting { .. })
    }

    /// Whether the copy is useless, with `complete` as the newest acked epoch, and could be set anew.
    pub(super) fn is_free(self, complete: Epoch) -> bool {
        !self.is_busy()
            && !matches!(self, Self::Running { .. })
            && self.base().is_none_or(|base| base < complete)
    }

    /// Drops the epoch that waits for the copy to halt.
    pub(super) fn forget_whole(&mut self) {
        if let Self::Halting { whole, .. } = self {
            *whole = None;
        }
    }
}
