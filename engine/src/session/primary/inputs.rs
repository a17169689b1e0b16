//! What a primary learns from each input. Steps that follow are taken by `advance` (see `machine`).

use super::super::{Decline, NodeName, Record, Standing, Time, ToPrimary, ToSecondary, WitnessReply};
use super::flow::Capturing;
use super::link::{Link, Peer};
use super::machine::{Primary, ask};
use super::phase::{GiveUp, Handover, Phase};
use super::{Event, Input, Loss, Output, Wish};
use understudy_checkpoint::{Epoch, Generation};

/// After so many declines without an ack between them a resync will not help: the copy is made anew.
const DECLINES_MAX: u32 = 3;

impl Primary {
    /// Takes one input and appends what is to be done, in order.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        if self.phase.is_over() {
            return;
        }
        match input {
            Input::LinkUp => {
                self.link_lost(Loss::LinkEnded, now, out);
                self.link = Link::up(now);
            }
            Input::LinkDown => self.link_lost(Loss::LinkEnded, now, out),
            Input::Message(message) => {
                self.link.heard(now);
                self.message(message, now, out);
            }
            Input::WitnessUp => {
                ask(Some(self.register.connect(now)), out);
            }
            Input::WitnessDown => self.register.disconnect(),
            Input::Witness(reply) => self.witness(&reply, out),
            Input::Captured { epoch } => {
                if let Some(capturing) = self.flow.captured(epoch, now) {
                    self.captured(&capturing, out);
                }
            }
            Input::CaptureFailed { epoch, guest_gone } => {
                if let Some(capturing) = self.flow.capture_failed(epoch, now) {
                    self.capture_failed(&capturing, guest_gone, now, out);
                }
            }
            Input::GuestGone => self.guest_gone(now),
            Input::GuestSettled => self.guest_settles = false,
            Input::OutputPressure => self.flow.press(),
            Input::OutputLeaks => self.output_leaks(now, out),
            Input::Rival { generation } => self.heard_of(generation, out),
            Input::Operator(wish) => self.wish(wish, now, out),
            Input::Interval(interval) => self.flow.set_interval(interval),
        }
        if !self.phase.is_over() {
            self.offer(now, out);
        }
        self.finish(now, out);
    }

    /// The link is gone, by its own end or because the peer is silent.
    pub(super) fn link_lost(&mut self, why: Loss, now: Time, out: &mut Vec<Output>) {
        let Some(peer) = self.link.peer() else { return };
        self.link = Link::Down;
        out.push(Output::Report(Event::PeerLost { why }));
        match &self.phase {
            Phase::Seeding { .. } => self.give_up(GiveUp::SeedFailed, now),
            Phase::Arming | Phase::Protected => self.wait_for_link(now),
            Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                self.call_off_switchover(out);
                self.wait_for_link(now);
            }
            // The peer may have begun to take over: only the witness knows.
            Phase::SwitchingOver(Handover::Asked { .. }) => self.give_up(GiveUp::PeerLost, now),
            Phase::MarkingStale { why, .. } if peer == Peer::Following => {
                self.phase = Phase::MarkingStale { why: *why, since: now };
            }
            _ => {}
        }
    }

    fn wait_for_link(&mut self, now: Time) {
        self.phase = Phase::LinkLost { decide_at: now + self.config.link_grace };
    }

    fn message(&mut self, message: ToPrimary, now: Time, out: &mut Vec<Output>) {
        match message {
            ToPrimary::Heartbeat { generation } => self.heard_of(generation, out),
            ToPrimary::Declined { why: Decline::Fenced { generation }, .. } => self.heard_of(generation, out),
            ToPrimary::Stand { generation, standing } if generation == self.generation => {
                self.stands(standing, now, out);
            }
            ToPrimary::Ack { generation, epoch } if generation == self.generation => {
                self.acked_through(epoch, now, out);
            }
            ToPrimary::Declined { generation, epoch, why } if generation == self.generation => {
                self.declined(epoch, why, now, out);
            }
            // Of another generation: nothing it says is about what this one sent.
            ToPrimary::Stand { .. } | ToPrimary::Ack { .. } | ToPrimary::Declined { .. } => {}
        }
    }

    /// Someone knows of `generation`. If it is newer than ours, ours is over. While claiming, ours is not yet
    /// made; the witness will tell.
    fn heard_of(&mut self, generation: Generation, out: &mut Vec<Output>) {
        if self.is_claimed() && generation > self.generation {
            self.fence(generation, out);
        }
    }

    fn fence(&mut self, by: Generation, out: &mut Vec<Output>) {
        self.phase = Phase::Fenced;
        out.push(Output::Fence { generation: by });
    }

    fn witness(&mut self, reply: &WitnessReply, out: &mut Vec<Output>) {
        self.register.learn(reply);
        if !self.is_claimed() {
            return;
        }
        let is_ours = |record: &Record, node: &NodeName, generation: Generation| {
            record.generation < generation || (record.generation == generation && record.owner == *node)
        };
        if let Some(record) = self.register.record()
            && !is_ours(record, &self.config.node, self.generation)
        {
            let generation = record.generation;
            self.fence(generation, out);
        }
    }

    /// The peer has told what it holds.
    fn stands(&mut self, standing: Standing, now: Time, out: &mut Vec<Output>) {
        if self.link.peer() != Some(Peer::Offered) {
            return;
        }
        self.link.set_peer(Peer::Present);
        let expects_copy = match &self.phase {
            Phase::Arming | Phase::Protected | Phase::LinkLost { .. } => true,
            Phase::MarkingStale { why, .. } => *why != GiveUp::GuestGone,
            _ => false,
        };
        if !expects_copy {
            return;
        }
        match standing {
            Standing::Complete { generation, epoch }
                if generation == self.generation && self.flow.can_build_on(epoch) =>
            {
                self.follow_on(epoch, now, out);
            }
            Standing::Complete { .. } | Standing::Nothing => self.lose_copy(GiveUp::NoCopy, now),
        }
    }

    /// The copy stands at `epoch`: checkpoints go on from there.
    fn follow_on(&mut self, epoch: Epoch, now: Time, out: &mut Vec<Output>) {
        self.link.set_peer(Peer::Following);
        self.acked_through(epoch, now, out);
        self.flow.resync_from(epoch);
        match &self.phase {
            // Whether the record still is what it was is for the witness to say; acks are safe either way.
            Phase::LinkLost { .. } | Phase::MarkingStale { why: GiveUp::PeerLost, .. } => {
                self.phase = Phase::Arming;
                self.resume(out);
            }
            Phase::MarkingStale { why, .. } if *why != GiveUp::Leak => self.resume(out),
            _ => {}
        }
    }

    /// There is no copy any more. A reason that is there already says more.
    fn lose_copy(&mut self, why: GiveUp, now: Time) {
        self.link.set_peer(Peer::Present);
        let keeps = matches!(&self.phase, Phase::MarkingStale { why, .. } if *why != GiveUp::PeerLost);
        if !keeps {
            self.give_up(why, now);
        }
    }

    fn acked_through(&mut self, epoch: Epoch, now: Time, out: &mut Vec<Output>) {
        let Some(after) = self.flow.ack(epoch, now) else { return };
        out.push(Output::Release { through: epoch });
        out.push(Output::Report(Event::Committed { epoch, after }));
        match &self.phase {
            Phase::Seeding { epoch: seed } if *seed <= epoch => self.phase = Phase::Arming,
            Phase::SwitchingOver(Handover::Closing { epoch: last, .. }) if *last <= epoch => {
                self.send(ToSecondary::Switchover { generation: self.generation, epoch }, now, out);
                let decide_at = now + self.config.hold_max;
                self.phase = Phase::SwitchingOver(Handover::Asked { decide_at });
            }
            _ => {}
        }
    }

    fn declined(&mut self, epoch: Option<Epoch>, why: Decline, now: Time, out: &mut Vec<Output>) {
        if self.link.peer() == Some(Peer::Offered) && epoch.is_none() {
            // It does not take the offer, but it is there: a seed voids what it is at.
            self.link.set_peer(Peer::Present);
        }
        let declines = epoch.map_or(Some(0), |epoch| self.flow.decline(epoch));
        let Some(declines) = declines.filter(|_| self.link.peer() != Some(Peer::Offered)) else { return };
        out.push(Output::Report(Event::Declined { why }));
        match &self.phase {
            Phase::Seeding { .. } => {
                self.link.set_peer(Peer::Present);
                self.give_up(GiveUp::SeedFailed, now);
                return;
            }
            Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                self.call_off_switchover(out);
            }
            Phase::Unprotected { .. } => return,
            _ => {}
        }
        match why {
            Decline::WrongBase | Decline::Damaged if declines <= DECLINES_MAX => {
                if self.link.peer() == Some(Peer::Following) {
                    self.link.set_peer(Peer::Unasked);
                }
            }
            Decline::WrongBase | Decline::Damaged | Decline::TooLarge | Decline::TakingOver => {
                self.lose_copy(GiveUp::Declined, now);
            }
            Decline::Diverged => self.lose_copy(GiveUp::Diverged, now),
            Decline::ImageLost => self.lose_copy(GiveUp::NoCopy, now),
            Decline::Fenced { .. } => {}
        }
    }

    fn captured(&mut self, capturing: &Capturing, out: &mut Vec<Output>) {
        if !capturing.stay_paused {
            return;
        }
        self.guest_halted = true;
        if !matches!(self.phase, Phase::SwitchingOver(_) | Phase::MarkingStale { why: GiveUp::Leak, .. }) {
            self.resume(out);
        }
    }

    /// Nobody may take over a guest that ended by itself. What it said before its end may leave when that is sure.
    fn guest_gone(&mut self, now: Time) {
        if self.is_claimed() {
            self.give_up(GiveUp::GuestGone, now);
        } else {
            self.phase = Phase::Ended;
        }
    }

    fn capture_failed(&mut self, failed: &Capturing, guest_gone: bool, now: Time, out: &mut Vec<Output>) {
        if guest_gone {
            return self.guest_gone(now);
        }
        match &self.phase {
            Phase::Seeding { epoch } if *epoch == failed.epoch => self.give_up(GiveUp::SeedFailed, now),
            Phase::SwitchingOver(Handover::Closing { epoch, .. }) if *epoch == failed.epoch => {
                self.call_off_switchover(out);
            }
            _ => {}
        }
    }

    /// The guest stands still until the copy is stale: what leaves then may leave. While it is stale anyway, as until
    /// the first ack of a seed, nothing is wrong.
    fn output_leaks(&mut self, now: Time, out: &mut Vec<Output>) {
        let is_stale = matches!(self.phase, Phase::Unprotected { .. } | Phase::Seeding { .. });
        if is_stale || self.phase.is_over() {
            return;
        }
        if !std::mem::replace(&mut self.guest_halted, true) {
            out.push(Output::PauseGuest);
        }
        match &self.phase {
            // Whoever has the guest now decides.
            Phase::Claiming { .. } | Phase::SwitchingOver(Handover::Asked { .. }) => {}
            Phase::MarkingStale { why: GiveUp::Wish | GiveUp::GuestGone | GiveUp::Leak, .. } => {}
            _ => self.give_up(GiveUp::Leak, now),
        }
    }

    fn wish(&mut self, wish: Wish, now: Time, out: &mut Vec<Output>) {
        match wish {
            Wish::Protect => self.protection_wished = true,
            Wish::Unprotect => {
                self.protection_wished = false;
                match &self.phase {
                    Phase::Seeding { .. } | Phase::Arming | Phase::Protected => {
                        self.give_up(GiveUp::Wish, now);
                    }
                    Phase::LinkLost { .. } => self.give_up(GiveUp::Wish, now),
                    Phase::MarkingStale { why, .. } if *why != GiveUp::GuestGone => {
                        self.give_up(GiveUp::Wish, now);
                    }
                    Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                        self.call_off_switchover(out);
                        self.give_up(GiveUp::Wish, now);
                    }
                    _ => {}
                }
            }
            Wish::Switchover => {
                let ready =
                    matches!(self.phase, Phase::Protected) && self.link.peer() == Some(Peer::Following);
                if ready {
                    self.phase = Phase::SwitchingOver(Handover::Waiting);
                } else {
                    out.push(Output::Report(Event::WishRefused { wish }));
                }
            }
        }
    }
}
