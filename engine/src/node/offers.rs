//! Handles the offers of peers.
//!
//! ```text
//!   a peer's offer ─► consider ─┬─► held here
//!                      ▲        └─► refused, said on the link; looked at again after 1, 2, 4 … 30 s,
//!                      └───────────────────────────────────────── and at once when a guest here goes
//! ```
//!
//! Not here: offers of guests that run here (`primary/offer.rs`).
//!
//! A refusal is about one guest: the link and the other guests on it go on.

use super::context::Context;
use super::driver::{HeldCopy, Verdict};
use super::guests::Guests;
use super::inbound::GuestName;
use super::new_primary::check_size;
use super::peer_offer::{OfferKey, PeerOffer};
use crate::memory;
use crate::names::check_name;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{GuestFrame, HoldReason, HoldRefusal};
use understudy_session::{NodeName, Span, Time, ToSecondary};

/// The most guests that one node holds: each has a thread.
pub(super) const HELD_MAX: usize = 256;

/// The most guests whose generation is remembered while nothing of them is here: their names come from peers.
const HEARD_MAX: usize = 4 * HELD_MAX;

/// When a refused offer is considered again: the first wait and the longest.
const LOOK_FIRST: Span = Span::from_ms(1_000);
const LOOK_LONGEST: Span = Span::from_ms(30_000);

impl Guests {
    /// A peer offers a guest.
    pub(super) fn offered(
        &mut self,
        name: &GuestName,
        peer: NodeName,
        generation: Option<Generation>,
        description: Description,
        cx: &mut dyn Context,
    ) {
        let key = (name.clone(), peer);
        // A refusal may still be on its way to the peer when it offers again. Whoever reads it last believes it, so an offer
        // that is taken after one is answered by `HoldReady`.
        let earlier = self.offers.remove(&key);
        let needs_fencing = earlier.as_ref().is_some_and(|earlier| earlier.needs_fencing);
        let (refusal, wait) = earlier.map_or((None, LOOK_FIRST), |earlier| (earlier.refusal, earlier.wait));
        let (is_over, is_refusal_told, look_at) = (false, false, cx.now());
        let offer = PeerOffer {
            generation,
            description,
            is_over,
            refusal,
            needs_fencing,
            is_refusal_told,
            look_at,
            wait,
        };
        self.offers.insert(key.clone(), offer);
        self.consider(&key, cx);
    }

    /// A peer speaks as the primary of a guest.
    pub(super) fn primary_spoke(&mut self, name: &GuestName, peer: &NodeName, message: &ToSecondary) {
        let is_over = matches!(message, ToSecondary::Farewell { .. });
        if is_over {
            self.heard.remove(name);
        }
        if let Some(offer) = self.offers.get_mut(&(name.clone(), peer.clone())) {
            offer.is_over = is_over;
        }
    }

    /// The newest generation in which a peer runs a guest, by its present offer. If nothing of the guest is held here,
    /// nothing else is known: a primary sends nothing more once its offer is declined.
    pub(super) fn offered_in(&self, name: &str) -> Option<Generation> {
        let of_it = |((of, _), offer): &(&OfferKey, &PeerOffer)| &**of == name && !offer.is_over;
        let generations = self.offers.iter().filter(of_it).filter_map(|(_, offer)| offer.generation);
        generations.filter(|generation| *generation > Generation(0)).max()
    }

    /// What is held here is useless, because its host runs the guest in a later generation; for instance, it could not
    /// be started here. A new copy is held at once.
    pub(super) fn outrun(
        &mut self,
        name: &GuestName,
        peer: &NodeName,
        message: &ToSecondary,
        cx: &mut dyn Context,
    ) {
        let generation = message.generation();
        let Some(outrun) = self.guests.get(name).filter(|here| here.is_outrun(peer, generation)) else {
            return;
        };
        let key = (name.clone(), peer.clone());
        let offered = self.offers.get(&key).map(|offer| &offer.description);
        let Some(description) = offered.or(outrun.held().map(|held| held.description)).cloned() else {
            return;
        };
        self.offered(name, peer.clone(), Some(generation), description, cx);
        let is_taken = self.offers.get(&key).is_some_and(|offer| offer.refusal.is_none());
        if is_taken
            && !matches!(message, ToSecondary::Offer { .. })
            && let Some(guest) = cx.number_of(peer, name)
        {
            // The offer came while the guest was being started here, and was not answered.
            cx.send(peer, &GuestFrame::HoldReady.of(guest));
        }
    }

    /// Holds a guest that a peer offered, or refuses it.
    pub(super) fn consider(&mut self, key: &OfferKey, cx: &mut dyn Context) {
        let (name, peer) = key;
        let Some(offer) = self.offers.get(key) else { return };
        let (generation, description) = (offer.generation, offer.description.clone());
        let (was_refused, needs_fencing) = (offer.refusal.is_some(), offer.needs_fencing);
        let node = &self.config.node;
        let verdict = match self.guests.get_mut(name) {
            Some(here) => here.consider(peer, generation, &description, cx),
            None if self.unseen.contains(name) => Verdict::Taken(
                "has not seen yet whether a guest of this name runs on its host; `status` there says why, if it lasts"
                    .into(),
            ),
            None => Verdict::Anew,
        };
        let result = match verdict {
            Verdict::Anew => {
                self.guests.remove(name);
                self.can_fence(needs_fencing).and_then(|()| self.hold(name, peer, description, cx))
            }
            Verdict::Kept => match self.maintenance_refusal(name) {
                None => Ok(()),
                Some(refusal) => {
                    self.guests.remove(name);
                    Err(refusal)
                }
            },
            Verdict::Renew => self.renew(name, description),
            Verdict::Taken(why) => Err(HoldRefusal::new(HoldReason::NameTaken, format!("{node} {why}"))),
        };
        match result {
            Err(refusal) => self.refuse(key, refusal, cx),
            Ok(()) => {
                if needs_fencing && let Some(here) = self.guests.get_mut(name) {
                    here.needs_fencing();
                }
                self.offers.entry(key.clone()).and_modify(|offer| offer.refusal = None);
                if was_refused && let Some(guest) = cx.number_of(peer, name) {
                    cx.send(peer, &GuestFrame::HoldReady.of(guest));
                }
            }
        }
    }

    /// The same host runs another guest of that name, or the same one with other devices. The present copy stays until
    /// the first full sync of the other guest begins.
    fn renew(&mut self, name: &GuestName, description: Description) -> Result<(), HoldRefusal> {
        self.admit(name, &description)?;
        if let Some(held) = self.guests.get_mut(name) {
            held.renew(description);
        }
        Ok(())
    }

    /// Tells a peer why its guest is not held here, and logs it once for each reason.
    pub(super) fn refuse(&mut self, key: &OfferKey, refusal: HoldRefusal, cx: &mut dyn Context) {
        let (name, peer) = key;
        let Some(offer) = self.offers.get_mut(key) else { return };
        offer.look_at = cx.now() + offer.wait;
        offer.wait = Span((2 * offer.wait.0).min(LOOK_LONGEST.0));
        let is_news = offer.refusal.as_ref() != Some(&refusal);
        if is_news {
            let (reason, why) = (refusal.reason.label(), &refusal.detail);
            tracing::warn!(guest = %name, %peer, reason, why, "A peer's guest is not held here");
            offer.refusal = Some(refusal.clone());
        }
        if (is_news || !offer.is_refusal_told)
            && let Some(guest) = cx.number_of(peer, name)
        {
            cx.send(peer, &GuestFrame::HoldDeclined(refusal).of(guest));
            offer.is_refusal_told = true;
        }
    }

    /// Considers refused offers again when they are due, or at once if the guest in their way has ended here.
    pub(super) fn look_at_offers(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        let is_vacant = |name: &GuestName| self.guests.get(name).is_some_and(|guest| guest.is_vacant());
        let is_due = |((name, _), offer): &(&OfferKey, &PeerOffer)| match &offer.refusal {
            Some(refusal) if refusal.reason == HoldReason::NameTaken && is_vacant(name) => true,
            Some(_) => offer.look_at <= now,
            None => false,
        };
        let due: Vec<OfferKey> = self.offers.iter().filter(is_due).map(|(key, _)| key.clone()).collect();
        due.iter().for_each(|key| self.consider(key, cx));
    }

    /// When [`look_at_offers`](Self::look_at_offers) has something to do.
    pub(super) fn next_look(&self) -> Option<Time> {
        self.offers.values().filter(|offer| offer.refusal.is_some()).map(|offer| offer.look_at).min()
    }

    /// A guest is gone from here: an offer that was refused because of it may be accepted now.
    pub(super) fn guest_went(
        &mut self,
        name: &GuestName,
        refusal: Option<HoldRefusal>,
        cx: &mut dyn Context,
    ) {
        match refusal {
            Some(refusal) => {
                self.offers_of(name).iter().for_each(|key| self.refuse(key, refusal.clone(), cx));
            }
            None => self.reconsider(name, cx),
        }
        // Memory and places are free for all offers.
        let now = cx.now();
        self.offers.values_mut().for_each(|offer| offer.look_at = offer.look_at.min(now + LOOK_FIRST));
    }

    /// Answers offers of this name anew, because what is here under that name has changed.
    pub(super) fn reconsider(&mut self, name: &GuestName, cx: &mut dyn Context) {
        self.offers_of(name).iter().for_each(|key| self.consider(key, cx));
    }

    fn offers_of(&self, name: &GuestName) -> Vec<OfferKey> {
        self.offers.keys().filter(|(of, _)| of == name).cloned().collect()
    }

    /// The peer's link is down; it offers its guests again on the next one. Guests of which nothing is held, and for
    /// which the witness need not be told anything, are forgotten.
    pub(super) fn peer_went(&mut self, peer: &NodeName) {
        self.offers.retain(|(_, from), _| from != peer);
        self.forget_empty();
    }

    /// Forgets guests of which nothing is here, and whose host does not offer them. In which generation they were heard of
    /// is kept: what an earlier engine left here of an older one is not all there was.
    pub(super) fn forget_empty(&mut self) {
        let Self { offers, guests, heard, .. } = self;
        guests.retain(|name, guest| {
            let is_offered = offers.contains_key(&(name.clone(), guest.peer().clone()));
            let stays = is_offered || !guest.is_forgettable();
            if !stays {
                tracing::info!(guest = %name, "Forgotten: nothing of it is held here, and its host does not offer it");
                if let Some(generation) = guest.heard_from()
                    && heard.len() < HEARD_MAX
                {
                    heard.insert(name.clone(), generation);
                }
            }
            stays
        });
    }

    /// The newest generation in which a peer was heard to run the guest, by its offer, its messages, or before the guest
    /// was forgotten here.
    pub(super) fn newest_heard(&self, name: &str) -> Option<Generation> {
        let here = self.guests.get(name).and_then(|guest| guest.heard_from());
        here.max(self.offered_in(name)).max(self.heard.get(name).copied())
    }

    /// Whether a guest can be held here. Everything is counted before anything is allocated.
    pub(super) fn admit(&self, name: &GuestName, description: &Description) -> Result<(), HoldRefusal> {
        // A name from the link becomes a label in metrics, an argument of xl, and part of a file's name.
        check_name(name).map_err(|error| HoldRefusal::new(HoldReason::Name, error.to_string()))?;
        check_size(name, description)
            .map_err(|error| HoldRefusal::new(HoldReason::TooLarge, error.to_string()))?;
        if let Some(refusal) = self.maintenance_refusal(name) {
            return Err(refusal);
        }
        let held = self.guests.values().filter(|guest| guest.held().is_some()).count();
        if held >= HELD_MAX && !self.guests.contains_key(name) {
            let why = format!("{} holds {held} guests, and no more than that can be held", self.config.node);
            return Err(HoldRefusal::new(HoldReason::TooMany, why));
        }
        self.host.admits(name, description)?;
        self.has_memory(name, description)
    }

    /// The memory of the images of all guests held here.
    pub(super) fn image_bytes(&self) -> u64 {
        let held = self.guests.values().filter_map(|guest| guest.held());
        held.map(|held| self.host.image_bytes(held.description)).sum()
    }

    /// Whether there is memory for the image, besides what is promised to guests whose images are still to come.
    fn has_memory(&self, name: &GuestName, description: &Description) -> Result<(), HoldRefusal> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let needed = self.host.image_bytes(description);
        let others =
            || self.guests.iter().filter(|(of, _)| *of != name).filter_map(|(_, guest)| guest.held());
        let bytes = |held: HeldCopy<'_>| self.host.image_bytes(held.description);
        let promised: u64 = others().filter(|held| !held.is_whole).map(bytes).sum();
        let held: Vec<u64> = others().map(bytes).collect();
        let copies = self.copy_room.of_copies();
        let taken = held.iter().sum::<u64>().saturating_add(copies);
        let bound = self.config.limits.image_bytes_max;
        if needed > bound.saturating_sub(taken) {
            let (node, count) = (&self.config.node, held.len());
            let why = format!(
                "the image takes {} MiB, and beside the images of {count} guests{} {node} may use {} MiB more (image-max)",
                mib(needed),
                if copies > 0 { " and copies that run" } else { "" },
                bound.saturating_sub(taken) >> 20
            );
            return Err(HoldRefusal::new(HoldReason::Memory, why));
        }
        let Some(available) = (self.available_bytes)() else { return Ok(()) };
        let free = available.saturating_sub(memory::RESERVE_BYTES).saturating_sub(promised);
        if needed <= free {
            return Ok(());
        }
        Err(HoldRefusal::new(
            HoldReason::Memory,
            format!(
                "the image takes {} MiB and {} has {} MiB for it ({} MiB available, {} MiB promised to other guests)",
                mib(needed),
                self.config.node,
                free >> 20,
                available >> 20,
                mib(promised),
            ),
        ))
    }
}
