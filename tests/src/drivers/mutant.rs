//! Mutants: deliberately wrong drivers and witnesses. Each shows from outside what a bug in a session or its driver
//! would look like. A test checks that a named invariant catches each of them.

use super::fate::Fate;
use super::faults::{Aimed, Fault, Moment};
use super::invariant::Invariant;
use super::network::{LINK, witness_channel};
use super::rng::Rng;
use super::settings::Settings;
use super::weights::Kind;
use understudy::control::Wish;
use understudy_colo::{comparer, mirror, unreleased};
use understudy_session::primary::State;
use understudy_session::{Mode, Span, secondary};

/// A way to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Output of an epoch leaves when it is captured.
    ReleaseBeforeAck,
    /// Output passes as soon as the witness has been asked to mark the copy stale.
    PassBeforeStale,
    /// A read that shows a stale record is taken for the confirmation of a swap.
    TrustRead,
    /// Output keeps passing after a full sync.
    PassAtSeed,
    /// A takeover does not wait for the witness.
    TakeoverWithoutWitness,
    /// A secondary that has begun a takeover keeps acking.
    AckAfterTakeover,
    /// A commit is reported as done, but was not done.
    CommitSkipped,
    /// A resync carries only what is dirty now, not what the lost epochs carried.
    ResyncForgets,
    /// A resync leaves out what the first lost epoch carried.
    ResyncBaseLater,
    /// The guest takes a step between the capture of its state and the cut of its output.
    CutAfterStep,
    /// The output of a guest that its engine left behind passes as soon as the guest is found.
    AdoptedPassesAtOnce,
    /// A thread's panic ends its guest.
    PanicDestroys,
    /// A fenced guest is destroyed before its new owner runs it.
    FenceDestroys,
    /// A fenced guest keeps running.
    FencedRuns,
    /// A fenced host lets out what it still holds.
    FencedReleases,
    /// The witness answers before its disk holds the record.
    ReplyBeforeFsync,
    /// The witness compares the content of records, not their revisions.
    NoRevision,
    /// A guest that was started here is not claimed: its output passes at once.
    NoClaim,
    /// A host that should pause its guest, undecided, lets its output pass instead.
    PassInsteadOfPause,
    /// The link is read although the secondary's buffer is full.
    NoBackpressure,
    /// After a while the witness's answers are lost.
    DeafToWitness,
    /// Pages of an epoch are applied to the image as they arrive.
    CommitPartial,
    /// A damaged page goes into the image.
    DamageUnnoticed,
    /// A page that cannot be mapped counts as empty.
    UnmappedIsEmpty,
    /// A page that was written while it was copied ahead of a pause is not copied again.
    StagedOld,
    /// An epoch is acked when it has arrived, before it is decoded.
    AckBeforeDecode,
    /// Unchanged pages are not compared.
    ScrubOff,
    /// Nobody checks whether the standby domain is there.
    AcksWithoutDomain,
    /// An offer drops the image of the guest.
    OfferDropsImage,
    /// After a restart the former generation is forgotten.
    GenerationReused,
    /// A primary ignores what another host says as the guest's primary.
    RivalIgnored,
    /// Without a witness a secondary takes over when it is alone.
    TakeoverWithoutPerson,
    /// Timers stand still.
    ClockStands,
    /// A link that has ended keeps sending heartbeats.
    DeadPeerSpeaks,
    /// A link is not read while one of its guests has enough work.
    LinkStopsForOne,
    /// Nobody notices that frames bypass their queue.
    BreachUnnoticed,
    /// Nobody checks whether a guest stays suspended.
    LateSuspendStays,
    /// What a copy sends is on the wire.
    CopyOnBridge,
    /// A copy hears everything twice.
    InputTwice,
    /// A copy that is set anew takes first what it had not taken before.
    InputKept,
    /// A copy is set while it runs.
    SetWhileRunning,
    /// A copy that is set anew keeps its pages.
    PagesNotSet,
    /// A frame leaves if the copy has sent anything at its place.
    AnyTwin,
    /// An epoch is acked when it is whole, and the copy halted later.
    AckBeforeHalt,
    /// The standby domain is not looked at again once the copy is halted.
    LooksOnce,
    /// A takeover goes on from the image, although the copy is the guest.
    ImageForCopy,
    /// A link that ends is taken for the end of the process that had it.
    GoneUnproven,
    /// What a guest heard and had no room on its way to the copy is not seen to be missing.
    GapUnseen,
    /// What is kept for a copy has no limit.
    KeepsAll,
    /// A frame waits for the copy's for ever.
    WaitsForEver,
    /// What is heard on the second network is not acted upon.
    LifeUnheard,
    /// A write to a disk is answered before it is in the open epoch's record.
    ReplyBeforeRecord,
    /// A disk is cut when the guest runs again.
    DiskCutLate,
    /// What is acked is forgotten, although the other disk does not have it yet.
    ForgetAtAck,
    /// A region is marked in the intent map after it was written.
    IntentAfterWrite,
    /// A full copy reads a disk without regard to the writes under way.
    BulkWithoutRange,
    /// Writes of an epoch go to the disk as they come.
    ApplyBeforeWhole,
    /// The guest may be asked for before all that is acked is on the disk.
    SwapBeforeApplied,
    /// The disk of a host that was taken over from is taken for what it was then.
    ResyncFromOldPrimary,
    /// Writes of an epoch go to the disk when it is whole, beside an image of the epoch before.
    MergeEpochs,
    /// A host counts as fenced as soon as the witness is asked about it.
    FenceUnawaited,
    /// A watchdog is never set.
    WatchdogUnset,
}

impl Mutant {
    /// All mutants, each with the invariants that catch it, each of these by itself.
    pub const ALL: [(Self, &'static [Invariant]); 62] = [
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
        (Self::AdoptedPassesAtOnce, &[Invariant::OutputCommit, Invariant::Authority, Invariant::Alone]),
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
        (Self::CommitPartial, &[Invariant::Atomicity]),
        (Self::DamageUnnoticed, &[Invariant::Atomicity]),
        (Self::UnmappedIsEmpty, &[Invariant::Atomicity]),
        (Self::StagedOld, &[Invariant::Atomicity]),
        (Self::AckBeforeDecode, &[Invariant::Monotonicity]),
        (Self::ScrubOff, &[Invariant::Divergence]),
        (Self::AcksWithoutDomain, &[Invariant::Readiness]),
        (Self::OfferDropsImage, &[Invariant::Durability]),
        (Self::GenerationReused, &[Invariant::Authority]),
        (Self::RivalIgnored, &[Invariant::Meeting]),
        (Self::TakeoverWithoutPerson, &[Invariant::Alone]),
        (Self::ClockStands, &[Invariant::Progress]),
        (Self::DeadPeerSpeaks, &[Invariant::Liveness]),
        (Self::LinkStopsForOne, &[Invariant::Liveness]),
        (Self::BreachUnnoticed, &[Invariant::OutputCommit]),
        (Self::LateSuspendStays, &[Invariant::Progress]),
        (Self::CopyOnBridge, &[Invariant::Mute]),
        (Self::InputTwice, &[Invariant::Exact]),
        (Self::InputKept, &[Invariant::Exact]),
        (Self::SetWhileRunning, &[Invariant::Exact]),
        (Self::PagesNotSet, &[Invariant::Exact]),
        (Self::AnyTwin, &[Invariant::OutputCommit, Invariant::Monotonicity]),
        (Self::AckBeforeHalt, &[Invariant::Monotonicity]),
        (Self::LooksOnce, &[Invariant::Readiness]),
        (Self::ImageForCopy, &[Invariant::Monotonicity]),
        (Self::GoneUnproven, &[Invariant::Patience]),
        (Self::GapUnseen, &[Invariant::Exact]),
        (Self::KeepsAll, &[Invariant::Bounds]),
        (Self::WaitsForEver, &[Invariant::Promptness]),
        (Self::LifeUnheard, &[Invariant::Patience]),
        (Self::ReplyBeforeRecord, &[Invariant::Disk]),
        (Self::DiskCutLate, &[Invariant::Disk]),
        (Self::ForgetAtAck, &[Invariant::Disk]),
        (Self::IntentAfterWrite, &[Invariant::Disk]),
        (Self::BulkWithoutRange, &[Invariant::Disk]),
        (Self::ApplyBeforeWhole, &[Invariant::Disk]),
        (Self::SwapBeforeApplied, &[Invariant::Disk]),
        (Self::ResyncFromOldPrimary, &[Invariant::Disk]),
        (Self::MergeEpochs, &[Invariant::Disk]),
        (Self::FenceUnawaited, &[Invariant::Fencing]),
        (Self::WatchdogUnset, &[Invariant::Fencing]),
    ];

    /// Faults that a mutant needs to do harm. In its seeds they strike more often.
    pub fn rife(self) -> &'static [Kind] {
        match self {
            Self::GenerationReused => &[Kind::Crash],
            Self::PanicDestroys => &[Kind::Panic],
            Self::FenceDestroys => &[Kind::Activation, Kind::Wish],
            Self::DamageUnnoticed => &[Kind::Damage],
            Self::AckBeforeDecode => &[Kind::Damage, Kind::Crash],
            Self::UnmappedIsEmpty => &[Kind::Unmapped],
            Self::ScrubOff => &[Kind::Log],
            Self::AcksWithoutDomain => &[Kind::Standing],
            Self::OfferDropsImage => &[Kind::Crash],
            Self::RivalIgnored => &[Kind::Stall, Kind::Force, Kind::Wish],
            Self::LinkStopsForOne => &[Kind::Starve],
            Self::BreachUnnoticed => &[Kind::Redirect],
            Self::LateSuspendStays => &[Kind::SuspendsLate, Kind::Stall],
            Self::AckAfterTakeover => &[Kind::Stall, Kind::Hang, Kind::Force],
            Self::PassInsteadOfPause => &[Kind::Stall, Kind::Crash],
            Self::NoBackpressure => &[Kind::Hang, Kind::Starve],
            Self::ForgetAtAck | Self::IntentAfterWrite | Self::ResyncFromOldPrimary => &[Kind::Crash],
            _ => &[],
        }
    }

    /// Whether it does harm only where guests may run twice. The others are caught without.
    pub fn needs_copies(self) -> bool {
        matches!(
            self,
            Self::CopyOnBridge
                | Self::InputTwice
                | Self::InputKept
                | Self::SetWhileRunning
                | Self::PagesNotSet
                | Self::AnyTwin
                | Self::AckBeforeHalt
                | Self::LooksOnce
                | Self::ImageForCopy
                | Self::GapUnseen
                | Self::KeepsAll
                | Self::WaitsForEver
        )
    }

    /// Whether it does harm only where guests have disks.
    pub fn needs_disks(self) -> bool {
        matches!(
            self,
            Self::ReplyBeforeRecord
                | Self::DiskCutLate
                | Self::ForgetAtAck
                | Self::IntentAfterWrite
                | Self::BulkWithoutRange
                | Self::ApplyBeforeWhole
                | Self::SwapBeforeApplied
                | Self::ResyncFromOldPrimary
                | Self::MergeEpochs
        )
    }

    /// Whether it does harm only to guests that need fencing.
    pub fn needs_fencing(self) -> bool {
        matches!(self, Self::FenceUnawaited | Self::WatchdogUnset)
    }

    /// Further preparation of a seed, if the harm would be rare otherwise.
    pub fn prepare(self, settings: &mut Settings, rng: &mut Rng, aimed: &mut Vec<Aimed>) {
        match self {
            // The primary reaches neither the other host nor the witness, and is heard all the same.
            Self::LifeUnheard => {
                (settings.has_spare, settings.has_witness) = (true, true);
                for channel in [LINK, witness_channel(0)] {
                    let fault = Fault::Stall { channel, ends: [true, true], lasts: Span::from_ms(200) };
                    let moment = Moment::Primary(State::Protected);
                    aimed.push(Aimed { moment, after: rng.span_us(5_000, 40_000), fault });
                }
            }
            Self::RivalIgnored => settings.has_witness = false,
            Self::OfferDropsImage => settings.autostarts = true,
            // A person forces the takeover while the primary lives, and the witness is slow to hear of it.
            Self::AckAfterTakeover => {
                let slow = Fault::Stall {
                    channel: witness_channel(1),
                    ends: [true, true],
                    lasts: Span::from_ms(40),
                };
                let force = Fault::ForceTakeover { host: 1, guest: 0 };
                let after = rng.span_us(5_000, 40_000);
                aimed.push(Aimed { moment: Moment::Primary(State::Protected), after, fault: force });
                let moment = Moment::Secondary(secondary::State::TakingOver);
                aimed.push(Aimed { moment, after: Span(0), fault: slow });
            }
            // The copy's host ends between an ack and the commit that follows.
            Self::ForgetAtAck => {
                let moment = Moment::Secondary(secondary::State::Standing);
                let back_after = Some(rng.span_us(10_000, 40_000));
                let fault = Fault::Crash { node: 1, silent: rng.chance(50), back_after };
                aimed.push(Aimed { moment, after: rng.span_us(5_000, 80_000), fault });
            }
            // The guest's host dies while its copy is the guest in clients' eyes.
            Self::ImageForCopy | Self::AnyTwin => {
                let fault = Fault::Crash { node: 0, silent: true, back_after: None };
                aimed.push(Aimed { moment: Moment::Matches, after: rng.span_us(500, 15_000), fault });
            }
            // It dies while its copy, which differs from it, is slow to stand still.
            Self::AckBeforeHalt => {
                (settings.answers, settings.modes) = (Some(50), [Mode::Colo; 2]);
                let lasts = Some(Span::from_ms(150));
                let slow = Fault::ReceiverHangs { host: 1, guest: 0, lasts };
                let dies = Fault::Crash { node: 0, silent: true, back_after: None };
                let mut aim = |after, fault| aimed.push(Aimed { moment: Moment::CopyHalts, after, fault });
                aim(Span(0), slow);
                aim(rng.span_us(1_000, 3_000), dies);
            }
            // The copy's host is slow to set it, while the guest is asked more than is kept.
            Self::GapUnseen | Self::KeepsAll => {
                (settings.answers, settings.modes) = (Some(10), [Mode::Colo; 2]);
                if self == Self::KeepsAll {
                    settings.colo.limits.input = mirror::Limits::default();
                }
                let lasts = Some(rng.span_us(180_000, 320_000));
                let fault = Fault::ReceiverHangs { host: 1, guest: 0, lasts };
                let after = rng.span_us(0, 20_000);
                for moment in [Moment::CopyLives, Moment::CopyHalts] {
                    aimed.push(Aimed { moment, after, fault });
                }
            }
            // Nothing but a frame's wait asks for a checkpoint.
            Self::WaitsForEver => {
                (settings.answers, settings.modes) = (Some(10), [Mode::Colo; 2]);
                let long = Span::from_ms(10_000);
                let limits = &mut settings.colo.limits;
                (limits.input, limits.sent) = (mirror::Limits::default(), unreleased::Limits::default());
                limits.comparer = comparer::Limits {
                    match_min: long,
                    match_max: long,
                    silence_max: long,
                    ..comparer::Limits::default()
                };
                settings.colo.session.period = Span::from_ms(230);
            }
            // The domain that stands by goes while the copy beside it is slow to stand still.
            Self::LooksOnce => {
                (settings.answers, settings.modes, settings.stands_by) = (Some(50), [Mode::Colo; 2], true);
                let lasts = Some(Span::from_ms(10));
                let slow = Fault::ReceiverHangs { host: 1, guest: 0, lasts };
                let goes = Fault::StandingSuffers { host: 1, guest: 0, fate: Fate::Destroyed };
                for (after, fault) in [(Span(0), slow), (rng.span_us(500, 5_000), goes)] {
                    aimed.push(Aimed { moment: Moment::CopyHalts, after, fault });
                }
            }
            // The guest that its engine left behind is found when the other host has been put in charge.
            Self::AdoptedPassesAtOnce => {
                (settings.outlives, settings.has_witness) = (true, rng.chance(50));
                let (crash, force) = (
                    Fault::Crash { node: 0, silent: false, back_after: Some(Span::from_ms(100)) },
                    Fault::ForceTakeover { host: 1, guest: 0 },
                );
                let alone = Fault::Stall { channel: LINK, ends: [true, true], lasts: Span::from_ms(300) };
                let aim = |moment, fault| Aimed { moment, after: Span::from_ms(5), fault };
                aimed.push(aim(Moment::Primary(State::Protected), crash));
                aimed.push(aim(Moment::Primary(State::Protected), alone));
                aimed.push(aim(Moment::Secondary(secondary::State::Alone), force));
            }
            // The swap to fresh is lost with its connection and arrives all the same; meanwhile the copy is given up.
            Self::TrustRead | Self::NoRevision => {
                let moment = Moment::Primary(State::Arming);
                let mut aim = |from_us, to_us, fault| {
                    aimed.push(Aimed { moment, after: rng.span_us(from_us, to_us), fault });
                };
                aim(0, 1_000, Fault::Reset { channel: witness_channel(0) });
                aim(1_000, 30_000, Fault::Wish { guest: 0, wish: Wish::Unprotect });
            }
            _ => {}
        }
    }
}
