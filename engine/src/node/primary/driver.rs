//! The [`GuestDriver`] of a guest that runs here.

use super::super::driver::{GuestDriver, MadeWay, MakeThreads, Verdict, WitnessWord};
use super::super::fencing::{Held, Need};
use super::super::glance::Glance;
use super::super::order_error::OrderError;
use super::super::replay_stats::ReplayStats;
use super::super::{inbound::Inbound, status};
use super::{Over, PrimaryGuest};
use crate::config::{ConfigError, FindChanges, PacingSettings};
use crate::control::{GuestRole, GuestState, GuestStatus, Wish};
use crate::guest::{PreviousRun, Report, RuntimeId};
use crate::node::context::Context;
use understudy_checkpoint::Generation;
use understudy_checkpoint::domain::Description;
use understudy_link::HoldRefusal;
use understudy_session::primary::{self, Input, Pacing, State};
use understudy_session::{Mode, NodeName, Time};

impl GuestDriver for PrimaryGuest {
    fn peer(&self) -> &NodeName {
        &self.peer
    }

    fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    fn is_vacant(&self) -> bool {
        self.has_ended()
    }

    fn glance(&self) -> Glance {
        Glance::Primary {
            state: self.session.state(),
            generation: self.session.generation(),
            in_flight: self.session.in_flight(),
            wished: self.session.is_protection_wished(),
            committed_at: self.last_commit,
            live_base: self.session.live_base(),
        }
    }

    fn attach(&mut self, cx: &mut dyn Context) {
        self.attach(cx);
    }

    fn detach(&mut self, cx: &mut dyn Context) {
        self.detach(cx);
    }

    fn hear(&mut self, from: &NodeName, what: Inbound, cx: &mut dyn Context) {
        match what {
            // A peer that speaks as the primary of this guest is a rival.
            Inbound::ToSecondary(message) => {
                self.handle(Input::Rival { generation: message.generation() }, cx);
            }
            _ if *from != self.peer => {}
            Inbound::ToPrimary(message) => self.handle(Input::Message(message), cx),
            Inbound::Packets(packets) => self.copy_says(packets, cx),
            Inbound::DiskSay { generation, epoch, say } if generation == self.session.generation() => {
                if let Some(disk) = self.participants.disk() {
                    disk.hear(epoch, &say);
                }
            }
            Inbound::Declined(refusal) => self.declined(refusal, cx),
            Inbound::Ready => self.attach(cx),
            _ => {}
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
        self.run_timers(cx);
    }

    fn next_timeout(&self) -> Option<Time> {
        self.next_timeout()
    }

    fn mend(&mut self, make: &mut MakeThreads<'_>, cx: &mut dyn Context) {
        let Some(source) = self.source_to_mend_with(cx.now()) else { return };
        match make(source, self.description.page_count, self.participants.clone()) {
            Ok((runtime, protector)) => self.mended(runtime, protector, cx),
            Err(error) => self.mend_later(&error.to_string(), cx.now()),
        }
    }

    #[cfg(test)]
    fn fail(&mut self, cx: &mut dyn Context) {
        assert!(!self.call(|_| panic!("as the test says"), cx));
    }

    fn is_over(&self) -> bool {
        self.over.is_some()
    }

    fn end(self: Box<Self>) -> Option<HoldRefusal> {
        PrimaryGuest::end(&self);
        let guest = &*self.name;
        match &self.over {
            Some(Over::Broken(why)) => tracing::error!(guest, why, "Ended here"),
            Some(why) => tracing::warn!(guest, %why, "Ended here"),
            None => {}
        }
        None
    }

    fn fencing_need(&self) -> Need {
        // The record says stale for certain, and a person wants no protection: nobody can take the guest over.
        let is_let_go = self.session.state() == State::Unprotected && !self.session.is_protection_wished();
        if self.has_ended() || is_let_go { Need::Nothing } else { self.fence.need() }
    }

    fn lease_stands(&mut self, held: Held, trouble: Option<&str>, cx: &mut dyn Context) {
        PrimaryGuest::lease_stands(self, held, trouble, cx);
    }

    fn consider(
        &mut self,
        _peer: &NodeName,
        _generation: Option<Generation>,
        _description: &Description,
        _wires: &mut dyn Context,
    ) -> Verdict {
        if self.has_ended() { Verdict::Anew } else { Verdict::Taken("runs a guest of this name".into()) }
    }

    fn make_way(&self, _past: Option<PreviousRun>, _offered: Option<Generation>) -> Option<MadeWay> {
        let is_wished = self.session.is_protection_wished();
        self.has_ended().then_some(MadeWay { is_wished, rival: None })
    }

    fn take_output(&mut self, into: &mut Vec<Vec<u8>>, now_ns: u64) {
        let before = into.len();
        self.output.take_into(into);
        if into.len() > before
            && let Some(takeover) = &mut self.takeover
        {
            takeover.first_frame_at_ns.get_or_insert(now_ns);
        }
    }

    fn deliver(&self, frame: &[u8]) {
        if let Some(machine) = &self.machine {
            machine.deliver(frame);
        }
    }

    fn notify(&self) {
        self.machine.iter().for_each(|machine| machine.notify());
    }

    fn wish(&mut self, wish: Wish, has_witness: bool, cx: &mut dyn Context) -> Result<(), OrderError> {
        let (guest, state) = (self.name.to_string(), self.session.state());
        if let Some(why) = self.defect_reason() {
            return Err(OrderError::Defect { guest, why });
        }
        let wished = match wish {
            Wish::Protect => primary::Wish::Protect,
            Wish::Unprotect => primary::Wish::Unprotect,
            Wish::Switchover if state != State::Protected => {
                return Err(OrderError::NotProtected { guest, why: self.reason(has_witness) });
            }
            Wish::Switchover => primary::Wish::Switchover,
            Wish::Reclaim | Wish::Discard if !self.session.awaits_person() => {
                return Err(OrderError::NotAwaited { guest, state: GuestState::from(state).words() });
            }
            Wish::Reclaim if has_witness && !cx.is_witness_up() => return Err(OrderError::NoWitness),
            Wish::Reclaim => primary::Wish::Reclaim,
            Wish::Discard => primary::Wish::Discard,
            Wish::ForceTakeover => return Err(OrderError::RunsHere(guest)),
        };
        self.handle(Input::Operator(wished), cx);
        if wish == Wish::Unprotect {
            self.waive_mark();
        }
        Ok(())
    }

    fn set_pacing(
        &mut self,
        wished: PacingSettings,
        of_node: Pacing,
        cx: &mut dyn Context,
    ) -> Result<(), ConfigError> {
        if wished.is_empty() {
            return Ok(());
        }
        // A budget that is left out stays.
        let below = match self.session.pacing() {
            Pacing::Output(budgets) => Pacing::Output(budgets),
            Pacing::Clock { .. } => of_node,
        };
        self.handle(Input::Pacing(wished.decide(below)?), cx);
        Ok(())
    }

    fn set_mode(&mut self, mode: Mode, cx: &mut dyn Context) -> Result<(), OrderError> {
        if let Some(obstacle) = self.copy.obstacle().filter(|_| mode == Mode::Colo) {
            return Err(OrderError::NoLiveCopy { guest: self.name.to_string(), obstacle });
        }
        PrimaryGuest::set_mode(self, mode, cx);
        Ok(())
    }

    fn finds_changes(&self, how: FindChanges) -> bool {
        (self.compared_bytes > 0) == (how == FindChanges::Compare)
    }

    fn status(&mut self, now: Time, has_witness: bool) -> GuestStatus {
        let mut status =
            status::blank(&self.name, GuestRole::Primary, &self.peer, self.session.state().into());
        self.measure();
        self.meter.fill(&mut status);
        self.fill(&mut status, now, has_witness);
        status
    }

    fn measure(&mut self) {
        self.measure();
    }

    fn replay_stats(&self) -> Option<ReplayStats> {
        Some(self.replay_stats.clone())
    }

    fn leave(&mut self) {
        self.leave();
    }
}
