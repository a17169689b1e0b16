//! The driver of a primary, modelled: it performs the session's outputs in order on a model guest and the real
//! epoch queue.

use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::Moment;
use super::host::{Capture, PrimaryHost, Role};
use super::model::{Frame, Guest, Payload, State};
use super::mutant::Mutant;
use super::network::{LINK, Wire, witness_channel};
use super::{HostId, host};
use std::collections::VecDeque;
use understudy::session::primary::{self, Capture as What, Input, Origin, Output};
use understudy::session::{Copy, EpochKind, Span, ToSecondary, WitnessOutcome, WitnessReply, WitnessRequest};
use understudy_checkpoint::Epoch;
use understudy_netbuf::Push;

impl Cluster {
    /// `host` becomes primary: of a guest that was started here, or of one that it took over.
    pub(super) fn become_primary(&mut self, at: HostId, origin: Origin, image: Option<State>) {
        let open = match &origin {
            Origin::Started | Origin::Adopted { .. } => Epoch(0),
            Origin::TookOver { next_epoch, .. } | Origin::Outdated { next_epoch, .. } => *next_epoch,
        };
        let session = primary::Primary::new(self.settings.primary(at), origin, self.now);
        let settles = session.guest_settles();
        let host = PrimaryHost {
            session,
            guest: image.map(Guest::continuing),
            to_be_started: image.is_none(),
            pretended: 0,
            halted: false,
            held: false,
            queue: PrimaryHost::queue(open, self.mutant),
            unacked: VecDeque::new(),
            last_captured: None,
            capture: None,
        };
        self.begin_role(at, Role::Primary(Box::new(host)));
        if self.mutant == Some(Mutant::NoClaim) {
            self.start_guest(at);
        }
        self.tell_primary_of_connections(at);
        self.step_later(at);
        if settles {
            let (life, pause) = (self.hosts[at].life, self.rng.span_us(0, 50_000));
            self.agenda.add(self.now + pause, Event::Settles { host: at, life });
        }
    }

    fn tell_primary_of_connections(&mut self, at: HostId) {
        if self.end_is_up(LINK, at) {
            self.primary_input(at, Input::LinkUp);
        }
        if self.end_is_up(witness_channel(at), at) {
            self.primary_input(at, Input::WitnessUp);
        }
    }

    fn start_guest(&mut self, at: HostId) {
        if let Role::Primary(host) = &mut self.hosts[at].role
            && std::mem::take(&mut host.to_be_started)
        {
            host.guest = Some(Guest::new());
            let generation = host.session.generation();
            self.state_fact(&Fact::Began { host: at, generation });
        }
    }

    /// Hands an input to the session and performs what it says.
    pub(super) fn primary_input(&mut self, at: HostId, input: Input) {
        self.note(at, || format!("◄ {input:?}"));
        let mut out = Vec::new();
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        host.session.handle(self.now, input, &mut out);
        self.perform_primary(at, out);
    }

    pub(super) fn primary_timeout(&mut self, at: HostId) {
        let mut out = Vec::new();
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        host.session.handle_timeout(self.now, &mut out);
        self.note(at, || "◄ timeout".to_owned());
        self.perform_primary(at, out);
    }

    fn perform_primary(&mut self, at: HostId, outputs: Vec<Output>) {
        self.record_without_witness(at);
        let life = self.hosts[at].life;
        for output in outputs {
            // An output may have ended the role.
            if self.hosts[at].life != life {
                return;
            }
            if !matches!(&output, Output::Send(ToSecondary::Heartbeat { .. })) {
                self.note(at, || format!("  ► {output:?}"));
            }
            self.perform_primary_output(at, output);
        }
        if let Role::Primary(host) = &self.hosts[at].role
            && host.session.state() == primary::State::Ended
        {
            self.become_secondary(at);
        }
    }

    /// Where there is no witness, what the primary decides by itself or by its operator's word is the record.
    fn record_without_witness(&mut self, at: HostId) {
        if let Role::Primary(host) = &self.hosts[at].role
            && !self.settings.has_witness
            && host.session.state() != primary::State::Fenced
            && self.hosts[1 - at].runs() <= Some(host.session.generation())
            && let Some(record) = host.session.record().cloned()
        {
            self.state_fact(&Fact::Recorded(record));
        }
    }

    fn perform_primary_output(&mut self, at: HostId, output: Output) {
        let life = self.hosts[at].life;
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        match output {
            Output::Send(message) => self.send(LINK, at, Wire::ToSecondary(message), Span(0)),
            Output::AskWitness(request) => self.primary_asks(at, request),
            Output::Capture { generation, epoch, capture, stay_paused } => {
                host.capture =
                    Some(Capture { generation, epoch, what: capture, stay_paused, aborted: false });
                let pause = match capture {
                    What::Seed => self.rng.span_us(2_000, 25_000),
                    What::Delta | What::Resync { .. } => self.rng.span_us(100, 1_500),
                };
                let conn = self.end_is_up(LINK, at).then_some(self.net[LINK].conn);
                let ends = Event::CaptureEnds { host: at, life, epoch, conn };
                self.agenda.add(self.now + pause, ends);
            }
            Output::AbortCapture => {
                if let Some(capture) = &mut host.capture {
                    capture.aborted = true;
                }
            }
            Output::Release { through } => {
                host.queue.release(through);
                host.unacked.retain(|(epoch, _)| *epoch > through);
                self.let_frames_leave(at);
            }
            Output::PassOutput => {
                host.unacked.clear();
                host.queue.pass();
                self.start_guest(at);
                self.let_frames_leave(at);
            }
            Output::PauseGuest if self.mutant == Some(Mutant::PassInsteadOfPause) => {
                host.queue.pass();
                self.let_frames_leave(at);
            }
            Output::PauseGuest => host.halted = true,
            Output::ResumeGuest => host.halted = false,
            Output::Fence { .. } => self.fence(at),
            Output::Revive => {
                host.held = false;
                host.queue.revive();
            }
            Output::Destroy { .. } => self.become_secondary(at),
            Output::CloseLink => self.close(LINK, at),
            Output::Report(primary::Event::State(state)) => self.moment(Moment::Primary(state)),
            Output::Report(_) => {}
        }
    }

    fn primary_asks(&mut self, at: HostId, request: WitnessRequest) {
        if let WitnessRequest::Swap { new, .. } = &request
            && new.copy == Copy::Stale
            && self.mutant == Some(Mutant::PassBeforeStale)
            && let Role::Primary(host) = &mut self.hosts[at].role
        {
            host.queue.pass();
            self.let_frames_leave(at);
        }
        let request =
            if self.mutant == Some(Mutant::TrustRead) { self.trusting(at, request) } else { request };
        self.send(witness_channel(at), at, Wire::Request(request), Span(0));
    }

    /// The mutant: a record that is seen to be stale need not be swapped to be stale for sure. It counts the
    /// swaps that it only pretends, so that the session does not notice.
    fn trusting(&self, at: HostId, request: WitnessRequest) -> WitnessRequest {
        let Role::Primary(host) = &self.hosts[at].role else { return request };
        let seen_stale = host.session.record().is_some_and(|record| record.copy == Copy::Stale);
        match request {
            WitnessRequest::Swap { id, new, .. }
                if new.copy == Copy::Stale && seen_stale && host.guest.is_some() =>
            {
                WitnessRequest::Read { id }
            }
            WitnessRequest::Swap { id, expect, mut new } => {
                new.revision -= host.pretended;
                WitnessRequest::Swap { id, expect: expect - host.pretended, new }
            }
            read => read,
        }
    }

    /// The witness's answer reaches a primary.
    pub(super) fn primary_is_told(&mut self, at: HostId, mut reply: WitnessReply) {
        if let Role::Primary(host) = &mut self.hosts[at].role
            && let Some(record) = &mut reply.record
            && self.mutant == Some(Mutant::TrustRead)
        {
            let read = reply.outcome == WitnessOutcome::Told && host.guest.is_some();
            if read && record.copy == Copy::Stale {
                host.pretended += 1;
            }
            record.revision += host.pretended;
        }
        self.primary_input(at, Input::Witness(reply));
    }

    /// The generation is over: nothing more leaves, the guest is paused and kept.
    fn fence(&mut self, at: HostId) {
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        let generation = host.session.generation();
        self.moment(Moment::Primary(primary::State::Fenced));
        match self.mutant {
            Some(Mutant::FencedRuns) => {
                self.state_fact(&Fact::Fenced { host: at, generation });
            }
            Some(Mutant::FencedReleases) => {
                self.state_fact(&Fact::Fenced { host: at, generation });
                if let Role::Primary(host) = &mut self.hosts[at].role {
                    host.queue.pass();
                    host.held = true;
                }
                self.let_frames_leave(at);
            }
            _ => {
                if let Role::Primary(host) = &mut self.hosts[at].role {
                    host.held = true;
                    host.queue.fence();
                }
                self.state_fact(&Fact::Fenced { host: at, generation });
            }
        }
    }

    /// The pause of a capture is over: this is where epochs are made.
    pub(super) fn capture_ends(&mut self, at: HostId, epoch: Epoch, conn: Option<u64>) {
        let fails = std::mem::take(&mut self.hosts[at].capture_fails);
        let aborted_early = self.rng.chance(50);
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        let Some(capture) = host.capture.take() else { return };
        let gone = host.guest.is_none();
        let Some(guest) = host.guest.as_mut().filter(|_| !(fails || capture.aborted && aborted_early)) else {
            return self
                .primary_input(at, Input::CaptureFailed { epoch, guest_gone: gone, needs_seed: false });
        };
        let (kind, base, lost) = match capture.what {
            What::Seed => (EpochKind::Seed, None, 0xFF),
            What::Delta => (EpochKind::Delta, host.last_captured, 0),
            What::Resync { .. } if self.mutant == Some(Mutant::ResyncForgets) => {
                let What::Resync { base } = capture.what else { unreachable!("matched above") };
                (EpochKind::Delta, Some(base), 0)
            }
            What::Resync { base } => {
                let since = host.unacked.iter().filter(|(epoch, _)| *epoch > base);
                (EpochKind::Delta, Some(base), since.fold(0, |all, (_, words)| all | words))
            }
        };
        let dirty = std::mem::take(&mut guest.dirty);
        let state = guest.state;
        host.unacked.push_back((epoch, dirty));
        host.last_captured = Some(epoch);
        host.halted |= capture.stay_paused;
        host.queue.cut(epoch);
        if self.mutant == Some(Mutant::PassAtSeed) && kind == EpochKind::Seed {
            host.queue.pass();
        }
        let generation = capture.generation;
        let payload = Payload {
            generation,
            epoch,
            kind,
            state,
            mask: dirty | lost,
            damaged: std::mem::take(&mut self.hosts[at].damage),
            too_large: kind == EpochKind::Delta && std::mem::take(&mut self.hosts[at].too_large),
        };
        self.state_fact(&Fact::Captured { generation, epoch, state });
        if self.end_is_up(LINK, at) && conn == Some(self.net[LINK].conn) {
            self.send_epoch(at, payload, base);
        }
        if self.mutant == Some(Mutant::ReleaseBeforeAck)
            && let Role::Primary(host) = &mut self.hosts[at].role
        {
            host.queue.release(epoch);
            self.let_frames_leave(at);
        }
        self.primary_input(at, Input::Captured { epoch });
    }

    fn send_epoch(&mut self, at: HostId, payload: Payload, base: Option<Epoch>) {
        let Payload { generation, epoch, kind, .. } = payload;
        let begin = ToSecondary::EpochBegin { generation, epoch, kind, base };
        let transfer = match kind {
            EpochKind::Seed => self.rng.span_us(500, 5_000),
            EpochKind::Delta => self.rng.span_us(20, 800),
        };
        self.send(LINK, at, Wire::ToSecondary(begin), Span(0));
        self.send(LINK, at, Wire::Half(payload), transfer);
        self.send(LINK, at, Wire::Rest(payload), transfer);
    }

    /// The guest runs a little and sometimes says something.
    pub(super) fn step(&mut self, at: HostId) {
        let chance = self.rng.bits();
        let Role::Primary(host) = &mut self.hosts[at].role else { return };
        let mut pressed = false;
        if let Some(guest) = host.guest.as_mut().filter(|_| !host.halted && !host.held) {
            guest.step(chance >> 8);
            if !chance.is_multiple_of(4) {
                let frame = Frame {
                    host: at,
                    generation: host.session.generation(),
                    epoch: host.queue.open_epoch(),
                    counter: guest.state.counter,
                };
                pressed = host.queue.push(&frame.to_bytes()) == Push::HeldNearLimit;
            }
        }
        self.let_frames_leave(at);
        if pressed {
            self.primary_input(at, Input::OutputPressure);
        }
        self.step_later(at);
    }

    fn step_later(&mut self, at: HostId) {
        let life = self.hosts[at].life;
        let pause = self.rng.span_us(500, 5_000);
        self.agenda.add(self.now + pause, Event::Step { host: at, life });
    }

    fn let_frames_leave(&mut self, at: HostId) {
        while let Role::Primary(host) = &mut self.hosts[at].role
            && let Some(frame) = host.queue.take()
        {
            let frame = Frame::from_bytes(&frame);
            self.left_at = self.now;
            self.state_fact(&Fact::Left(frame));
        }
    }

    /// The operator starts the guest on this host.
    pub(super) fn start_here(&mut self, at: HostId) {
        self.note(at, || format!("the operator starts the guest on {}", host::name(at)));
        self.become_primary(at, Origin::Started, None);
    }
}
