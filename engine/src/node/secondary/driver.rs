//! The [`GuestDriver`] of a guest that is held here, until it is started.

use super::super::driver::{GuestDriver, HeldCopy, MadeWay, Started, Verdict, WitnessWord};
use super::super::fencing::{Held, Need};
use super::super::glance::Glance;
use super::super::new_primary::{self, NewPrimary};
use super::super::order_error::OrderError;
use super::super::{inbound::Inbound, leave, status};
use super::{Activation, SecondaryGuest};
use crate::config::FenceChoice;
use crate::control::status::Takeover;
use crate::control::{GuestRole, GuestStatus, Wish};
use crate::guest::{Committed, PreviousRun, ReadRequest, Report, RunningGuest, RuntimeId, Work};
use crate::node::context::Context;
use crossbeam::channel::Sender;
use std::time::Duration;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::{HoldReason, HoldRefusal};
use understudy_session::primary::Origin;
use understudy_session::secondary::{Input, State};
use understudy_session::{NodeName, Time};

impl GuestDriver for SecondaryGuest {
    fn peer(&self) -> &NodeName {
        &self.peer
    }

    fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    fn is_vacant(&self) -> bool {
        self.holds_nothing()
    }

    fn held(&self) -> Option<HeldCopy<'_>> {
        Some(HeldCopy { description: &self.description, is_whole: self.session.acked().is_some() })
    }

    fn glance(&self) -> Glance {
        Glance::Secondary {
            state: self.session.state(),
            generation: self.session.generation(),
            live_base: self.session.live_base(),
            is_halting: self.session.is_halting(),
        }
    }

    fn attach(&mut self, cx: &mut dyn Context) {
        self.attach(cx);
    }

    fn detach(&mut self, cx: &mut dyn Context) {
        self.detach(cx);
    }

    fn peer_gone(&mut self, cx: &mut dyn Context) {
        self.handle(Input::PrimaryGone, cx);
    }

    fn peer_alive(&mut self, cx: &mut dyn Context) {
        self.handle(Input::PrimaryAlive, cx);
    }

    fn hear(&mut self, from: &NodeName, what: Inbound, cx: &mut dyn Context) {
        if *from == self.peer {
            self.arrived(what, cx);
        }
    }

    fn witness(&mut self, word: WitnessWord, cx: &mut dyn Context) {
        let input = match word {
            WitnessWord::Up => Input::WitnessUp,
            WitnessWord::Down => Input::WitnessDown,
            WitnessWord::Reply(reply) => Input::Witness(reply),
        };
        self.handle(input, cx);
    }

    fn report(&mut self, report: Report, cx: &mut dyn Context) {
        self.report(report, cx);
    }

    fn run(&mut self, cx: &mut dyn Context) {
        // On a link without windows that its guests cannot keep up with, heartbeats wait among pages. For a guest that
        // has received anything, waiting bytes then count as the sign of life.
        if self.has_spoken && cx.is_held_back(&self.peer) {
            self.handle(Input::SignOfLife, cx);
        }
        self.run_timers(cx);
        self.run_copy(cx);
        self.pump(cx);
    }

    fn next_timeout(&self) -> Option<Time> {
        self.next_timeout()
    }

    fn successor(&mut self, cx: &mut dyn Context) -> Option<NewPrimary> {
        let RunningGuest { machine, source, output, past: _, compared_bytes } = self.started.take()?;
        let Some(Activation { record, epoch, authority_at, is_outdated }) = self.activation.take() else {
            new_primary::unexpected(&self.name, &machine, &output);
            self.broken = Some("it was started, and nobody had wanted that".into());
            return None;
        };
        let (name, peer) = (&self.name, &self.peer);
        let (detected_at, reason) = self.lost.unwrap_or((authority_at, "operator"));
        self.meter.took_over(reason);
        let takeover = Takeover {
            detected_at_ns: cx.monotonic_ns(detected_at),
            authority_at_ns: cx.monotonic_ns(authority_at),
            committed_at_ns: self.last_commit.map(|at| cx.monotonic_ns(at)),
            activated_at_ns: cx.monotonic_ns(cx.now()),
            first_frame_at_ns: None,
            from_epoch: epoch.0,
        };
        tracing::warn!(guest = %name, %epoch, generation = %record.generation, reason, "Took over");
        let origin = if is_outdated {
            // A person has given the guest to another host meanwhile: nothing leaves before the witness has decided.
            tracing::error!(guest = %name, %peer, "The other host speaks of a later generation than the one begun here");
            Origin::Outdated { generation: record.generation, next_epoch: epoch.next() }
        } else {
            Origin::TookOver { record, next_epoch: epoch.next() }
        };
        Some(NewPrimary {
            name: name.clone(),
            peer: peer.clone(),
            source,
            machine: Some(machine),
            output,
            origin,
            takeover: Some(takeover),
            pacing: None,
            mode: self.session.mode(),
            fence: if self.session.is_to_be_fenced() { FenceChoice::Enforce } else { FenceChoice::Off },
            compared_bytes,
        })
    }

    #[cfg(test)]
    fn fail(&mut self, cx: &mut dyn Context) {
        assert!(!self.call(|_| panic!("as the test says"), cx));
    }

    fn is_over(&self) -> bool {
        self.broken.is_some() || self.given_up.is_some()
    }

    fn end(self: Box<Self>) -> Option<HoldRefusal> {
        tracing::error!(guest = %self.name, why = self.broken, "Not held here any more");
        self.given_up.or(self.broken.map(|why| HoldRefusal::new(HoldReason::Internal, why)))
    }

    fn fencing_need(&self) -> Need {
        let takes_over = matches!(self.session.state(), State::TakingOver | State::Activating);
        match (self.session.is_to_be_fenced(), takes_over || self.session.awaits_fencing()) {
            (false, _) => Need::Nothing,
            (true, false) => Need::Renew,
            (true, true) => Need::Arm,
        }
    }

    fn lease_stands(&mut self, held: Held, trouble: Option<&str>, _cx: &mut dyn Context) {
        if self.session.awaits_fencing() {
            self.fence_words = match (held, trouble) {
                (Held::Armed, _) => {
                    format!("waits until {} is fenced: its lease has to run out first", self.peer)
                }
                (_, Some(why)) => format!("waits for this host's own watchdog: {why}"),
                (_, None) => "waits for this host's own watchdog".into(),
            };
        }
    }

    fn needs_fencing(&mut self) {
        self.session.needs_fencing();
    }

    fn awaits_fencing(&self) -> bool {
        self.session.awaits_fencing()
    }

    fn fenced(&mut self, cx: &mut dyn Context) {
        self.handle(Input::Fenced, cx);
    }

    fn consider(
        &mut self,
        peer: &NodeName,
        generation: Option<Generation>,
        description: &Description,
        cx: &mut dyn Context,
    ) -> Verdict {
        if self.peer != *peer {
            // An image is never given up because of a message from a host that it is not from.
            return match self.holds_nothing() {
                true => Verdict::Anew,
                false => Verdict::Taken(format!(
                    "holds the copy of a guest of this name that runs on {}",
                    self.peer
                )),
            };
        }
        if self.has_failed_before(generation) {
            let guest = &*self.name;
            tracing::info!(guest, %peer, "The guest runs there in a later generation; a copy of it is held anew");
            return Verdict::Anew;
        }
        self.attach(cx);
        let is_older = generation.is_some_and(|generation| generation < self.session.generation());
        if is_older || self.description == *description { Verdict::Kept } else { Verdict::Renew }
    }

    fn renew(&mut self, description: Description) {
        self.renew(description);
    }

    fn is_outrun(&self, peer: &NodeName, generation: Generation) -> bool {
        self.peer == *peer && self.has_failed_before(Some(generation))
    }

    fn make_way(&self, past: Option<PreviousRun>, offered: Option<Generation>) -> Option<MadeWay> {
        // Nothing is held of a guest that a peer only offers, so the guest that runs here is not its copy. If the
        // record names a copy here, whoever claims the guest corrects that. A primary that has spoken sends nothing
        // more once its offer is declined.
        let is_vacant = self.holds_nothing() && !self.is_newer_than(past, offered);
        is_vacant.then(|| MadeWay { is_wished: true, rival: self.session.heard_from() })
    }

    // A link alone says nothing of the guest: its host may have come back without it.
    fn is_forgettable(&self) -> bool {
        !self.has_spoken && self.session.has_nothing_here()
    }

    fn heard_from(&self) -> Option<Generation> {
        self.session.heard_from()
    }

    fn is_full(&self) -> bool {
        SecondaryGuest::is_full(self)
    }

    fn wish(&mut self, wish: Wish, _has_witness: bool, cx: &mut dyn Context) -> Result<(), OrderError> {
        let guest = self.name.to_string();
        if wish != Wish::ForceTakeover {
            return Err(OrderError::RunsElsewhere { guest, peer: self.peer.clone() });
        }
        if let Some(why) = self.defect_reason() {
            return Err(OrderError::Defect { guest, why });
        }
        if self.session.is_to_be_fenced() {
            return Err(OrderError::NeedsFencing { guest, peer: self.peer.clone() });
        }
        if self.session.committed().is_none() {
            return Err(OrderError::NoCopy(guest));
        }
        self.lost = Some((cx.now(), "operator"));
        self.handle(Input::ForceTakeover, cx);
        Ok(())
    }

    fn status(&mut self, now: Time, has_witness: bool) -> GuestStatus {
        let mut status =
            status::blank(&self.name, GuestRole::Secondary, &self.peer, self.session.state().into());
        self.measure();
        self.meter.fill(&mut status);
        self.fill(&mut status, now, has_witness);
        status
    }

    fn measure(&mut self) {
        self.measure();
    }

    fn copy(&self, to: Sender<Option<Committed>>) -> bool {
        self.replica_thread.offer(Work::Copy(to)).is_ok()
    }

    fn read(&self, request: ReadRequest) -> bool {
        self.replica_thread.offer(Work::Read(request)).is_ok()
    }

    fn leave(&mut self) {}

    fn is_being_started(&self) -> bool {
        SecondaryGuest::is_being_started(self)
    }

    fn started(&self, report: Report) -> Started {
        match report {
            Report::Activated { guest } => {
                let generation = self.activation.as_ref().map(|activation| activation.record.generation);
                leave::hold_still(&self.name, generation, &guest);
                Started::Kept
            }
            Report::ActivationDelayed { error }
            | Report::ActivationFailed { error }
            | Report::Panicked { message: error, .. } => {
                self.cannot_start(&error);
                Started::Failed
            }
            _ => Started::NotYet,
        }
    }

    fn close(self: Box<Self>, time_max: Duration) -> bool {
        self.replica_thread.end(time_max)
    }
}
