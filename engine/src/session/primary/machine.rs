//! What a primary does next: `advance` looks at what is known and takes every step that is due. Inputs only
//! change what is known (see `inputs`), so that the order in which they come does not matter.

use super::super::register::{Known, Register};
use super::super::{Copy, EpochKind, Record, Span, Time, ToSecondary, WitnessRequest};
use super::flow::Flow;
use super::link::{Link, Peer};
use super::phase::{GiveUp, Handover, Phase};
use super::{Capture, Config, Event, Loss, Origin, Output, SlowPolicy, State};
use understudy_checkpoint::{Epoch, Generation};

/// The session of one guest on the host that runs it.
#[derive(Debug)]
pub struct Primary {
    pub(super) config: Config,
    pub(super) register: Register,
    pub(super) generation: Generation,
    pub(super) phase: Phase,
    pub(super) link: Link,
    pub(super) flow: Flow,
    /// The guest is suspended by `PauseGuest` or by a capture that left it so.
    pub(super) guest_halted: bool,
    /// It was taken over a moment ago; no copy is made yet.
    pub(super) guest_settles: bool,
    pub(super) protection_wished: bool,
    stretch_reported: bool,
    state_reported: Option<State>,
    /// Due once, right after the beginning.
    first_timeout: Option<Time>,
}

impl Primary {
    /// A session that begins at `now`. Its first timeout is due at once.
    pub fn new(config: Config, origin: Origin, now: Time) -> Self {
        let beginning = Phase::MarkingStale { why: GiveUp::Beginning, since: now };
        let (adopted, guest_halted) = match origin {
            Origin::Adopted { generation, is_halted } => (Some(generation), is_halted),
            Origin::Started | Origin::TookOver { .. } => (None, false),
        };
        let guest_settles = matches!(origin, Origin::TookOver { .. });
        let (known, phase, next_epoch) = match origin {
            Origin::TookOver { record, next_epoch } => (Known::Is(record), beginning, next_epoch),
            Origin::Started | Origin::Adopted { .. } if config.has_witness => {
                (Known::Unknown, Phase::Claiming { claim: None, adopted }, Epoch(0))
            }
            Origin::Started | Origin::Adopted { .. } => {
                (Known::Is(unwitnessed_record(&config)), beginning, Epoch(0))
            }
        };
        let register = Register::new(config.witness_retry, known);
        Self {
            generation: register.record().map_or(Generation(0), |record| record.generation),
            flow: Flow::new(config.interval, config.in_flight_max, next_epoch, now),
            config,
            register,
            phase,
            link: Link::Down,
            guest_halted,
            guest_settles,
            protection_wished: true,
            stretch_reported: false,
            state_reported: None,
            first_timeout: Some(now),
        }
    }

    /// What `status` shows.
    pub fn state(&self) -> State {
        self.phase.state(self.guest_halted)
    }

    /// The generation this session runs the guest in; 0 until it is claimed.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The newest acked epoch of the present copy.
    pub fn acked(&self) -> Option<Epoch> {
        self.flow.acked()
    }

    /// Whether the operator wants the guest protected.
    pub fn is_protection_wished(&self) -> bool {
        self.protection_wished
    }

    /// Whether the session waits for [`GuestSettled`](super::Input::GuestSettled).
    pub fn guest_settles(&self) -> bool {
        self.guest_settles
    }

    /// From the end of one pause to the beginning of the next, when nothing slows the loop.
    pub fn interval(&self) -> Span {
        self.flow.interval()
    }

    /// The newest captured epoch of the present copy.
    pub fn newest_captured(&self) -> Option<Epoch> {
        self.flow.newest_captured()
    }

    /// Epochs captured and not acked.
    pub fn in_flight(&self) -> usize {
        self.flow.in_flight()
    }

    /// The witness's record, as far as it has been told.
    pub fn record(&self) -> Option<&Record> {
        self.register.record()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.phase.is_over() {
            return None;
        }
        let heartbeat = if self.is_claimed() { self.link.heartbeat_at(self.config.heartbeat) } else { None };
        let times = [
            self.first_timeout,
            heartbeat,
            self.link.silent_at(self.config.silence_max),
            self.register.next_timeout(),
            self.capture_at(),
            self.slow_at(),
            self.phase_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.phase.is_over() {
            return;
        }
        self.first_timeout = None;
        if self.link.silent_at(self.config.silence_max).is_some_and(|at| at <= now) {
            out.push(Output::CloseLink);
            self.link_lost(Loss::Silent, now, out);
        }
        if self.is_claimed() && self.link.heartbeat_at(self.config.heartbeat).is_some_and(|at| at <= now) {
            self.beat(now, out);
        }
        ask(self.register.on_timeout(now), out);
        if self.slow_at().is_some_and(|at| at <= now) {
            out.push(Output::Report(Event::TooSlow));
            self.give_up(GiveUp::TooSlow, now);
        }
        self.finish(now, out);
    }

    /// Takes the steps that are due and reports where that led.
    pub(super) fn finish(&mut self, now: Time, out: &mut Vec<Output>) {
        self.advance(now, out);
        let state = self.state();
        if self.state_reported.replace(state) != Some(state) {
            out.push(Output::Report(Event::State(state)));
        }
    }

    fn advance(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Phase::LinkLost { decide_at } = self.phase
            && decide_at <= now
        {
            self.give_up(GiveUp::PeerLost, now);
        }
        match &self.phase {
            Phase::Claiming { .. } => self.claim(now, out),
            Phase::Arming => self.arm(now, out),
            Phase::SwitchingOver(Handover::Closing { ends_at, .. }) if *ends_at <= now => {
                self.call_off_switchover(out);
            }
            Phase::SwitchingOver(Handover::Asked { decide_at }) if *decide_at <= now => {
                self.give_up(GiveUp::Declined, now);
            }
            _ => {}
        }
        if let Phase::MarkingStale { why, since } = self.phase {
            self.mark_stale(why, since, now, out);
        }
        if let Phase::Unprotected { .. } = self.phase {
            self.offer(now, out);
        }
        self.capture(now, out);
    }

    /// Asks the witness for a guest that was started here.
    fn claim(&mut self, now: Time, out: &mut Vec<Output>) {
        let Phase::Claiming { claim, adopted } = &self.phase else { return };
        let adopted = *adopted;
        let generation = match self.register.known() {
            Known::Unknown => return,
            Known::Absent => Generation(1),
            Known::Is(record) if claim.as_ref() == Some(record) => {
                self.generation = record.generation;
                return self.give_up(GiveUp::Beginning, now);
            }
            Known::Is(record) if record.owner == self.config.node && record.copy == Copy::Stale => {
                record.generation.next()
            }
            // The holder of the copy may take over at any moment; which swap wins decides.
            Known::Is(record) if record.owner == self.config.node && adopted == Some(record.generation) => {
                let generation = record.generation;
                let request = self.register.propose(now, generation, &self.config.node, Copy::Stale);
                return ask(request, out);
            }
            Known::Is(record) => {
                out.push(Output::Report(Event::ClaimRefused { record: record.clone() }));
                self.phase = Phase::Ended;
                return;
            }
        };
        let request = self.register.propose(now, generation, &self.config.node, Copy::Stale);
        if let Some(proposal) = self.register.proposal() {
            self.phase = Phase::Claiming { claim: Some(proposal.clone()), adopted };
        }
        ask(request, out);
    }

    /// Makes the record say that the peer's copy may take over.
    fn arm(&mut self, now: Time, out: &mut Vec<Output>) {
        let fresh = Copy::Fresh { holder: self.config.peer.clone() };
        if !self.config.has_witness {
            self.register.decide_alone(fresh.clone());
        }
        if self.register.is_final(&fresh) {
            self.phase = Phase::Protected;
            return;
        }
        let request = self.register.propose(now, self.generation, &self.config.node, fresh);
        ask(request, out);
    }

    /// Makes the record say that no copy may take over, then lets output pass. While neither the witness nor
    /// the peer helps, output is held; after `hold_max` the guest is.
    fn mark_stale(&mut self, why: GiveUp, since: Time, now: Time, out: &mut Vec<Output>) {
        if !self.config.has_witness && is_persons_word(why) {
            self.register.decide_alone(Copy::Stale);
        }
        if self.register.is_final(&Copy::Stale) {
            if self.flow.capturing().is_none() {
                self.go_unprotected(why, now, out);
            } else if self.flow.abort() {
                out.push(Output::AbortCapture);
            }
            return;
        }
        if self.config.has_witness {
            let request = self.register.propose(now, self.generation, &self.config.node, Copy::Stale);
            ask(request, out);
        }
        if self.hold_ends_at(since).is_some_and(|at| at <= now) {
            self.guest_halted = true;
            out.push(Output::PauseGuest);
        }
    }

    /// The copy is stale for sure: everything may leave.
    fn go_unprotected(&mut self, why: GiveUp, now: Time, out: &mut Vec<Output>) {
        self.register.stop_asking();
        self.flow.forget();
        out.push(Output::PassOutput);
        if why == GiveUp::GuestGone {
            self.send(ToSecondary::Farewell { generation: self.generation }, now, out);
            self.phase = Phase::Ended;
            return;
        }
        self.resume(out);
        if why == GiveUp::Wish {
            self.send(ToSecondary::Farewell { generation: self.generation }, now, out);
        }
        if self.link.peer() == Some(Peer::Following) {
            self.link.set_peer(Peer::Present);
        }
        let wait = matches!(why, GiveUp::SeedFailed | GiveUp::TooSlow | GiveUp::Leak);
        let seed_at = if wait { now + self.config.reseed_after } else { now };
        self.phase = Phase::Unprotected { seed_at };
    }

    /// Introduces this generation on a link that has not heard of it.
    pub(super) fn offer(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.is_claimed() && self.link.peer() == Some(Peer::Unasked) {
            self.link.set_peer(Peer::Offered);
            self.beat(now, out);
        }
    }

    /// A sign of life. An offer is repeated until it is answered: it may have met an older generation's primary,
    /// which gave way to a secondary that knows nothing of it.
    fn beat(&mut self, now: Time, out: &mut Vec<Output>) {
        let generation = self.generation;
        let message = match self.link.peer() {
            Some(Peer::Offered) => ToSecondary::Offer { generation, acked: self.flow.acked() },
            _ => ToSecondary::Heartbeat { generation },
        };
        self.send(message, now, out);
    }

    /// Begins the capture that is due, if any.
    fn capture(&mut self, now: Time, out: &mut Vec<Output>) {
        let stretched = self.is_flowing() && self.flow.is_stretched(now);
        if stretched && !self.stretch_reported {
            out.push(Output::Report(Event::Stretched));
        }
        self.stretch_reported = stretched;
        if self.capture_at().is_none_or(|at| at > now) {
            return;
        }
        let closing = matches!(self.phase, Phase::SwitchingOver(Handover::Waiting));
        let (epoch, capture) = match self.phase {
            Phase::Unprotected { .. } => (self.flow.begin_seed(), Capture::Seed),
            _ => self.flow.begin_checkpoint(closing),
        };
        match self.phase {
            Phase::Unprotected { .. } => {
                self.link.set_peer(Peer::Following);
                self.phase = Phase::Seeding { epoch };
                out.push(Output::Report(Event::Sending { kind: EpochKind::Seed }));
            }
            Phase::SwitchingOver(_) => {
                let ends_at = now + self.config.hold_max;
                self.phase = Phase::SwitchingOver(Handover::Closing { epoch, ends_at });
            }
            _ => {}
        }
        if matches!(capture, Capture::Resync { .. }) {
            out.push(Output::Report(Event::Sending { kind: EpochKind::Delta }));
        }
        let generation = self.generation;
        out.push(Output::Capture { generation, epoch, capture, stay_paused: closing });
    }

    /// When the next capture may begin, if this phase wants one.
    fn capture_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Unprotected { seed_at } => {
                let wanted = self.protection_wished && self.link.peer() == Some(Peer::Present);
                (wanted && !self.guest_settles && self.flow.capturing().is_none()).then_some(seed_at)
            }
            Phase::SwitchingOver(Handover::Waiting) => self.flow.capturing().is_none().then_some(Time(0)),
            // The decision is a round trip away. If it does not come, output must not wait for it.
            Phase::MarkingStale { since, .. } if self.is_flowing() => {
                self.flow.due_at().map(|at| at.max(since + self.config.witness_retry))
            }
            _ if self.is_flowing() => self.flow.due_at(),
            _ => None,
        }
    }

    /// Whether this phase makes one checkpoint after the other.
    fn is_flowing(&self) -> bool {
        let wanted = match self.phase {
            Phase::Seeding { .. } | Phase::Arming | Phase::Protected => true,
            Phase::MarkingStale { why, .. } => !matches!(why, GiveUp::GuestGone | GiveUp::Leak),
            _ => false,
        };
        wanted && self.link.peer() == Some(Peer::Following)
    }

    /// When the slow policy acts.
    fn slow_at(&self) -> Option<Time> {
        let acts = self.config.slow_policy == SlowPolicy::Unprotect && self.config.has_witness;
        let watched = matches!(self.phase, Phase::Seeding { .. } | Phase::Arming | Phase::Protected);
        let following = self.link.peer() == Some(Peer::Following);
        let oldest = self.flow.oldest_unacked_at().filter(|_| acts && watched && following);
        oldest.map(|at| at + self.config.slow_max)
    }

    /// When this phase itself has something to do.
    fn phase_at(&self) -> Option<Time> {
        match &self.phase {
            Phase::LinkLost { decide_at } => Some(*decide_at),
            Phase::MarkingStale { since, .. } => self.hold_ends_at(*since),
            Phase::SwitchingOver(Handover::Closing { ends_at, .. }) => Some(*ends_at),
            Phase::SwitchingOver(Handover::Asked { decide_at }) => Some(*decide_at),
            _ => None,
        }
    }

    /// When holding output turns into pausing the guest.
    fn hold_ends_at(&self, since: Time) -> Option<Time> {
        let helped = self.link.peer() == Some(Peer::Following);
        let waits = self.guest_halted || self.flow.capturing().is_some() || helped;
        (!waits && !self.register.is_final(&Copy::Stale)).then_some(since + self.config.hold_max)
    }

    /// The peer has not been asked to take over yet: the guest goes on here.
    pub(super) fn call_off_switchover(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Protected;
        self.resume(out);
    }

    /// The copy is of no further use; the record has to say so.
    pub(super) fn give_up(&mut self, why: GiveUp, now: Time) {
        let since = match self.phase {
            Phase::MarkingStale { since, .. } => since,
            _ => now,
        };
        self.phase = Phase::MarkingStale { why, since };
    }

    pub(super) fn resume(&mut self, out: &mut Vec<Output>) {
        if std::mem::take(&mut self.guest_halted) {
            out.push(Output::ResumeGuest);
        }
    }

    /// Whether the guest is ours to speak for.
    pub(super) fn is_claimed(&self) -> bool {
        !matches!(self.phase, Phase::Claiming { .. })
    }

    pub(super) fn send(&mut self, message: ToSecondary, now: Time, out: &mut Vec<Output>) {
        if self.link.peer().is_some() {
            self.link.sent(now);
            out.push(Output::Send(message));
        }
    }
}

pub(super) fn ask(request: Option<WitnessRequest>, out: &mut Vec<Output>) {
    out.extend(request.map(Output::AskWitness));
}

/// What stands for the witness's record where there is no witness.
fn unwitnessed_record(config: &Config) -> Record {
    Record { revision: 0, generation: Generation(1), owner: config.node.clone(), copy: Copy::Stale }
}

/// Without a witness nothing but a person's word, or the guest's own end, lets output out unprotected.
fn is_persons_word(why: GiveUp) -> bool {
    matches!(why, GiveUp::Wish | GiveUp::GuestGone)
}
