//! The primary's session: when to capture, what may leave, who is in charge.
//!
//! It owns no data. It tells the driver what to do ([`Output`]) and is told what happened ([`Input`]).
//!
//! ```text
//!   Claiming, Asking ─► Unprotected ◄─ stale is final ─ MarkingStale ◄─ no use ─┐
//!                            │ link up, Offer/Stand          ▲                   │
//!                            ▼                               │ grace over        │
//!                         Seeding ─ acked ─► Arming ─► Protected ◄─► LinkLost ───┤
//!                                                       │    ▲                   │
//!                                                       ▼    └─► Late ───────────┘
//!                                                 SwitchingOver
//!
//!   any of them ── the witness says g+1, or another host speaks as primary ──► Held: paused and kept
//!   Held ── the newer generation's guest runs, or a person says so ──► Ended
//!        └─ a person gives it to this host again ──► Reclaiming ──► Unprotected, in a newer generation
//! ```

mod authority;
mod checkpoints;
mod claim;
mod copy;
mod events;
mod flow;
mod inputs;
mod last_words;
mod machine;
mod matching;
mod pacer;
mod peer;
mod phase;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;

pub use events::{End, Event, GiveUp, Loss, Refusal, State};
pub use machine::Primary;
pub use matching::{CopyStanding, Rest};
pub use pacer::{BARE_MANY, Budgets, PacedBy, Pacing, Waiting};

use super::colo::{Colo, Divergence, Mode};
use super::{Span, ToPrimary, ToSecondary, WitnessReply, WitnessRequest};
use understudy_checkpoint::{Epoch, Generation};

/// Times and bounds of a primary session.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host.
    pub node: super::NodeName,
    /// The host that holds the copy.
    pub peer: super::NodeName,
    /// What decides when a checkpoint begins.
    pub pacing: Pacing,
    /// The most epochs that may be captured and not acked. At the limit the next checkpoint waits for an ack: epochs
    /// get longer, output waits longer, nothing is dropped (policy *stretch*).
    pub in_flight_max: u32,
    /// A heartbeat is sent when nothing else has been for this long.
    pub heartbeat: Span,
    /// The peer counts as lost after a silence this long.
    pub silence_max: Span,
    /// After the link ended, how long to wait for it to come back before marking the copy stale. Shorter than the
    /// secondary's: when the link between two healthy hosts is cut, the one that runs the guest wins.
    pub link_grace: Span,
    /// With neither secondary nor witness, output is held this long before the guest is paused (`docs/DESIGN.md#a5`).
    pub hold_max: Span,
    /// An unanswered witness request is repeated after this long.
    pub witness_retry: Span,
    /// A guest whose last ack or oldest unacked epoch is older than this is not called protected, and `slow_policy`
    /// acts. (Twice the interval, if that is longer.) After a failed full sync, or after the policy acted, the next
    /// full sync waits as long.
    pub slow_max: Span,
    /// What to do when the secondary or the link is too slow.
    pub slow_policy: SlowPolicy,
    /// Whether there is a witness. Without one nothing is decided automatically (`docs/DESIGN.md#a7`).
    pub has_witness: bool,
    /// Whether output may leave before its ack, and when.
    pub colo: Colo,
}

/// What happens when epochs wait too long for their acks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlowPolicy {
    /// Let epochs stretch and output wait, for `hold_max` at most.
    Stretch,
    /// Mark the copy stale and go on unprotected; protect again afterwards from a full sync.
    Unprotect,
}

/// How a session comes into being.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A guest started here. The session claims it at the witness (no record, or a stale one of this host's own)
    /// before any output may leave.
    Started,
    /// The guest ran here in `generation` before this session, and its engine is gone. This host has run all that has
    /// left since. So while the record is still of that generation, even with a fresh copy, the session goes on with
    /// the guest: it marks the copy stale, unless the holder has taken over first.
    Adopted {
        /// The generation in which the guest ran last.
        generation: Generation,
        /// Whether the guest is paused, or suspended in the midst of a capture.
        is_halted: bool,
    },
    /// A takeover made this host the owner. No copy is made before [`Input::GuestSettled`].
    TookOver {
        /// The witness's record as the takeover's swap left it, its copy stale.
        record: super::Record,
        /// The first unused epoch.
        next_epoch: Epoch,
    },
    /// A takeover made this host the owner of `generation`, but before the guest ran here, another host spoke as
    /// primary of a later one: a person had given it the guest. The session claims the guest anew before any output may
    /// leave.
    Outdated {
        /// The generation of the takeover.
        generation: Generation,
        /// The first unused epoch.
        next_epoch: Epoch,
    },
}

/// What the driver tells a primary.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link to the peer is up: both hellos were exchanged.
    LinkUp,
    /// The link to the peer ended, or the driver closed it.
    LinkDown,
    /// A message from the secondary. Any message counts as a sign of life.
    Message(ToPrimary),
    /// The connection to the witness is up: open requests are repeated.
    WitnessUp,
    /// The connection to the witness ended.
    WitnessDown,
    /// The witness's answer.
    Witness(WitnessReply),
    /// A capture's pause is over: everything is staged, output is cut at `epoch`, and the guest runs (or stays
    /// paused if that was asked).
    Captured {
        epoch: Epoch,
        /// How long the guest stood still.
        pause: Span,
    },
    /// A captured epoch is encoded and handed to the link as a whole.
    Encoded {
        epoch: Epoch,
        /// The processor time that its capture and encoding took.
        busy: Span,
        /// Its bytes on the link, everything included.
        link_bytes: u64,
    },
    /// A capture failed. The guest runs unless it is gone; its pages stay dirty in the driver's records.
    CaptureFailed {
        /// The epoch that was not captured. Its number is not used again.
        epoch: Epoch,
        /// Whether the guest itself is gone (shut down, crashed): protection ends.
        guest_gone: bool,
        /// Whether later captures cannot build on earlier ones, because the dirty log was lost: a full sync is needed.
        needs_seed: bool,
    },
    /// The capture thread has failed, so nothing can be captured. An outstanding capture is not answered.
    CaptureBroke,
    /// After `CaptureBroke`: captures can be made again, beginning with a full sync.
    CaptureMended,
    /// The guest ended by itself, as seen outside of a capture: protection ends with it.
    GuestGone,
    /// A guest that was taken over here uses its devices again. Until then a full sync would take processor and memory
    /// from it while its clients wait.
    GuestSettled,
    /// Frames of the open epoch are held. Told at the first answer, at the first bare frame, and at
    /// [`tell_at`](Primary::tell_at).
    OutputWaits(Waiting),
    /// Held output nears its limit: a checkpoint now would let it out.
    OutputPressure,
    /// Frames did not match the copy of `base`: they need a checkpoint.
    Diverged {
        /// As in [`Output::MatchFrom`].
        base: Epoch,
        why: Divergence,
    },
    /// How many frames have left since the last report.
    FramesLeft {
        /// Left because the copy had sent the same.
        by_match: u64,
        /// Left because their epoch was acked.
        by_ack: u64,
    },
    /// Some output of the guest can be neither held nor dropped. Repeated while that is so.
    OutputLeaks,
    /// The peer itself spoke as this guest's primary: a `ToSecondary` came to a primary. After a takeover both ends are
    /// primaries until the older generation learns of the newer.
    Rival {
        /// The generation it claims.
        generation: Generation,
    },
    /// The operator's request.
    Operator(Wish),
    /// The operator's pacing, in place of what the session began with.
    Pacing(Pacing),
    /// The operator's mode, in place of what the session began with.
    Mode(Mode),
}

/// What an operator may request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Protect the guest (as a session does from its beginning).
    Protect,
    /// Go on unprotected, after marking the copy stale.
    Unprotect,
    /// Move the guest to the peer without losing anything.
    Switchover,
    /// Run the guest that is held here, in a newer generation: a person has seen that no other host has it.
    Reclaim,
    /// End the guest that is held here: a person has seen that another host has it, or that nobody needs it.
    Discard,
}

/// What a capture copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capture {
    /// All pages, most of them copied while the guest runs; begins the dirty log.
    Seed,
    /// Pages dirtied since the previous capture.
    Delta,
    /// Pages dirtied since `base` was captured: those of the unacked epochs after it and those since. Everything sent
    /// after `base` may be lost, so the encoder forgets its shadow.
    Resync {
        /// The newest epoch that the peer has.
        base: Epoch,
    },
}

/// What a primary tells the driver to do, in this order: see [what a driver does](crate#what-a-driver-does).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this to the secondary, in order with everything else.
    Send(ToSecondary),
    /// Ask the witness.
    AskWitness(WitnessRequest),
    /// Suspend, drain, copy, capture state, cut output, resume; then send: `EpochBegin` first (the driver builds
    /// it from these), pages and records, and the end. Answered by `Captured` or `CaptureFailed`, once.
    /// At most one capture is outstanding.
    Capture {
        /// The generation in which it is sent.
        generation: Generation,
        /// The epoch that this capture ends.
        epoch: Epoch,
        capture: Capture,
        /// Whether to leave the guest suspended (switchover).
        stay_paused: bool,
    },
    /// Give up the outstanding capture as soon as possible (a full sync may take long); it is still answered.
    AbortCapture,
    /// `through` is acked: let its output out, and forget what only a resync from an earlier epoch would need.
    Release {
        /// The newest acked epoch.
        through: Epoch,
    },
    /// Send the guest's input to the secondary, beginning at the cut of this epoch, which is not captured yet; `None`:
    /// send it no more.
    MirrorInput { from: Option<Epoch> },
    /// The copy runs from `base`. Until `StopMatch`, a frame of the epoch after `base` may leave before its ack, once
    /// the copy has sent the same from this base in this generation, and has received every byte that the frame
    /// acknowledges.
    MatchFrom {
        /// The newest acked epoch.
        base: Epoch,
    },
    /// Nothing leaves by a match from here on.
    StopMatch,
    /// Let all output out from here on: unprotected.
    PassOutput,
    /// Pause the guest's vCPUs where they stand (`docs/DESIGN.md#a5`), until `ResumeGuest`.
    PauseGuest,
    /// Let the guest run again after `PauseGuest` or a `Capture` with `stay_paused`.
    ResumeGuest,
    /// Drop held output and let nothing out any more. The guest is kept.
    Fence {
        /// The generation that is in charge, or claims to be.
        generation: Generation,
        /// The outcome of a switchover that a person ordered.
        is_wished: bool,
    },
    /// After `Fence`, on a person's order: hold output again, as of a new guest. Nothing from before leaves.
    Revive,
    /// End the guest and drop the session. If the peer offers the guest, this host holds its copy.
    Destroy { why: End },
    /// Close the link to the peer, which does not answer any more. (`LinkDown` follows from the driver.)
    CloseLink,
    /// Something worth logging and counting.
    Report(Event),
}
