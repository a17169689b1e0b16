//! Offers a guest that runs here to its peer.
//!
//! ```text
//!   offered ─► declined: nothing of it is sent, `status` says why ── ready ─► offered again
//!           ─► silence while the peer speaks for others: offered again after 0.5, 1 … 8 s
//! ```

use super::PrimaryGuest;
use crate::node::context::Context;
use understudy_checkpoint::Generation;
use understudy_link::HoldRefusal;
use understudy_session::primary::Input;
use understudy_session::{Span, Time};

/// When a guest that got no answer is offered again: the first wait and the longest.
const AGAIN_FIRST: Span = Span::from_ms(500);
const AGAIN_LONGEST: Span = Span::from_ms(8_000);

/// The peer's answer to the offer of a guest.
#[derive(Debug)]
pub(in crate::node) struct OwnOffer {
    /// Why it holds no copy, if it said so.
    pub(in crate::node) refusal: Option<HoldRefusal>,
    /// The generation of the offer that the peer declined.
    refused_in: Generation,
    /// What was logged last, so that the same is not logged after every connection.
    logged: Option<HoldRefusal>,
    again_at: Option<Time>,
    wait: Span,
}

impl Default for OwnOffer {
    fn default() -> Self {
        Self { refusal: None, refused_in: Generation(0), logged: None, again_at: None, wait: AGAIN_FIRST }
    }
}

impl OwnOffer {
    /// When the guest is offered again.
    pub(in crate::node) fn again_at(&self) -> Option<Time> {
        self.again_at
    }
}

impl PrimaryGuest {
    /// The peer does not hold this guest. For the guest's session there is no link then, since nobody is at the other
    /// end.
    pub(in crate::node) fn declined(&mut self, refusal: HoldRefusal, cx: &mut dyn Context) {
        if self.offer.logged.as_ref() != Some(&refusal) {
            let (reason, why) = (refusal.reason.label(), &refusal.detail);
            tracing::warn!(
                guest = %self.name, peer = %self.peer, reason, why,
                "The peer holds no copy of the guest; it looks again by itself"
            );
            self.offer.logged = Some(refusal.clone());
        }
        self.meter.copy_refused(Some(refusal.reason));
        self.offer.refusal = Some(refusal);
        self.offer.refused_in = self.session.generation();
        self.place = None;
        self.handle(Input::LinkDown, cx);
    }

    /// Offers the guest again in a newer generation: a peer that has a guest of this name only makes way for a newer
    /// generation, which it only learns by an offer.
    pub(in crate::node) fn offer_newer_generation(&mut self, now: Time) {
        if self.offer.refusal.is_some() && self.session.generation() > self.offer.refused_in {
            self.offer.again_at = Some(now);
        }
    }

    /// Forgets what the peer said: it is asked anew.
    pub(in crate::node) fn forget_refusal(&mut self) {
        self.offer.refusal = None;
        self.offer.again_at = None;
        self.meter.copy_refused(None);
    }

    /// The peer is there and does not answer for this guest: it is offered again, less and less often.
    pub(in crate::node) fn offer_later(&mut self, now: Time) {
        self.place = None;
        self.offer.again_at = Some(now + self.offer.wait);
        self.offer.wait = Span((2 * self.offer.wait.0).min(AGAIN_LONGEST.0));
    }

    /// Offers the guest again if that is due.
    pub(in crate::node) fn offer_again(&mut self, cx: &mut dyn Context) {
        if self.offer.again_at.is_some_and(|at| at <= cx.now()) {
            self.offer.again_at = None;
            if cx.is_link_up(&self.peer) {
                self.attach(cx);
            }
        }
    }
}
