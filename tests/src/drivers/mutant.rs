//! Deliberately wrong drivers and witnesses. Each is what a bug in a session or its driver would look like from
//! outside; a test holds that a named invariant catches each of them.

use super::judge::Invariant;

/// One way to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Output of an epoch leaves when it is captured.
    ReleaseBeforeAck,
    /// Output passes as soon as the witness has been asked to mark the copy stale.
    PassBeforeStale,
    /// A read that shows a stale record is taken for the confirmation of a swap.
    TrustRead,
    /// Output goes on passing after a seed.
    PassAtSeed,
    /// A takeover does not wait for the witness.
    TakeoverWithoutWitness,
    /// A secondary that has begun a takeover goes on acking.
    AckAfterTakeover,
    /// A commit is said to be done and is not.
    CommitSkipped,
    /// A resync carries only what is dirty now, not what the lost epochs carried.
    ResyncForgets,
    /// A resync leaves out what the first lost epoch carried.
    ResyncBaseLater,
    /// The guest goes on between the copy of its state and the cut of its output.
    CutAfterStep,
    /// A guest that its engine left behind is let out when it is found.
    AdoptedPassesAtOnce,
    /// A thread's panic ends its guest.
    PanicDestroys,
    /// A fenced guest is destroyed before its new owner runs it.
    FenceDestroys,
    /// A fenced guest goes on running.
    FencedRuns,
    /// A fenced host lets out what it still holds.
    FencedReleases,
    /// The witness answers before its disk holds the record.
    ReplyBeforeFsync,
    /// The witness compares what records say, not their revisions.
    NoRevision,
    /// A guest that was started here need not be claimed: its output passes at once.
    NoClaim,
    /// A host whose guest is to be paused, undecided, lets its output go instead.
    PassInsteadOfPause,
    /// The link is read although the secondary's buffer is full.
    NoBackpressure,
    /// After a while the witness's answers get nowhere.
    DeafToWitness,
}

impl Mutant {
    /// All of them, each with the invariants that catch it, every one of these by itself.
    pub const ALL: [(Self, &'static [Invariant]); 21] = [
        (Self::ReleaseBeforeAck, &[Invariant::OutputCommit, Invariant::Monotonicity]),
        (Self::PassBeforeStale, &[Invariant::OutputCommit]),
        (Self::TrustRead, &[Invariant::OutputCommit]),
        (Self::PassAtSeed, &[Invariant::OutputCommit, Invariant::Monotonicity]),
        (Self::TakeoverWithoutWitness, &[Invariant::OutputCommit, Invariant::Authority]),
        (Self::AckAfterTakeover, &[Invariant::Authority]),
        (Self::CommitSkipped, &[Invariant::Monotonicity]),
        (Self::ResyncForgets, &[Invariant::Atomicity]),
        (Self::ResyncBaseLater, &[Invariant::Atomicity]),
        (Self::CutAfterStep, &[Invariant::Monotonicity]),
        (Self::AdoptedPassesAtOnce, &[Invariant::OutputCommit]),
        (Self::PanicDestroys, &[Invariant::Durability]),
        (Self::FenceDestroys, &[Invariant::Durability]),
        (Self::FencedRuns, &[Invariant::Authority]),
        (Self::FencedReleases, &[Invariant::NoResurrection, Invariant::Authority]),
        (Self::ReplyBeforeFsync, &[Invariant::OutputCommit]),
        (Self::NoRevision, &[Invariant::OutputCommit]),
        (Self::NoClaim, &[Invariant::OutputCommit]),
        (Self::PassInsteadOfPause, &[Invariant::OutputCommit]),
        (Self::NoBackpressure, &[Invariant::Bounds]),
        (Self::DeafToWitness, &[Invariant::Liveness]),
    ];
}
