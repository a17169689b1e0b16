//! What a peer has offered on its present link.

use super::inbound::GuestName;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::HoldRefusal;
use understudy_session::{NodeName, Span, Time};

/// A guest's name, and the peer that runs it.
pub(super) type OfferKey = (GuestName, NodeName);

/// What a peer has offered on its present link.
#[derive(Debug)]
pub(super) struct PeerOffer {
    pub(super) generation: Option<Generation>,
    pub(super) description: Description,
    /// Whether its primary has said that the guest has ended, and nothing since.
    pub(super) is_over: bool,
    /// Why nothing of it is held here; of the offer before this one until this one is considered.
    pub(super) refusal: Option<HoldRefusal>,
    /// Whether its primary has said that the guest needs fencing.
    pub(super) needs_fencing: bool,
    /// The peer has been told so since it made this offer.
    pub(super) is_refusal_told: bool,
    pub(super) look_at: Time,
    pub(super) wait: Span,
}
