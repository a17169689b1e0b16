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
//! What becomes of a copy that runs here beside the image is in `live_copy`.

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
    /// A heartbeat is sent when nothing else was for this long.
    pub heartbeat: Span,
    /// The primary is lost when nothing was heard from it for this long.
    pub silence_max: Span,
    /// After the link ended, how long to wait for it to come back before taking over.
    pub takeover_grace: Span,
    /// An unanswered witness request is repeated after this long.
    pub witness_retry: Span,
    /// How long the link may come and go without a whole epoch before a lone secondary looks at the record although
    /// a primary speaks. Longer than the primary takes to give the copy up.
    pub flap_max: Span,
    /// Whether there is a witness. Without one only an operator starts a takeover (`docs/DESIGN.md#a7`).
    pub has_witness: bool,
    /// Whether a copy can run here.
    pub runs_copies: bool,
    /// What becomes of a takeover when the copy has crashed.
    pub after_crash: AfterCrash,
}

/// What the driver tells a secondary.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link to the primary is up.
    LinkUp,
    /// The link to the primary ended, or the driver closed it.
    LinkDown,
    /// A message from the primary. Any message counts as a sign of life; so do page frames
    /// ([`SignOfLife`](Self::SignOfLife)).
    Message(ToSecondary),
    /// Page frames arrived (the driver says so at least every few milliseconds while they do).
    SignOfLife,
    /// The epoch begun last is whole (said before the next `EpochBegin` is handed over): decoded, verified, held in the buffer (or, for a seed, in the image).
    Complete {
        /// As in `EpochBegin`.
        generation: Generation,
        /// As in `EpochBegin`.
        epoch: Epoch,
    },
    /// The epoch begun last cannot be used. Nothing of it remains; for a seed, the image is gone.
    Broken {
        /// As in `EpochBegin`.
        generation: Generation,
        /// As in `EpochBegin`.
        epoch: Epoch,
        /// Damaged or too large.
        why: super::Decline,
    },
    /// `Commit` is done: the image is exactly this epoch.
    Committed {
        /// The epoch.
        epoch: Epoch,
    },
    /// `Commit` failed: the image is lost.
    CommitFailed {
        /// The epoch.
        epoch: Epoch,
    },
    /// `SetCopy` is done: the copy is exactly this epoch, and stands still.
    CopySet {
        /// The epoch.
        epoch: Epoch,
        /// All that the guest has heard since is here. Without, it does not run before it is set to a later one.
        hears_all: bool,
    },
    /// `SetCopy` failed: there is no copy.
    CopySetFailed {
        /// The epoch.
        epoch: Epoch,
    },
    /// `HaltCopy` is done: nothing of the copy changes any more, and nothing that it sends is told.
    CopyHalted,
    /// The copy has ended, and not by this session's word.
    CopyCrashed {
        /// Something that it sent since it was set was told to the primary.
        has_forwarded: bool,
    },
    /// `Activate` came to nothing for now: the image is whole, and nothing has run.
    ActivationDelayed,
    /// `Activate` came to nothing: the guest does not run here.
    ActivationFailed,
    /// The connection to the witness is up.
    WitnessUp,
    /// The connection to the witness ended.
    WitnessDown,
    /// The witness's answer.
    Witness(WitnessReply),
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
    /// Take in the epoch whose `EpochBegin` was just handled; answered by `Complete` or `Broken`. Frames of an
    /// epoch for which this was not said are skipped by the driver.
    Receive {
        /// Of the `EpochBegin`.
        generation: Generation,
        /// Of the `EpochBegin`.
        epoch: Epoch,
        /// Seed: apply as it arrives. Delta: buffer.
        kind: EpochKind,
    },
    /// Make this complete (acked) epoch the image. Said once for each delta, right after its ack; never for a
    /// seed, which is in the image when it is complete. Acks do not wait for commits, so it is the driver that
    /// bounds its buffer: while that is full it does not read the link. Answered by `Committed` or `CommitFailed`. Commits are in order.
    Commit {
        /// The epoch.
        epoch: Epoch,
    },
    /// Drop the epoch that is being received, even if it just became whole. Epochs for which `Commit` was said
    /// stay.
    DropIncomplete,
    /// Drop the image and everything buffered: it may never be activated.
    DropImage,
    /// Make the copy exactly this epoch, which is committed: pages that differ, state, input from its cut on. It stands
    /// still before and after. The image does not change meanwhile: later commits wait.
    SetCopy {
        /// The epoch.
        epoch: Epoch,
    },
    /// Let the copy run, give it its input, and tell the primary all that it sends, which goes nowhere else.
    RunCopy {
        /// Generation of the epoch.
        generation: Generation,
        /// The epoch that the copy was set to.
        base: Epoch,
    },
    /// Stop the copy where it stands, whatever it is doing: nothing that it sends is told any more. It is kept as it is.
    HaltCopy,
    /// Tell the primary nothing more of what the copy sends, and give the copy no input: some was lost, or will be. The copy runs
    /// on, and what it sends is kept.
    CutCopy,
    /// Forget the copy.
    DropCopy,
    /// The takeover is decided and the image stands at `epoch`: start the guest from it, announce it, make this
    /// host its primary in `record.generation` (a new primary session with `Origin::TookOver`). Said again some time
    /// after `ActivationDelayed`.
    Activate {
        /// The record that this host's swap wrote; its copy is stale.
        record: Record,
        /// The committed epoch that the guest continues from.
        epoch: Epoch,
        /// What becomes the guest.
        start: Start,
    },
    /// Close the link to the primary: it does not answer any more.
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
    /// The copy as it is, running or halted: clients have seen what it sent. What it sent and the primary has not released
    /// leaves first.
    LiveCopy,
}

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state has changed to this one.
    State(State),
    /// The primary was lost for this reason: the moment of detection.
    PrimaryLost {
        /// What was seen.
        why: super::primary::Loss,
    },
    /// The takeover was decided for this host, which could not start the guest.
    ActivationFailed {
        /// The generation that this host owns.
        generation: Generation,
    },
    /// There is no copy any more.
    CopyEnded {
        /// The epoch that it was, or should have been, set to.
        base: Epoch,
        /// Why.
        why: CopyEnd,
    },
    /// The witness would let this host take over, and clients may have seen what a copy sent that has crashed: a person decides.
    TakeoverWithheld {
        /// The epoch that the guest would be started from.
        base: Epoch,
    },
    /// The takeover was lost at the witness: this is its record.
    TakeoverRefused {
        /// The record as it is.
        record: Option<Record>,
    },
}

/// A session's state as `status` and metrics show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No image.
    Empty,
    /// A seed is arriving.
    Seeding,
    /// A complete image; a primary is there.
    Standing,
    /// A complete image of an earlier generation than the primary's, which has not sent a full sync yet.
    Outdated,
    /// A complete image; no primary has spoken since the link was lost, the grace runs or the witness is away.
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
