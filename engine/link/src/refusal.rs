//! Why a node refuses to hold a guest: sent on the link, shown in `status`, and used as a label in metrics.
//!
//! Not here: refusals of a whole connection ([`RefuseReason`](super::RefuseReason)).

use alloc::string::String;

/// Why a node refuses to hold a guest that it was offered. It reconsiders from time to time; a person may have to act
/// first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HoldReason {
    /// The guest's name cannot be used there.
    Name,
    /// The guest has more page frames than the node takes.
    TooLarge,
    /// The node does not have the memory for an image of this guest.
    Memory,
    /// The node has no network card for this guest.
    Network,
    /// Guests of this kind, or of this version of Xen, do not run there.
    Unfit,
    /// Something that the node needs to build guests is missing or fails.
    Toolstack,
    /// The node holds as many guests as it may.
    TooMany,
    /// The node runs a guest of this name, or holds the copy of one for another host.
    NameTaken,
    /// Something in the node failed.
    Internal,
    /// The guest needs fencing, and the node cannot arm its watchdog.
    Fencing,
}

impl HoldReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Name,
        Self::TooLarge,
        Self::Memory,
        Self::Network,
        Self::Unfit,
        Self::Toolstack,
        Self::TooMany,
        Self::NameTaken,
        Self::Internal,
        Self::Fencing,
    ];

    /// The reason as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::TooLarge => "too_large",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Unfit => "unfit",
            Self::Toolstack => "toolstack",
            Self::TooMany => "too_many",
            Self::NameTaken => "name_taken",
            Self::Internal => "internal",
            Self::Fencing => "fencing",
        }
    }
}

/// A node's refusal to hold a guest.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{detail}")]
pub struct HoldRefusal {
    /// The reason, from a closed list.
    pub reason: HoldReason,
    /// The reason in words, for a person.
    pub detail: String,
}

impl HoldRefusal {
    /// A refusal for `reason`.
    pub fn new(reason: HoldReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
