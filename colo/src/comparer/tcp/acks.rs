//! What a frame promises to its receiver must hold for both guests.
//!
//! ```text
//!                     ack ──────── window ───────► right edge
//!   guest    ─────────────●━━━━━━━━━━━━━━━━━━━━●
//!   copy     ─────────●━━━━━━━━━━━━━━━━━●
//!   leaves   ─────────●━━━━━━━━━━━━━━━━━●             and never less than what left before
//! ```
//!
//! A frame with payload is changed so. A bare acknowledgement waits for the copy's instead: made smaller, it would repeat
//! what was said before, and three repetitions make the other end send again. So does one of which only the window would be
//! left out, and which then says nothing new. But where the guest itself repeats what it said, the other end has asked for that,
//! or is asked: by a keep-alive, or where a window is closed. Such a frame leaves, with what the copy offers, too. A frame that
//! another has overtaken takes back nothing of what that one said.
//!
//! Of several bare acknowledgements that wait, the first leaves made smaller if it tells something new. Where the copy lacks
//! a segment that the guest has, the other end sends again what it was not told of, and would never come to that segment.

use super::{Flags, Number, Offer, Stream, Stretch, newer};
use crate::Patch;
use crate::comparer::uses::CopyAck;

/// Whether a frame of which all is matched may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Verdict {
    /// As it is, or changed.
    Leaves(Patch),
    /// Once the copy has received more.
    NeedsAck,
    /// Once the copy has more room: nothing is lost if it leaves later.
    NeedsWindow,
}

impl Stream {
    #[inline]
    pub(in super::super) fn offer(&self, stretch: Stretch) -> Option<Offer> {
        let window = u32::from(stretch.window) << self.shift(stretch).unwrap_or(0);
        stretch.has(Flags::ACK).then(|| Offer {
            ack: stretch.ack,
            edge: stretch.ack.plus(window),
            window: stretch.window,
        })
    }

    /// The window of a SYN is never shifted (RFC 7323, section 2.2).
    #[inline]
    fn shift(&self, stretch: Stretch) -> Option<u8> {
        if stretch.is_syn() { Some(0) } else { self.scale }
    }

    /// The guest sends this; marks what only repeats.
    #[inline]
    pub(in super::super) fn guest_says(&mut self, stretch: &mut Stretch) {
        let Some(offer) = self.offer(*stretch) else { return };
        if stretch.is_bare() {
            let is_probe = self.matched.is_some_and(|matched| matched.is_past(stretch.begin));
            let is_said = self.said.is_some_and(|said| match self.scale {
                Some(_) => offer.ack == said.ack && !offer.edge.is_past(said.edge),
                None => offer.ack == said.ack && offer.window <= said.window,
            });
            stretch.is_repeat = is_probe || is_said;
        }
        self.said = newer(self.said, Some(offer));
    }

    /// The copy has received up to here, and has room up to there.
    #[inline]
    pub(in super::super) fn copy_offers(&mut self, stretch: Stretch) {
        self.copy = newer(self.copy, self.offer(stretch));
    }

    /// Whether the world knows what the copy acknowledged, or a later frame of the copy says it.
    #[inline]
    pub(in super::super) fn has_told(&self, CopyAck { ack, connection }: CopyAck) -> bool {
        let has_left = self.left.is_some_and(|left| !ack.is_past(left.ack));
        let is_outdone = self.copy.is_some_and(|copy| copy.ack.is_past(ack));
        has_left || is_outdone || self.is_reset || connection != self.connection
    }

    /// How a frame of the guest may leave, if its payload is matched.
    #[inline]
    pub(in super::super) fn verdict(&self, stretch: Stretch, order: u64, is_rule_off: bool) -> Verdict {
        let multipath = Patch { is_multipath_blanked: stretch.is_multipath, ..Patch::default() };
        let Some(own) = self.offer(stretch).filter(|_| !is_rule_off) else {
            return Verdict::Leaves(multipath);
        };
        let Some(copy) = self.copy else { return Verdict::NeedsAck };
        let offer = self.smaller(own, copy, self.shift(stretch), order <= self.left_order);
        if stretch.is_bare() {
            if own.ack.is_past(copy.ack) {
                return Verdict::NeedsAck;
            }
            if offer.window < own.window && !stretch.is_repeat && !self.is_news(offer) {
                return Verdict::NeedsWindow;
            }
        }
        Verdict::Leaves(Patch {
            ack: (offer.ack != own.ack).then_some(offer.ack.0),
            window: (offer.window != own.window).then_some(offer.window),
            ..multipath
        })
    }

    /// How a bare acknowledgement tells what the copy has received, if that is more than was told.
    pub(in super::super) fn news_of_copy(&self, stretch: Stretch, order: u64) -> Option<Patch> {
        let (own, copy) = (self.offer(stretch)?, self.copy?);
        let offer = self.smaller(own, copy, self.shift(stretch), order <= self.left_order);
        let is_news = self.left.is_some_and(|left| offer.ack.is_past(left.ack));
        is_news.then(|| Patch {
            ack: (offer.ack != own.ack).then_some(offer.ack.0),
            window: (offer.window != own.window).then_some(offer.window),
            ..Patch::default()
        })
    }

    /// What the guest has said and the world was not told, once the copy says it, too: as a sequence number, an ack and a
    /// window. It counts as told.
    pub(in super::super) fn tell_rest(&mut self, order: u64) -> Option<(Number, Number, u16)> {
        let (matched, own, copy, left) = (self.matched?, self.own?, self.copy?, self.left?);
        if self.is_reset || self.awaits_syn() {
            return None;
        }
        let offer = self.smaller(own, copy, self.scale, true);
        // Half of the room is worth a frame (RFC 9293, section 3.8.6.2.2), and nobody waits for less.
        let more = offer.edge.since(left.edge);
        let is_much = self.scale.is_some() && more > 0 && more >= own.edge.since(own.ack) / 2;
        let is_room_news = is_much && offer.ack == left.ack;
        if !offer.ack.is_past(left.ack) && !is_room_news {
            return None;
        }
        self.left = newer(self.left, Some(offer));
        self.left_order = self.left_order.max(order);
        Some((matched, offer.ack, offer.window))
    }

    /// Of what both offer the smaller, but not less than was offered before.
    #[inline]
    fn smaller(&self, own: Offer, copy: Offer, shift: Option<u8>, is_overtaken: bool) -> Offer {
        let ack = own.ack.or_earlier(copy.ack);
        let Some(shift) = shift else {
            let before = self.left.filter(|left| left.ack == ack).map_or(0, |left| left.window);
            return Offer { ack, edge: ack, window: own.window.min(copy.window.max(before)) };
        };
        let left = self.left.map_or(copy.edge, |left| left.edge);
        // With an older acknowledgement than the newest, nobody looks at the window.
        let is_current = self.left.is_some_and(|left| !left.ack.is_past(ack));
        let edge = own.edge.or_earlier(copy.edge.or_later(left));
        let edge = if is_overtaken && is_current { edge.or_later(left) } else { edge };
        // Rounded down, an edge goes back by less than a unit of the window, as receivers expect (RFC 7323, section 2.4).
        let window = (edge.since(ack).max(0) as u32 >> shift).min(u16::MAX.into());
        Offer { ack, edge: ack.plus(window << shift), window: window as u16 }
    }

    fn is_news(&self, offer: Offer) -> bool {
        self.left.is_none_or(|left| {
            offer.ack.is_past(left.ack)
                || match self.scale {
                    Some(_) => offer.edge.is_past(left.edge),
                    None => offer.window > left.window,
                }
        })
    }

    /// A frame of the guest leaves with this patch, to which a clock is added if another one has overtaken this frame.
    #[inline]
    pub(in super::super) fn left_by_match(&mut self, stretch: Stretch, order: u64, patch: Patch) -> Patch {
        let is_past = |left: &Number| stretch.clock.is_some_and(|clock| left.is_past(clock));
        let clock = self.left_clock.filter(is_past).map(|left| left.0);
        self.note_clock(stretch);
        self.left_order = self.left_order.max(order);
        self.own = newer(self.own, self.offer(stretch));
        let ack = patch.ack.map_or(stretch.ack, Number);
        let window = patch.window.unwrap_or(stretch.window);
        self.left = newer(self.left, self.offer(Stretch { ack, window, ..stretch }));
        self.note_end(stretch);
        Patch { clock, ..patch }
    }
}
