//! The secondary's session: what to ack, when to take over.
//!
//! ```text
//!           EpochBegin(seed)          complete              link down, silence
//!   Empty ─────────────────► Seeding ──────────► Standing ◄───────────────────► Alone
//!     ▲                         │                   │           primary speaks    │ grace over,
//!     │◄── broken, link down ───┘                   │ switchover, operator        │ witness says fresh
//!     │                                             ▼                             ▼
//!     │◄────────── swap lost, commit failed ──── TakingOver ◄─────────────────────┘
//!     │                                             │ all commits done, swap won
//!     │◄── image lost, farewell,                    ▼
//!          a newer generation's seed            Activating ─► (a primary session goes on)
//!                                                   │ └─ delayed: again, `ACTIVATION_MAX` at most
//!                                                   └─► ActivationFailed: a person decides
//! ```
//!
//! A copy that runs here beside the image is in `live_copy`.

mod copy;
mod epochs;
mod live_copy;
mod machine;
mod phase;
mod takeover;

pub use machine::Secondary;

use super::colo::AfterCrash;
use super::{
    CopyEnd, EpochKind, NodeName, Record, Span, ToPrimary, ToSecondary, WitnessReply, WitnessRequest,
};
use understudy_checkpoint::{Epoch, Generation};

/// Times of a secondary session.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host.
    pub node: NodeName,
    /// A heartbeat is sent when nothing else has been for this long.
    pub heartbeat: Span,
    /// The primary counts as lost after a silence this long.
    pub silence_max: Span,
    /// After the link ended, how long to wait for it to come back before taking over.
    pub takeover_grace: Span,
    /// An unanswered witness request is repeated after this long.
    pub witness_retry: Span,
    /// How long the link may come and go without a complete epoch before the secondary reads the record although a
    /// primary speaks. Longer than the primary takes to give the copy up.
    pub flap_max: Span,
    /// Whether there is a witness. Without one only an operator starts a takeover (`docs/DESIGN.md#a7`).
    pub has_witness: bool,
    /// Whether a copy can run here.
    pub runs_copies: bool,
    /// What a takeover does when the copy has crashed.
    pub after_crash: AfterCrash,
}

/// What the driver tells a secondary.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link to the primary is up.
    LinkUp,
    /// The link to the primary ended, or the driver closed it.
    LinkDown,
    /// After the link has ended: there is evidence that the primary's process is gone, not only that it cannot be
    /// reached. It takes no waiting then.
    PrimaryGone,
    /// There is no link, and the primary's process answers on another network: the link may come back over that one. Told for each
    /// such sign of life.
    PrimaryAlive,
    /// A message from the primary. Any message counts as a sign of life; so do page frames
    /// ([`SignOfLife`](Self::SignOfLife)).
    Message(ToSecondary),
    /// Page frames arrived (told at least every few milliseconds while they do).
    SignOfLife,
    /// The epoch begun last is complete: decoded, verified, and held in the buffer (or, for a full sync, in the image).
    /// Told before the next `EpochBegin` is handed over.
    Complete { generation: Generation, epoch: Epoch },
    /// The epoch begun last cannot be used. Nothing of it remains; for a full sync, the image is gone.
    Broken { generation: Generation, epoch: Epoch, why: super::Decline },
    /// `Commit` is done: the image is exactly this epoch.
    Committed { epoch: Epoch },
    /// `Commit` failed: the image is lost.
    CommitFailed { epoch: Epoch },
    /// `SetCopy` is done: the copy is exactly this epoch, and is halted.
    CopySet {
        epoch: Epoch,
        /// Whether all input of the guest since then is here. If not, the copy does not run until it is set to a later
        /// epoch.
        hears_all: bool,
    },
    /// `SetCopy` failed: there is no copy.
    CopySetFailed { epoch: Epoch },
    /// `HaltCopy` is done: the copy does not change any more, and no output of it is reported.
    CopyHalted,
    /// The copy has ended without an order.
    CopyCrashed {
        /// Whether any output since it was set was reported to the primary.
        has_forwarded: bool,
    },
    /// `Activate` failed for now: the image is whole, and nothing has run.
    ActivationDelayed,
    /// `Activate` failed for good: the guest does not run here.
    ActivationFailed,
    /// The connection to the witness is up.
    WitnessUp,
    /// The connection to the witness ended.
    WitnessDown,
    /// The witness's answer.
    Witness(WitnessReply),
    /// The primary's host is fenced: nothing that it ran runs any more.
    Fenced,
    /// The operator decides, without a witness, that the primary is dead (the risks were printed).
    ForceTakeover,
}

/// What a secondary tells the driver to do, in this order: see [what a driver does](crate#what-a-driver-does).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to the primary.
    Send(ToPrimary),
    /// Ask the witness.
    AskWitness(WitnessRequest),
    /// Receive the epoch whose `EpochBegin` was just handled; answered by `Complete` or `Broken`. The driver skips the
    /// frames of an epoch without this order.
    Receive {
        generation: Generation,
        epoch: Epoch,
        /// A full sync is applied as it arrives, a delta is buffered.
        kind: EpochKind,
    },
    /// The epoch received last was complete, and then waited for the copy to halt: look whether the image could still be
    /// activated. Answered like `Receive`, by `Complete` or `Broken`, before the next `EpochBegin` is handed over.
    LookAgain { generation: Generation, epoch: Epoch },
    /// Make this complete (acked) epoch the image. Ordered once for each delta, right after its ack; never for a full
    /// sync, which is in the image when it is complete. Acks do not wait for commits, so it is the driver that bounds
    /// its buffer: while that is full it does not read the link. Answered by `Committed` or `CommitFailed`. Commits are
    /// in order.
    Commit { epoch: Epoch },
    /// Drop the epoch that is being received, even if it has just become complete. Epochs whose `Commit` was ordered
    /// stay.
    DropIncomplete,
    /// Drop the image and everything buffered: it may never be activated.
    DropImage,
    /// Set the copy to exactly this epoch, which is committed: pages that differ, state, and input from its cut on. The
    /// copy is halted before and after. The image does not change meanwhile: later commits wait.
    SetCopy { epoch: Epoch },
    /// Let the copy run, give it its input, and report all its output to the primary. The output goes nowhere else.
    RunCopy {
        /// The generation of `base`.
        generation: Generation,
        base: Epoch,
    },
    /// Stop the copy at once, whatever it is doing: no more of its output is reported. The copy is kept as it is.
    HaltCopy,
    /// Report no more of the copy's output, and give the copy no more input: some was lost, or will be. The copy runs
    /// on, and its output is kept.
    CutCopy,
    /// Forget the copy.
    DropCopy,
    /// The takeover is decided and the image stands at `epoch`: start the guest from it, announce it, make this host
    /// its primary in `record.generation` (a new primary session with `Origin::TookOver`). Ordered again some time
    /// after `ActivationDelayed`.
    Activate {
        /// The record that this host's swap wrote; its copy is stale.
        record: Record,
        /// The committed epoch that the guest continues from.
        epoch: Epoch,
        /// What becomes the guest.
        start: Start,
    },
    /// Close the link to the primary, which does not answer any more.
    CloseLink,
    /// Something worth logging and counting.
    Report(Event),
}

/// What becomes the guest at a takeover.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Start {
    /// The image.
    Image,
    /// The copy, which is exactly the image and has not run since.
    SetCopy,
    /// The copy as it is, running or halted: clients have seen its output. What it sent and the primary has not
    /// released leaves first.
    LiveCopy,
}

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state has changed to this one.
    State(State),
    /// The primary was lost, for this reason. This is the moment of detection.
    PrimaryLost { why: super::primary::Loss },
    /// The process of the primary is gone: the witness is asked without waiting any longer.
    PrimaryGone,
    /// The takeover was decided for this host, which could not start the guest.
    ActivationFailed { generation: Generation },
    /// The copy is gone.
    CopyEnded {
        /// The epoch that the copy was, or should have been, set to.
        base: Epoch,
        why: CopyEnd,
    },
    /// The witness would let this host take over, but clients may have seen output of a copy that has crashed: a person
    /// decides.
    TakeoverWithheld {
        /// The epoch that the guest would be started from.
        base: Epoch,
    },
    /// The takeover was lost at the witness.
    TakeoverRefused { record: Option<Record> },
}

/// A session's state as `status` and metrics show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No image.
    Empty,
    /// A full sync is arriving.
    Seeding,
    /// A complete image, and a primary is there.
    Standing,
    /// A complete image of an earlier generation than the primary's, which has not sent a full sync yet.
    Outdated,
    /// A complete image. No primary has spoken since the link was lost; the grace runs, or the witness is away.
    Alone,
    /// Finishing commits, then asking the witness; no more acks in this generation.
    TakingOver,
    /// The takeover is decided and the driver was told to activate; this session is over.
    Activating,
    /// The takeover is decided, and the guest could not be started. The old host may still have it.
    ActivationFailed,
}

#[cfg(test)]
mod tests;
