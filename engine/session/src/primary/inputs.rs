//! What a primary learns from its driver: about captures, the witness, and its operator. Messages of the peer are in
//! `peer`; `advance` takes the steps that follow (see `authority`).

use super::super::{Copy, NodeName, Record, Time, WitnessReply};
use super::flow::Capturing;
use super::machine::Primary;
use super::phase::{Handover, Hold, Peer, Phase};
use super::{End, Event, GiveUp, Input, Loss, Output, Wish};

impl Primary {
    /// Takes one input; [`poll_output`](Self::poll_output) then says what follows from it.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.phase.is_over() {
            return;
        }
        self.now = now;
        match input {
            Input::LinkUp => self.link_up(),
            Input::LinkDown => self.link_lost(Loss::LinkEnded),
            // What arrived on the old link says nothing about the new one.
            Input::Message(_) if !self.link.is_up() => {}
            Input::Message(message) => {
                self.link.heard(self.now);
                self.message(message);
            }
            Input::WitnessUp => self.out.ask(Some(self.register.connect(self.now))),
            Input::WitnessDown => self.register.disconnect(),
            Input::Witness(reply) => self.witness(&reply),
            Input::Captured { epoch, pause } => {
                if let Some(capturing) = self.flow.captured(epoch, pause, self.now) {
                    self.captured(&capturing);
                }
            }
            Input::CaptureFailed { epoch, guest_gone, needs_seed } => {
                if let Some(capturing) = self.flow.capture_failed(epoch, self.now) {
                    self.capture_failed(&capturing, guest_gone, needs_seed);
                }
            }
            Input::CaptureBroke => self.capture_broke(),
            Input::CaptureMended => self.can_capture = true,
            Input::GuestGone => self.guest_gone(),
            Input::GuestSettled => self.guest_settles = false,
            Input::Encoded { epoch, busy, link_bytes } => self.flow.encoded(epoch, busy, link_bytes),
            Input::OutputWaits(waiting) => self.flow.output_waits(waiting, self.now),
            Input::OutputPressure => self.flow.press(),
            Input::Diverged { base, why } => self.diverged(base, why),
            Input::FramesLeft { by_match, by_ack } => self.left(by_match, by_ack),
            Input::OutputLeaks => self.output_leaks(),
            Input::Rival { generation } => self.rival_spoke(generation),
            Input::Operator(wish) => self.wish(wish),
            Input::Pacing(pacing) => self.flow.set_pacing(pacing, self.now),
            Input::Mode(mode) => self.set_mode(mode),
        }
        if !self.phase.is_over() {
            self.finish();
        }
    }

    fn link_up(&mut self) {
        self.link_lost(Loss::LinkEnded);
        self.link.came_up(self.now);
        self.peer = Peer::Unasked;
        if let Phase::Asking { met } = &mut self.phase {
            // The record may have changed by now.
            *met = None;
        }
    }

    /// The link is gone: it ended, or the peer is silent.
    pub(super) fn link_lost(&mut self, why: Loss) {
        let Some(peer) = self.peer() else { return };
        self.link.went_down();
        self.end_matching();
        self.out.push(Output::Report(Event::PeerLost { why }));
        match &self.phase {
            Phase::Seeding { .. } => self.give_up(GiveUp::SeedFailed),
            Phase::Arming | Phase::Protected => self.wait_for_link(),
            Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                self.call_off_switchover();
                self.wait_for_link();
            }
            // The peer may have begun to take over: only the witness knows.
            Phase::SwitchingOver(Handover::Asked { .. }) => self.give_up(GiveUp::PeerLost),
            Phase::MarkingStale { why, .. } if peer == Peer::Following => {
                self.phase = Phase::MarkingStale { why: *why, since: self.now };
            }
            _ => {}
        }
    }

    /// Short-lived links share one grace: it ends when output has waited long enough for an ack.
    fn wait_for_link(&mut self) {
        self.is_late = false;
        self.phase = Phase::LinkLost { decide_at: self.now + self.config.link_grace };
        if let Some(at) = self.too_slow_at() {
            self.phase = Phase::LinkLost { decide_at: at.min(self.now + self.config.link_grace) };
        }
    }

    fn witness(&mut self, reply: &WitnessReply) {
        self.register.learn(reply);
        let held_for_rival = matches!(self.phase, Phase::Held(Hold::Rival { .. }));
        if !self.phase.speaks() && !held_for_rival {
            return;
        }
        let is_ours = |record: &Record, node: &NodeName, generation| {
            record.generation < generation || (record.generation == generation && record.owner == *node)
        };
        if let Some(record) = self.register.record()
            && !is_ours(record, &self.config.node, self.generation)
        {
            let by = record.generation;
            return self.fence(by);
        }
        if let Some(rumour) = self.rumour.take_if(|rumour| rumour.asked == Some(reply.id)) {
            // The witness was asked after a peer had claimed this generation, and does not know it.
            let generation = rumour.generation;
            self.refuted = self.refuted.max(generation);
            self.out.push(Output::Report(Event::RumourRefuted { generation }));
            if rumour.runs {
                self.hold(Hold::Rival { generation, look_at: self.now + self.config.hold_max });
            }
        }
    }

    fn captured(&mut self, capturing: &Capturing) {
        if !capturing.stay_paused {
            return;
        }
        self.guest_halted = true;
        let goes_on = self.phase.speaks()
            && !matches!(self.phase, Phase::SwitchingOver(_) | Phase::MarkingStale { why: GiveUp::Leak, .. });
        if goes_on {
            self.resume();
        }
    }

    /// Nobody may take over a guest that ended by itself. Its last output may leave once that is certain.
    fn guest_gone(&mut self) {
        if self.phase.speaks() {
            let is_known = matches!(self.phase, Phase::MarkingStale { why: GiveUp::GuestGone, .. });
            self.give_up(GiveUp::GuestGone);
            if !is_known {
                self.ask_for_last_words();
            }
        } else {
            self.phase = Phase::Ended;
            self.report_state();
        }
    }

    fn capture_failed(&mut self, failed: &Capturing, guest_gone: bool, needs_seed: bool) {
        if guest_gone {
            return self.guest_gone();
        }
        match &self.phase {
            Phase::Seeding { epoch } if needs_seed || *epoch == failed.epoch => {
                self.give_up(GiveUp::SeedFailed);
            }
            Phase::SwitchingOver(Handover::Closing { epoch, .. }) if *epoch == failed.epoch => {
                self.call_off_switchover();
            }
            _ => {}
        }
        let has_copy = matches!(
            &self.phase,
            Phase::Arming
                | Phase::Protected
                | Phase::LinkLost { .. }
                | Phase::SwitchingOver(Handover::Waiting)
                | Phase::MarkingStale { why: GiveUp::PeerLost, .. }
        );
        if needs_seed && has_copy {
            self.give_up(GiveUp::CaptureFails);
        }
    }

    /// The capture thread is gone; the guest is not. Its copy can only get older.
    fn capture_broke(&mut self) {
        self.can_capture = false;
        self.flow.lose_capture();
        match &self.phase {
            Phase::Seeding { .. } => self.give_up(GiveUp::SeedFailed),
            Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                self.call_off_switchover();
                self.give_up(GiveUp::Broken);
            }
            Phase::Arming
            | Phase::Protected
            | Phase::LinkLost { .. }
            | Phase::MarkingStale { why: GiveUp::PeerLost, .. } => self.give_up(GiveUp::Broken),
            _ => {}
        }
    }

    /// The guest is paused until the copy is stale, when its output may leave. Nothing is wrong while the copy is stale
    /// anyway (as until the first ack of a full sync), or while only a capture has to end.
    fn output_leaks(&mut self) {
        let is_stale = match self.phase {
            Phase::Unprotected { .. } | Phase::Seeding { .. } => true,
            Phase::MarkingStale { .. } => self.register.is_final(&Copy::Stale),
            _ => false,
        };
        if is_stale || self.phase.is_over() {
            return;
        }
        if !core::mem::replace(&mut self.guest_halted, true) {
            self.out.push(Output::PauseGuest);
        }
        match &self.phase {
            // The host that has the guest now decides.
            phase if !phase.speaks() => {}
            Phase::SwitchingOver(Handover::Asked { .. }) => {}
            Phase::MarkingStale { why: GiveUp::Wish | GiveUp::GuestGone | GiveUp::Leak, .. } => {}
            _ => self.give_up(GiveUp::Leak),
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Protect => self.protection_wished = true,
            Wish::Unprotect => {
                self.protection_wished = false;
                match &self.phase {
                    // Without a witness only a person lets output out.
                    Phase::Asking { .. } => self.begin_alone(),
                    Phase::Seeding { .. } | Phase::Arming | Phase::Protected | Phase::LinkLost { .. } => {
                        self.give_up(GiveUp::Wish);
                    }
                    Phase::MarkingStale { why, .. } if *why != GiveUp::GuestGone => {
                        self.give_up(GiveUp::Wish);
                    }
                    _ if self.asks_for_last_words() => self.register.decide_alone(Copy::Stale),
                    Phase::SwitchingOver(Handover::Waiting | Handover::Closing { .. }) => {
                        self.call_off_switchover();
                        self.give_up(GiveUp::Wish);
                    }
                    _ => {}
                }
            }
            Wish::Switchover => {
                let ready = matches!(self.phase, Phase::Protected) && self.peer() == Some(Peer::Following);
                if ready {
                    self.end_matching();
                    self.phase = Phase::SwitchingOver(Handover::Waiting);
                } else {
                    self.out.push(Output::Report(Event::WishRefused { wish }));
                }
            }
            Wish::Reclaim => {
                let can_tell = self.register.is_connected() || !self.config.has_witness;
                if self.phase.awaits_person() && can_tell {
                    self.register.stop_proposing();
                    let judged = self.register.record().cloned();
                    self.phase = Phase::Reclaiming { judged, claim: None };
                } else {
                    self.out.push(Output::Report(Event::WishRefused { wish }));
                }
            }
            Wish::Discard => {
                if self.phase.awaits_person() {
                    self.destroy(End::Discarded);
                } else {
                    self.out.push(Output::Report(Event::WishRefused { wish }));
                }
            }
        }
    }
}
