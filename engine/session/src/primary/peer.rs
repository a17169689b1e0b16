//! A peer's messages to a primary: as its secondary, or as a rival that runs the same guest.
//!
//! ```text
//!   as secondary, of a newer generation   the witness is asked; without one a later generation is begun, in peace
//!   as primary, of a newer generation     the witness is asked; without one, or if it knows nothing of it: hold still
//!   as primary, of the same generation    hold still, both
//! ```
//!
//! A peer's word alone never ends a guest.

use super::super::{Decline, Standing, ToPrimary, ToSecondary};
use super::machine::{Primary, Rumour};
use super::phase::{Handover, Hold, Peer, Phase};
use super::{End, Event, GiveUp, Output};
use understudy_checkpoint::{Epoch, Generation};

/// After this many declines without an ack in between, a resync will not help: a full sync follows.
const DECLINES_MAX: u32 = 3;

/// Generations grow one by one from 1, so a number beyond this is not one.
const GENERATION_MAX: Generation = Generation(u64::MAX >> 1);

impl Primary {
    pub(super) fn message(&mut self, message: ToPrimary) {
        if matches!(self.phase, Phase::Asking { .. }) {
            return self.answer(&message);
        }
        match message {
            ToPrimary::Heartbeat { generation } => self.heard_of(generation),
            ToPrimary::Declined { why: Decline::Fenced { generation }, .. } => self.heard_of(generation),
            ToPrimary::Stand { generation, standing } if generation == self.generation => {
                self.stands(standing);
            }
            ToPrimary::Ack { generation, epoch } if generation == self.generation => {
                self.acked_through(epoch);
            }
            ToPrimary::Declined { generation, epoch, why } if generation == self.generation => {
                self.declined(epoch, why);
            }
            ToPrimary::Live { generation, base } if generation == self.generation => self.copy_lives(base),
            ToPrimary::Halted { generation, base, why } if generation == self.generation => {
                self.copy_ended(base, why);
            }
            // The message is of another generation, so it is not about anything that this session sent.
            ToPrimary::Stand { .. }
            | ToPrimary::Ack { .. }
            | ToPrimary::Declined { .. }
            | ToPrimary::Live { .. }
            | ToPrimary::Halted { .. } => {}
        }
    }

    /// A peer's answer to a session that asks in generation 0.
    fn answer(&mut self, message: &ToPrimary) {
        match message {
            ToPrimary::Heartbeat { generation } => self.heard_of(*generation),
            ToPrimary::Stand { generation: Generation(0), standing } => self.answered(*standing),
            ToPrimary::Declined { generation: Generation(0), epoch: None, why } => match why {
                // An earlier version does not know this question, and does not say what it holds.
                Decline::Fenced { generation } => {
                    let standing = Standing::Complete { generation: *generation, epoch: Epoch(0) };
                    self.answered(standing);
                }
                // The peer is about to run the guest.
                Decline::TakingOver => {}
                // Whatever the reason, the peer has no copy.
                _ => self.answered(Standing::Nothing),
            },
            ToPrimary::Stand { .. }
            | ToPrimary::Ack { .. }
            | ToPrimary::Declined { .. }
            | ToPrimary::Live { .. }
            | ToPrimary::Halted { .. } => {}
        }
    }

    /// A host that does not run the guest knows of `generation`.
    fn heard_of(&mut self, generation: Generation) {
        if generation > GENERATION_MAX {
            return;
        }
        self.heard = self.heard.max(generation);
        self.outgrow_peer();
        if self.phase.speaks() && generation > self.generation.max(self.refuted) {
            self.suspect(generation, false);
        }
    }

    /// Another host speaks as this guest's primary.
    pub(super) fn rival_spoke(&mut self, generation: Generation) {
        // Generation 0 is the question of a session that begins.
        if generation == Generation(0) || generation > GENERATION_MAX {
            return;
        }
        self.link.heard(self.now);
        let is_new = generation > self.rival;
        self.heard = self.heard.max(generation);
        self.rival = self.rival.max(generation);
        let look_at = self.now + self.config.witness_retry;
        match &mut self.phase {
            // A guest that was only just started here is not the guest that runs there.
            Phase::Asking { .. } if self.past.is_none() => self.destroy(End::Superseded { generation }),
            Phase::Asking { .. } => self.hold(Hold::Rival { generation, look_at }),
            Phase::Claiming { .. } | Phase::Reclaiming { .. } | Phase::Ended => {}
            Phase::Held(Hold::Rival { look_at: at, .. }) => *at = (*at).min(look_at),
            Phase::Held(Hold::Fenced { .. }) => self.give_way(),
            _ if generation == self.generation => self.hold(Hold::Rival { generation, look_at }),
            _ if generation < self.generation => {
                if is_new {
                    self.out.push(Output::Report(Event::Rivalled { generation }));
                }
            }
            _ if self.config.has_witness => self.suspect(generation, true),
            // A person moved the guest there.
            _ if self.handed_over => self.destroy(End::Superseded { generation }),
            _ => self.hold(Hold::Rival { generation, look_at }),
        }
    }

    fn suspect(&mut self, generation: Generation, runs: bool) {
        if !self.config.has_witness {
            return;
        }
        let known = self.rumour.as_ref();
        let is_more = known.is_none_or(|known| generation > known.generation || runs && !known.runs);
        if is_more {
            let runs = runs || known.is_some_and(|known| known.runs);
            self.rumour = Some(Rumour { generation, runs, asked: None });
        }
    }

    /// Without a witness: the peer has said what it holds of a guest that begins here. The peer does not run it.
    fn answered(&mut self, standing: Standing) {
        self.peer = Peer::Present;
        if let Standing::Complete { generation, .. } = standing {
            self.heard_of(generation);
        }
        let is_ours = match standing {
            Standing::Nothing => true,
            Standing::Complete { generation, .. } => self.past >= Some(generation),
        };
        if is_ours {
            return self.begin_alone();
        }
        if let Phase::Asking { met } = &mut self.phase
            && met.replace(standing).is_none()
        {
            self.out.push(Output::Report(Event::CopyMet { standing }));
            if !core::mem::replace(&mut self.guest_halted, true) {
                self.out.push(Output::PauseGuest);
            }
        }
    }

    /// The peer has said what it holds.
    fn stands(&mut self, standing: Standing) {
        if self.peer() != Some(Peer::Offered) {
            return;
        }
        self.peer = Peer::Present;
        self.hear_of_last_words(standing);
        let expects_copy = match &self.phase {
            Phase::Arming | Phase::Protected | Phase::LinkLost { .. } => true,
            Phase::MarkingStale { why, .. } => !matches!(why, GiveUp::GuestGone | GiveUp::Beginning),
            _ => false,
        };
        // No epoch may build on a copy that differs from the guest, even while the record still lets that copy take
        // over.
        if !expects_copy || self.is_diverged {
            return;
        }
        match standing {
            Standing::Complete { generation, epoch }
                if generation == self.generation && self.flow.can_build_on(epoch) =>
            {
                self.follow_on(epoch);
            }
            Standing::Complete { .. } | Standing::Nothing => self.lose_copy(GiveUp::NoCopy),
        }
    }

    /// The copy is at `epoch`; checkpoints go on from there.
    fn follow_on(&mut self, epoch: Epoch) {
        self.peer = Peer::Following;
        self.acked_through(epoch);
        self.flow.resync_from(epoch);
        match &self.phase {
            // Only the witness knows whether the record still is what it was; acks are safe either way.
            Phase::LinkLost { .. } | Phase::MarkingStale { why: GiveUp::PeerLost, .. } => {
                self.phase = Phase::Arming;
                self.handed_over = false;
                self.resume();
            }
            Phase::MarkingStale { .. } if self.is_flowing() => self.resume(),
            _ => {}
        }
    }

    /// The copy is lost. An earlier reason tells more and is kept.
    fn lose_copy(&mut self, why: GiveUp) {
        self.peer = Peer::Present;
        let keeps = matches!(&self.phase, Phase::MarkingStale { why, .. } if *why != GiveUp::PeerLost);
        if !keeps {
            self.give_up(why);
        }
    }

    fn acked_through(&mut self, epoch: Epoch) {
        if self.output_fenced {
            // The output that an ack would release was dropped for good.
            return;
        }
        let Some(after) = self.flow.ack(epoch, self.now) else { return };
        assert_eq!(self.flow.acked(), Some(epoch), "nothing is released beyond what is acked");
        self.matching_acked(epoch);
        self.out.push(Output::Release { through: epoch });
        self.out.push(Output::Report(Event::Committed { epoch, after }));
        self.is_late &= self.late_again();
        match &self.phase {
            Phase::Seeding { epoch: seed } if *seed <= epoch => self.phase = Phase::Arming,
            Phase::SwitchingOver(Handover::Closing { epoch: last, .. }) if *last <= epoch => {
                self.send(ToSecondary::Switchover { generation: self.generation, epoch });
                let decide_at = self.now + self.config.hold_max;
                self.handed_over = true;
                self.phase = Phase::SwitchingOver(Handover::Asked { decide_at });
            }
            Phase::Protected if !self.is_late && self.flow.acked_for(self.now) > self.config.hold_max => {
                self.failures = 0;
            }
            _ => {}
        }
    }

    fn declined(&mut self, epoch: Option<Epoch>, why: Decline) {
        if self.peer() == Some(Peer::Offered) && epoch.is_none() {
            // The peer declines the offer but is there: a full sync voids whatever it is doing.
            self.peer = Peer::Present;
        }
        let declines = epoch.map_or(Some(0), |epoch| self.flow.decline(epoch));
        let Some(declines) = declines.filter(|_| self.peer() != Some(Peer::Offered)) else { return };
        self.out.push(Output::Report(Event::Declined { why }));
        match &self.phase {
            Phase::Seeding { .. } => {
                self.peer = Peer::Present;
                self.give_up(GiveUp::SeedFailed);
                return;
            }
            Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                self.call_off_switchover();
            }
            Phase::Unprotected { .. } => return,
            phase if !phase.speaks() => return,
            _ => {}
        }
        match why {
            Decline::WrongBase | Decline::Damaged if declines <= DECLINES_MAX => {
                if self.peer() == Some(Peer::Following) {
                    self.peer = Peer::Unasked;
                }
            }
            Decline::WrongBase | Decline::Damaged | Decline::TooLarge | Decline::TakingOver => {
                self.lose_copy(GiveUp::Declined);
            }
            Decline::Diverged => {
                self.is_diverged = true;
                self.lose_copy(GiveUp::Diverged);
            }
            Decline::ImageLost => self.lose_copy(GiveUp::NoCopy),
            Decline::Fenced { .. } => {}
        }
    }
}
