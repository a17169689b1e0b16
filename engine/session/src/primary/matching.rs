//! What a primary knows about the copy of its guest, and about output that leaves because a live copy has sent the same.
//!
//! ```text
//!            protected, worth a try: CopyWanted              Live(n), n acked: MatchFrom(n)
//!   Off ──────────────────────────────────────► Asked ──────────────────────────────────────► Live
//!    ▲                                          ▲   │                                          │ │
//!    │   a rest, twice as long each time        │   └ Live is late: as without a copy          │ │ StopMatch
//!    │◄── Halted: no room ──────────────────────┤                                              │ │
//!    │                                          └─── Ack(n+1), Halted ─────────────────────────┘ │
//!    └◄── not protected any more, link lost, fenced; Auto: too little leaves by a match ─────────┘
//! ```
//!
//! Only frames of the epoch after n match a copy of base n: the effects of any later frame would be in no surviving
//! state once n+1 is acked. A divergence demands a checkpoint at once, or `gap_min` after the last one; without a
//! divergence, one is made every `period`.
//!
//! Not here: the steps that follow (`copy`), and the comparison itself.

use super::super::colo::{Colo, CopyEnd, Mode};
use super::super::{Span, Time};
use super::Capture;
use understudy_checkpoint::Epoch;

/// Why a guest in mode `Colo` or `Auto` is protected by checkpoints alone for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Too few of the frames left by a match: this share, in percent.
    FewMatches { percent: u8 },
    /// The peer cannot run a copy.
    NoCopy { why: CopyEnd },
}

/// What a primary knows about the copy of its guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyStanding {
    /// The mode is `Remus`.
    Unwanted,
    /// The secondary has no image that a copy could be set to.
    NotProtected,
    /// So little output waits for acks that a copy would not pay.
    Idle,
    /// No copy is tried for a while.
    Rests {
        why: Rest,
        /// When a copy is tried again.
        until: Time,
    },
    /// The copy is being set.
    Asked,
    /// The copy is live, and output leaves by it.
    Live {
        /// The epoch that the copy was set to.
        base: Epoch,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// No copy is asked for.
    Off,
    /// A copy is asked for; meanwhile output follows acks.
    Asked {
        /// The first epoch that the copy may be set to.
        from: Epoch,
        /// Until when the next checkpoint waits for the copy.
        wait_until: Option<Time>,
    },
    /// Frames of the epoch after `base` leave when the copy has sent the same.
    Live {
        /// As in `Asked`.
        from: Epoch,
        /// The epoch that the copy was set to.
        base: Epoch,
    },
}

/// A time without a copy, which doubles each time it is used.
#[derive(Debug)]
pub(super) struct Doubling(pub(super) Span);

/// How many frames left by a match, and how many by an ack.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) since: Time,
    pub(super) by_match: u64,
    pub(super) by_ack: u64,
    /// A copy was live all the time, apart from checkpoints.
    pub(super) is_live: bool,
}

#[derive(Debug)]
pub(super) struct Matching {
    pub(super) config: Colo,
    pub(super) stage: Stage,
    /// A checkpoint is due before the period is over.
    pub(super) demanded: bool,
    /// No copy is asked for before this.
    pub(super) try_at: Time,
    pub(super) rest: Doubling,
    /// No checkpoint waits for a copy before this.
    pub(super) wait_at: Time,
    pub(super) wait_rest: Doubling,
    pub(super) window: Window,
    /// Enough output waited for acks in the last window for a copy to pay.
    pub(super) is_busy: bool,
    /// Why no copy is asked for before `try_at`.
    pub(super) rests: Option<Rest>,
    /// The mode last sent to the peer on this link.
    pub(super) told_mode: Option<Mode>,
    /// A mode was sent on a link that is gone: it may not have arrived, and another may have been wished since.
    pub(super) tells_again: bool,
}

impl Doubling {
    pub(super) fn take(&mut self, max: Span) -> Span {
        let taken = self.0.min(max);
        self.0 = Span(taken.0.saturating_mul(2));
        taken
    }
}

impl Window {
    pub(super) fn new(now: Time, is_live: bool) -> Self {
        Self { since: now, by_match: 0, by_ack: 0, is_live }
    }

    pub(super) fn total(&self) -> u64 {
        self.by_match.saturating_add(self.by_ack)
    }

    pub(super) fn percent(&self) -> u8 {
        let percent = u128::from(self.by_match) * 100 / u128::from(self.total().max(1));
        u8::try_from(percent).unwrap_or(100)
    }
}

impl Matching {
    pub(super) fn new(config: Colo, now: Time) -> Self {
        Self {
            stage: Stage::Off,
            demanded: false,
            try_at: now,
            rest: Doubling(config.rest),
            wait_at: now,
            wait_rest: Doubling(config.rest),
            window: Window::new(now, false),
            is_busy: false,
            rests: None,
            told_mode: None,
            tells_again: false,
            config,
        }
    }

    pub(super) fn base(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Live { base, .. } => Some(base),
            Stage::Off | Stage::Asked { .. } => None,
        }
    }

    /// The most time between two checkpoints, if the copy limits it.
    pub(super) fn period(&self) -> Option<Span> {
        self.base().map(|_| self.config.period)
    }

    /// A checkpoint is being made. A full sync makes the peer forget the mode.
    pub(super) fn captured(&mut self, capture: Capture) {
        self.demanded = false;
        if capture == Capture::Seed {
            (self.told_mode, self.tells_again) = (None, false);
        }
    }

    pub(super) fn wants_copy(&self, now: Time) -> bool {
        let pays = match self.config.mode {
            Mode::Remus => false,
            Mode::Colo => true,
            Mode::Auto => self.is_busy,
        };
        pays && self.try_at <= now
    }
}
