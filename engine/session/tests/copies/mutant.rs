//! Deliberately wrong drivers: each is what a bug would look like from outside, and each is caught by a judge that is heard alone.

use crate::judge::Rule;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// A frame of any epoch matches a copy of any base.
    AnyBase,
    /// What the copy told of an older base still counts.
    OldTwins,
    /// Acknowledgements alone leave at once while a copy is live.
    AcksFree,
    /// A frame leaves however little the copy has received.
    NoAckRule,
    /// A takeover goes on from the image, whatever the session says.
    ImageAlways,
    /// An epoch is acked when it is whole, and the copy halted later.
    AckBeforeHalt,
    /// The copy's frames go to the network as well.
    CopyOnBridge,
    /// The copy hears all that is in the log, not only what came after the mark.
    NoMark,
    /// The copy hears everything twice.
    InputTwice,
    /// The copy is set while it runs.
    SetWhileRunning,
    /// Nobody says that the input log is full.
    NoBound,
    /// A copy that is silent is waited for.
    NoTimeout,
    /// The session is not told of divergences.
    DivergenceLost,
}

impl Mutant {
    pub(crate) const ALL: [(Self, Rule); 13] = [
        (Self::AnyBase, Rule::Twin),
        (Self::OldTwins, Rule::Twin),
        (Self::AcksFree, Rule::Received),
        (Self::NoAckRule, Rule::Twin),
        (Self::ImageAlways, Rule::Seen),
        (Self::AckBeforeHalt, Rule::Seen),
        (Self::CopyOnBridge, Rule::Mute),
        (Self::NoMark, Rule::Exact),
        (Self::InputTwice, Rule::Exact),
        (Self::SetWhileRunning, Rule::Exact),
        (Self::NoBound, Rule::Bounds),
        (Self::NoTimeout, Rule::Leaves),
        (Self::DivergenceLost, Rule::Leaves),
    ];
}
