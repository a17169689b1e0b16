//! A primary's authority: what it does next, how it gives the copy up, and when it pauses the guest for good.
//!
//! ```text
//!   Claiming (witness) ─┐ won                          stale is final
//!   Asking   (peer)    ─┼──────────► MarkingStale ─────────────────────► Unprotected
//!   Reclaiming (person)─┘                 ▲
//!        ▲ a person                       │ the copy is of no use
//!        │                                │
//!   Held, Claiming{refused} ◄── fenced ── any phase that speaks for the guest
//! ```
//!
//! Not here: how it gets the guest (`claim`). Nothing in here ends a guest, unless another host runs it in a newer generation or a person orders it.

use super::super::{Copy, Time, ToSecondary};
use super::machine::Primary;
use super::phase::{Handover, Hold, Peer, Phase};
use super::{End, Event, GiveUp, Output};
use understudy_checkpoint::Generation;

impl Primary {
    pub(super) fn advance(&mut self) {
        if let Phase::LinkLost { decide_at } = self.phase
            && decide_at <= self.now
        {
            self.give_up(GiveUp::PeerLost);
        }
        match &self.phase {
            Phase::Claiming { .. } => self.claim(),
            Phase::Reclaiming { .. } => self.reclaim(),
            Phase::Arming => self.arm(),
            Phase::SwitchingOver(Handover::Closing { ends_at, .. }) if *ends_at <= self.now => {
                self.call_off_switchover();
            }
            Phase::SwitchingOver(Handover::Asked { decide_at }) if *decide_at <= self.now => {
                self.give_up(GiveUp::Declined);
            }
            _ => {}
        }
        if let Phase::MarkingStale { why, since } = self.phase {
            self.mark_stale(why, since);
            self.drop_last_words();
        }
        if self.phase.is_over() {
            return;
        }
        if self.unanswered_until().is_some_and(|at| at <= self.now) {
            self.guest_halted = true;
            self.out.push(Output::PauseGuest);
        }
        self.offer();
        self.pursue_rumour();
        self.step_matching();
        self.capture();
    }

    /// Changes the record so that the peer's copy may take over.
    fn arm(&mut self) {
        assert!(self.flow.acked().is_some(), "a copy is made fresh after an ack of all of it");
        let fresh = Copy::Fresh { holder: self.config.peer.clone() };
        if !self.config.has_witness {
            self.register.decide_alone(fresh.clone());
        }
        if self.register.is_final(&fresh) {
            self.phase = Phase::Protected;
            self.given_up = None;
            return;
        }
        let request = self.register.propose(self.now, self.generation, &self.config.node, fresh);
        self.out.ask(request);
    }

    /// Changes the record so that no copy may take over, then lets output pass. Until the witness or the peer answers,
    /// output is held; after `hold_max` the guest is paused.
    fn mark_stale(&mut self, why: GiveUp, since: Time) {
        if !self.config.has_witness && is_persons_word(why) {
            self.register.decide_alone(Copy::Stale);
        }
        if self.register.is_final(&Copy::Stale) {
            if self.flow.capturing().is_none() {
                self.go_unprotected(why);
                return;
            }
            if self.flow.abort() {
                self.out.push(Output::AbortCapture);
            }
            // A paused guest does not follow a request to suspend, which the capture waits for. Output is held until
            // the capture has ended.
            if why != GiveUp::GuestGone {
                self.resume();
            }
            return;
        }
        if self.config.has_witness {
            let request = self.register.propose(self.now, self.generation, &self.config.node, Copy::Stale);
            self.out.ask(request);
        }
        if self.hold_ends_at(since).is_some_and(|at| at <= self.now) {
            self.guest_halted = true;
            self.out.push(Output::PauseGuest);
        }
    }

    /// The copy is stale for certain: everything may leave.
    fn go_unprotected(&mut self, why: GiveUp) {
        assert!(self.is_owner(), "only the owner lets output out: {:?}", self.register.record());
        assert!(self.register.is_final(&Copy::Stale), "output passes while a copy may take over");
        self.register.stop_asking();
        self.flow.forget();
        if core::mem::take(&mut self.output_fenced) {
            self.out.push(Output::Revive);
        }
        self.out.push(Output::PassOutput);
        if why == GiveUp::GuestGone {
            self.send(ToSecondary::Farewell { generation: self.generation });
            self.phase = Phase::Ended;
            return;
        }
        self.handed_over = false;
        self.resume();
        if why == GiveUp::Wish {
            self.send(ToSecondary::Farewell { generation: self.generation });
        }
        if self.peer() == Some(Peer::Following) {
            self.peer = Peer::Present;
        }
        self.phase = Phase::Unprotected { seed_at: self.now + self.rest(why) };
        self.outgrow_peer();
    }

    /// Without a witness, a peer that runs nothing may know of a newer generation than this one, and would decline
    /// everything. So a later generation is begun; the peer holds nothing of this one.
    pub(super) fn outgrow_peer(&mut self) {
        let is_free = matches!(self.phase, Phase::Unprotected { .. }) && !self.config.has_witness;
        if is_free && self.heard > self.generation && self.rival <= self.generation {
            self.enter(self.next_generation());
            self.register.begin_alone(self.generation, &self.config.node);
            self.peer = Peer::Unasked;
        }
    }

    /// When the guest is paused because output has been held for too long.
    pub(super) fn hold_ends_at(&self, since: Time) -> Option<Time> {
        let waits = self.guest_halted || self.flow.capturing().is_some() || self.is_flowing();
        (!waits && !self.register.is_final(&Copy::Stale)).then_some(since + self.config.hold_max)
    }

    /// Calls off a switchover before the peer was asked to take over: the guest goes on here. Its last commit may be
    /// old by now.
    pub(super) fn call_off_switchover(&mut self) {
        self.phase = Phase::Protected;
        self.is_late = self.late_again();
        self.resume();
    }

    /// The copy is of no more use, and the record has to say so.
    pub(super) fn give_up(&mut self, why: GiveUp) {
        self.end_matching();
        let since = match self.phase {
            Phase::MarkingStale { since, .. } => since,
            _ => self.now,
        };
        self.is_late = false;
        self.given_up = Some(why);
        self.phase = Phase::MarkingStale { why, since };
    }

    pub(super) fn resume(&mut self) {
        assert!(
            self.phase.speaks(),
            "a guest runs by the word of who speaks for it, not in {:?}",
            self.phase
        );
        if core::mem::take(&mut self.guest_halted) {
            self.out.push(Output::ResumeGuest);
        }
    }

    /// The witness's record puts another generation in charge.
    pub(super) fn fence(&mut self, by: Generation) {
        self.hold(Hold::Fenced { by });
        self.give_way();
    }

    /// Nothing leaves any more, and the guest is paused. It is kept, because the host in charge may not have it
    /// running.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.end_matching();
        let generation = match hold {
            Hold::Fenced { by } => by,
            Hold::Rival { generation, .. } => {
                self.out.push(Output::Report(Event::Rivalled { generation }));
                generation
            }
        };
        self.out.push(Output::Fence { generation, is_wished: self.handed_over });
        if self.flow.abort() {
            self.out.push(Output::AbortCapture);
        }
        self.out.push(Output::PauseGuest);
        self.guest_halted = true;
        self.output_fenced = true;
        self.is_late = false;
        self.rumour = None;
        self.register.stop_asking();
        self.phase = Phase::Held(hold);
    }

    /// The generation that the witness has put in charge says that its guest runs: this one is not needed.
    pub(super) fn give_way(&mut self) {
        if let Phase::Held(Hold::Fenced { by }) = self.phase
            && self.rival >= by
            && self.config.has_witness
        {
            self.destroy(End::Superseded { generation: self.rival });
        }
    }

    pub(super) fn destroy(&mut self, why: End) {
        self.end_matching();
        self.phase = Phase::Ended;
        self.out.push(Output::Destroy { why });
    }

    /// Asks the witness about a newer generation that a peer has mentioned.
    fn pursue_rumour(&mut self) {
        let can_ask = self.register.is_connected() && !self.register.is_asking();
        match (&mut self.rumour, &mut self.phase) {
            (Some(rumour), phase) if phase.speaks() && can_ask => {
                let read = self.register.read(self.now);
                rumour.asked = Some(read.id());
                self.out.push(Output::AskWitness(read));
            }
            (_, Phase::Held(Hold::Rival { look_at, .. })) if can_ask && *look_at <= self.now => {
                *look_at = self.now + self.config.hold_max;
                self.out.push(Output::AskWitness(self.register.read(self.now)));
            }
            _ => {}
        }
    }
}

/// Without a witness only a person lets output out unprotected. A new session begins by a person's order or after its
/// peer's answer, and after a guest's end the peer is asked (`last_words`).
fn is_persons_word(why: GiveUp) -> bool {
    matches!(why, GiveUp::Wish | GiveUp::Beginning)
}
