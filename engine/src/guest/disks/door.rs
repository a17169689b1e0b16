//! [`Door`]: where a guest's requests wait until this host may serve its disk (rule R6 of `docs/DISKS.md`).
//!
//! ```text
//!   shut ──── pass, revive, a full copy begins ────► open ──► what waited, in its order, and all that comes
//!     ▲                                               │
//!     └──────────────────── fence ────────────────────┘
//! ```
//!
//! A guest may be started before the witness has said where it runs, and runs until the witness says no. Its output is held
//! meanwhile. So is what it wants of its disk: else the disk of a guest that another host runs would be written to here. Not here:
//! who decides (`understudy_session`), and the label that says whose the disk is (`worker`).

use understudy_lab::{DiskAnswer, DiskRequest, Inlet};

/// Takes the answers to a guest's requests.
pub trait DiskAnswers: Send {
    /// Takes one.
    fn answer(&self, answer: DiskAnswer);
}

impl DiskAnswers for Inlet {
    fn answer(&self, answer: DiskAnswer) {
        Self::answer(self, answer);
    }
}

/// A request, and who takes its answer.
pub(super) type Asked = (DiskRequest, Box<dyn DiskAnswers>);

/// The door of one disk.
pub(super) enum Door {
    /// A guest bounds what it has under way.
    Shut(Vec<Asked>),
    Open,
}

impl Door {
    /// Gives a request that may be served now.
    pub(super) fn enter(&mut self, asked: Asked) -> Option<Asked> {
        match self {
            Self::Open => Some(asked),
            Self::Shut(waiting) => {
                waiting.push(asked);
                None
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Gives what has waited.
    pub(super) fn open(&mut self) -> Vec<Asked> {
        match std::mem::replace(self, Self::Open) {
            Self::Open => Vec::new(),
            Self::Shut(waiting) => waiting,
        }
    }

    pub(super) fn shut(&mut self) {
        if self.is_open() {
            *self = Self::Shut(Vec::new());
        }
    }
}
