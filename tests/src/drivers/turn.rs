//! The results of an engine's iteration: messages are sent, frames leave, work goes on the agenda, and changes become
//! facts.

use super::cluster::Cluster;
use super::context::Said;
use super::events::Event;
use super::facts::Fact;
use super::faults::Moment;
use super::frame::Frame;
use super::host::Item;
use super::mutant::Mutant;
use super::names;
use super::network::{LINK, Wire, witness_channel};
use super::{GuestId, HostId};
use understudy::guest::SteppedReplica;
use understudy::node::Glance;
use understudy_checkpoint::Generation;
use understudy_session::primary::State;
use understudy_session::secondary;
use understudy_session::{Copy, Span, WitnessOutcome, WitnessReply, WitnessRequest};

impl Cluster {
    /// Passes an event to an engine, and handles the results.
    pub(super) fn turn(&mut self, at: HostId, item: Item) {
        self.note(at, || format!("◄ {item:?}"));
        let now = self.now;
        let host = &mut self.hosts[at];
        let Some(engine) = &mut host.engine else { return };
        engine.turn(now, at, item, &mut host.harm);
        for guest in 0..self.settings.guests {
            self.look(at, guest);
        }
        self.send_said(at);
        self.look_at_watchdog(at);
        self.let_frames_leave(at);
        self.schedule(at);
    }

    /// The witness's reply reaches a host.
    pub(super) fn told(&mut self, at: HostId, guest: GuestId, mut reply: WitnessReply) {
        let told = reply.record.clone();
        if self.mutant == Some(Mutant::TrustRead) {
            self.pretend(at, guest, &mut reply);
        }
        self.hosts[at].told[guest] = reply.record.clone();
        self.turn(at, Item::Reply(guest, reply));
        let asks = matches!(self.hosts[at].seen[guest], Some(Glance::Primary { state: State::Claiming, .. }));
        // A claim that an engine before this one won, and died before it noted the generation: the host's own.
        if let Some(record) = told.filter(|record| !(asks && record.owner == names::name(at))) {
            self.state_fact(guest, &Fact::Learnt { host: at, generation: record.generation });
        }
    }

    /// Turns a change of an engine's view of a guest into facts.
    fn look(&mut self, at: HostId, guest: GuestId) {
        let glance = self.hosts[at].glance(guest);
        let before = std::mem::replace(&mut self.hosts[at].seen[guest], glance);
        if glance == before {
            return;
        }
        match glance {
            Some(Glance::Primary { state, generation, live_base, .. }) => {
                self.moment(Moment::Primary(state));
                let was_live = matches!(before, Some(Glance::Primary { live_base: Some(_), .. }));
                if live_base.is_some() && !was_live {
                    self.moment(Moment::Matches);
                }
                if matches!(state, State::Arming | State::Protected) {
                    self.state_fact(guest, &Fact::Followed { generation });
                }
                // A guest that ended just then had been begun in the same turn, and has said its last.
                if has_authority(state) || state == State::Ended && generation > Generation(0) {
                    self.is_run_as(at, guest, generation);
                }
            }
            Some(Glance::Secondary { state, live_base, is_halting, .. }) => {
                self.moment(Moment::Secondary(state));
                self.say_how_it_stands(at, guest, before, state);
                let (was_live, was_halting) = match before {
                    Some(Glance::Secondary { live_base, is_halting, .. }) => {
                        (live_base.is_some(), is_halting)
                    }
                    _ => (false, false),
                };
                if live_base.is_some() && !was_live {
                    self.moment(Moment::CopyLives);
                }
                if is_halting && !was_halting {
                    self.moment(Moment::CopyHalts);
                }
                if state == secondary::State::Alone && self.mutant == Some(Mutant::TakeoverWithoutPerson) {
                    self.agenda.add(self.now, Event::TakesOverAlone { host: at, guest });
                }
            }
            None => {}
        }
        let gave_way = |now: Option<Glance>| match now {
            Some(Glance::Primary { state, .. }) => is_held(state),
            _ => true,
        };
        if let Some(Glance::Primary { generation, state, .. }) = before
            && !is_held(state)
            && gave_way(glance)
        {
            self.gives_way(at, guest, generation);
        }
    }

    /// For the judge of how long is waited.
    fn say_how_it_stands(
        &mut self,
        host: HostId,
        guest: GuestId,
        before: Option<Glance>,
        now: secondary::State,
    ) {
        let before = match before {
            Some(Glance::Secondary { state, .. }) if state == now => return,
            Some(Glance::Secondary { state, .. }) => Some(state),
            _ => None,
        };
        match now {
            secondary::State::Standing => self.state_fact(guest, &Fact::Stands { host }),
            // From a takeover that came to nothing it goes on waiting.
            secondary::State::Alone if before != Some(secondary::State::TakingOver) => {
                self.state_fact(guest, &Fact::Lone { host });
            }
            secondary::State::TakingOver => self.state_fact(guest, &Fact::TakesOver { host }),
            _ => {}
        }
    }

    /// A primary session has got the authority over a guest.
    fn is_run_as(&mut self, at: HostId, guest: GuestId, generation: Generation) {
        let Some(domain) = self.hosts[at].yard.get().domains[guest].clone() else { return };
        let (before, is_anew) = {
            let mut domain = domain.get();
            domain.stamp = generation;
            let life = std::mem::replace(&mut domain.run_by, self.hosts[at].life);
            (std::mem::replace(&mut domain.generation, generation), life != self.hosts[at].life)
        };
        if before == Generation(0) {
            self.state_fact(guest, &Fact::Began { host: at, generation });
        } else if is_anew || before != generation {
            self.state_fact(guest, &Fact::Adopted { host: at, generation });
        }
    }

    /// A primary session has ended.
    fn gives_way(&mut self, at: HostId, guest: GuestId, generation: Generation) {
        let newer = self.hosts[at].told[guest].as_ref().is_some_and(|told| told.generation > generation);
        if !newer {
            return;
        }
        self.moment(Moment::Primary(State::Fenced));
        self.state_fact(guest, &Fact::Fenced { host: at, generation });
        let domain = self.hosts[at].yard.get().domains[guest].clone();
        let Some(domain) = domain.filter(|domain| domain.get().generation == generation) else { return };
        match self.mutant {
            Some(Mutant::FencedRuns) => {
                let mut domain = domain.get();
                (domain.gone, domain.paused, domain.suspended) = (false, false, false);
            }
            Some(Mutant::FencedReleases) => {
                domain.get().gone = false;
                let output = self.hosts[at].outputs_for_mutants();
                domain.get().output = output.clone();
                output.pass();
                domain.get().step(1);
                let mut frames: Vec<Vec<u8>> = Vec::new();
                output.take_into(&mut frames);
                domain.get().gone = true;
                for frame in frames {
                    self.leaves(at, Frame::from_bytes(&frame));
                }
            }
            Some(Mutant::FenceDestroys) => domain.get().gone = true,
            _ => {}
        }
    }

    fn send_said(&mut self, at: HostId) {
        for said in self.hosts[at].said() {
            match said {
                Said::Frame(bytes) => {
                    // A gigabit, and what a small frame costs anyway.
                    let transfer = Span::from_us(2 + bytes.len() as u64 / 125);
                    self.send(LINK, at, Wire::Frame(bytes), transfer);
                }
                Said::CloseLink => self.close(LINK, at),
                Said::Ack(guest, generation, epoch) => {
                    self.wrong_ack(at, guest, generation, epoch);
                    let could_start = self.hosts[at].could_start(guest);
                    self.state_fact(guest, &Fact::AckSent { generation, epoch, could_start });
                }
                Said::Told(guest, generation, base, frames) => {
                    for frame in frames {
                        self.state_fact(guest, &Fact::Told { generation, base, frame });
                    }
                }
                Said::Ask(guest, request) => self.asks(at, guest, request),
                Said::AskLease(of, request) => {
                    self.note(at, || format!("  ► lease of {of}: {request:?}"));
                    self.send(witness_channel(at), at, Wire::LeaseRequest(of, request), Span(0));
                }
            }
        }
    }

    fn asks(&mut self, at: HostId, guest: GuestId, request: WitnessRequest) {
        self.note(at, || format!("  ► {request:?}"));
        let runs = matches!(self.hosts[at].seen[guest], Some(Glance::Primary { .. }));
        if let WitnessRequest::Swap { id, new, .. } = &request {
            let takes_over = !runs && new.owner == names::name(at);
            if takes_over && self.mutant == Some(Mutant::TakeoverWithoutWitness) {
                let reply =
                    WitnessReply { id: *id, outcome: WitnessOutcome::Swapped, record: Some(new.clone()) };
                return self.turn(at, Item::Reply(guest, reply));
            }
            if runs && new.copy == Copy::Stale && self.mutant == Some(Mutant::PassBeforeStale) {
                if let Some(domain) = &self.hosts[at].yard.get().domains[guest] {
                    domain.get().output.pass();
                }
                self.let_frames_leave(at);
            }
        }
        let trusts = runs && self.mutant == Some(Mutant::TrustRead);
        let request = if trusts { self.trusting(at, guest, request) } else { request };
        self.send(witness_channel(at), at, Wire::Request(guest, request), Span(0));
    }

    /// For a mutant: a record that is seen as stale need not be swapped. Counts the swaps that it only pretends, so
    /// that the session does not notice.
    fn trusting(&self, at: HostId, guest: GuestId, request: WitnessRequest) -> WitnessRequest {
        let told = self.hosts[at].told[guest].as_ref();
        let seen_stale = told.is_some_and(|record| record.copy == Copy::Stale);
        let pretended = self.hosts[at].pretended[guest];
        match request {
            WitnessRequest::Swap { id, new, .. }
                if new.copy == Copy::Stale && seen_stale && self.has_begun(at, guest) =>
            {
                WitnessRequest::Read { id }
            }
            WitnessRequest::Swap { id, expect, mut new } => {
                new.revision -= pretended;
                WitnessRequest::Swap { id, expect: expect - pretended, new }
            }
            read => read,
        }
    }

    fn pretend(&mut self, at: HostId, guest: GuestId, reply: &mut WitnessReply) {
        let begun = self.has_begun(at, guest);
        let host = &mut self.hosts[at];
        if !matches!(host.seen[guest], Some(Glance::Primary { .. })) {
            return;
        }
        let Some(record) = &mut reply.record else { return };
        if reply.outcome == WitnessOutcome::Told && begun && record.copy == Copy::Stale {
            host.pretended[guest] += 1;
            (reply.outcome, record.revision) = (WitnessOutcome::Swapped, record.revision);
        }
        record.revision += host.pretended[guest];
    }

    fn has_begun(&self, at: HostId, guest: GuestId) -> bool {
        matches!(self.hosts[at].seen[guest], Some(Glance::Primary { state, .. }) if has_authority(state))
    }

    /// The guest runs a step, and sometimes sends a frame.
    pub(super) fn step(&mut self, at: HostId, guest: GuestId, id: u64) {
        let chance = self.rng.bits();
        let Some(domain) = self.hosts[at].yard.get().domains[guest].clone() else { return };
        let mut it = domain.get();
        if it.id != id || it.gone {
            return;
        }
        let loses_bits = it.runs() && it.step(chance);
        let leaked = std::mem::take(&mut it.leaked);
        let answers = it.card.is_some();
        drop(it);
        let steps = self.state_steps(at, guest, &domain);
        if loses_bits {
            self.state_fact(guest, &Fact::BitsLost);
        }
        leaked.into_iter().for_each(|frame| self.leaks(at, frame));
        let hangs = self.nodes[at].hangs_until > self.now;
        if self.hosts[at].engine.is_some() && !hangs && (steps > 0 || !answers) {
            self.turn(at, Item::Nothing);
        }
        self.step_later(at, guest, id);
    }

    pub(super) fn step_later(&mut self, host: HostId, guest: GuestId, id: u64) {
        // What a guest says while its dom0 hangs is held by nobody who could say that it is too much.
        let hangs = self.nodes[host].hangs_until > self.now;
        let pause = if hangs { self.rng.span_us(30_000, 90_000) } else { self.rng.span_us(500, 5_000) };
        self.agenda.add(self.now + pause, Event::Step { host, guest, id });
    }

    /// A frame bypasses the queue. The engine learns of it soon.
    fn leaks(&mut self, at: HostId, frame: Frame) {
        self.left_at[frame.guest] = self.now;
        let is_seen_to = matches!(self.hosts[at].glance(frame.guest), Some(Glance::Primary { .. }));
        let domain = self.hosts[at].yard.get().domains[frame.guest].clone();
        let breaches = domain.map_or(0, |domain| domain.get().breaches);
        let breach = is_seen_to.then_some((at, self.hosts[at].life, breaches));
        self.state_fact(frame.guest, &Fact::Leaked { frame, breach });
        if self.mutant != Some(Mutant::BreachUnnoticed) {
            let pause = self.rng.span_us(10, 3_000);
            self.agenda.add(self.now + pause, Event::BreachIsSeen { host: at, guest: frame.guest });
        }
    }

    pub(super) fn breach_is_seen(&mut self, at: HostId, guest: GuestId) {
        if let Some(domain) = &self.hosts[at].yard.get().domains[guest] {
            domain.get().output.breach();
        }
        self.turn(at, Item::Nothing);
    }

    pub(super) fn let_frames_leave(&mut self, at: HostId) {
        for mut frame in self.hosts[at].leaving() {
            if frame.generation == Generation(0)
                && let Some(domain) = &self.hosts[at].yard.get().domains[frame.guest]
            {
                // It was made before the claim and leaves by it.
                frame.generation = domain.get().generation;
            }
            self.leaves(at, frame);
        }
    }

    fn leaves(&mut self, _at: HostId, frame: Frame) {
        self.left_at[frame.guest] = self.now;
        self.state_fact(frame.guest, &Fact::Left(frame));
    }

    /// Schedules what was put on the bench.
    pub(super) fn schedule(&mut self, at: HostId) {
        let Some(engine) = &self.hosts[at].engine else { return };
        let (life, bench) = (self.hosts[at].life, engine.bench.clone());
        let mut bench = bench.get();
        for (slot, capturing) in bench.captures.iter_mut().enumerate() {
            let Some(capturing) = capturing.as_mut().filter(|it| !it.scheduled && !it.orders.is_empty())
            else {
                continue;
            };
            capturing.scheduled = true;
            let pause = super::work::pause_of(&capturing.orders[0], &mut self.rng);
            self.agenda.add(self.now + pause, Event::Captures { host: at, life, slot });
        }
        for (slot, holding) in bench.replicas.iter_mut().enumerate() {
            if let Some(holding) = holding
                && holding.work.as_ref().is_some_and(SteppedReplica::is_setting)
                && !std::mem::replace(&mut holding.sets_scheduled, true)
            {
                let takes = self.rng.span_us(100, 8_000);
                let from = self.now.max(self.hosts[at].receives_from[holding.guest]);
                self.agenda.add(from + takes, Event::Sets { host: at, life, slot });
            }
            let Some(holding) = holding.as_mut().filter(|it| !it.scheduled && !it.waiting.is_empty()) else {
                continue;
            };
            holding.scheduled = true;
            let slow = &mut self.hosts[at].activation_slow;
            let takes = super::work::time_of(&holding.waiting[0], &mut self.rng, slow);
            let from = self.now.max(self.hosts[at].receives_from[holding.guest]);
            self.agenda.add(from + takes, Event::Works { host: at, life, slot });
        }
    }
}

/// Whether a primary session in this state has authority over its guest.
fn has_authority(state: State) -> bool {
    let asks =
        matches!(state, State::Asking | State::AwaitingOperator | State::Claiming | State::ClaimRefused);
    !asks && !is_held(state) && state != State::Ended
}

/// Whether the guest is kept paused because of another host's message.
fn is_held(state: State) -> bool {
    matches!(state, State::Fenced | State::Contested)
}
