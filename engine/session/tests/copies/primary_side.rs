//! What the host does that runs the guest: it holds, compares and lets out.

use crate::guest::Frame;
use crate::host::{Mail, Role, Runs, Waiting};
use crate::judge::Way;
use crate::mutant::Mutant;
use crate::world::{Event, LOG_MAX, MATCH_MAX, MS, US, World};
use understudy_checkpoint::Epoch;
use understudy_session::primary::{Capture, Input, Output};
use understudy_session::{Divergence, EpochKind, Span, ToSecondary};

impl World {
    pub(crate) fn runs(&mut self, host: usize) -> Option<&mut Runs> {
        match &mut self.hosts[host].role {
            Role::Primary(runs) => Some(runs),
            _ => None,
        }
    }

    pub(crate) fn perform_primary(&mut self, host: usize) {
        while let Some(output) = self.runs(host).and_then(|runs| runs.session.poll_output()) {
            let Some(runs) = self.runs(host) else { return };
            match output {
                Output::Send(message) => self.send(host, Mail::ToSecondary(message)),
                Output::AskWitness(request) => {
                    if let Some(reply) = self.ask(host, request) {
                        self.after(200 * US, host, Event::Primary(Input::Witness(reply)));
                    }
                }
                Output::Capture { generation, epoch, capture, stay_paused } => {
                    let pause = self.rng.between(50, 400) * US;
                    self.after(pause, host, Event::Capture { generation, epoch, capture, stay_paused });
                }
                Output::AbortCapture | Output::Report(_) => {}
                Output::Release { through } => {
                    runs.acked = Some(through.0);
                    runs.mirrored = 0;
                    let is_out = |waiting: &Waiting| waiting.epoch.is_some_and(|epoch| epoch <= through.0);
                    self.let_out(host, is_out, Way::Ack);
                }
                Output::MirrorInput { from } => runs.mirror = from.map(|epoch| epoch.0),
                Output::MatchFrom { base } => self.match_from(host, base),
                Output::StopMatch => runs.matching = None,
                Output::PassOutput => {
                    runs.passes = true;
                    self.let_out(host, |_| true, Way::Pass);
                }
                Output::PauseGuest => runs.is_halted = true,
                Output::ResumeGuest => {
                    runs.is_halted = false;
                    self.go_on(host);
                }
                Output::Fence { .. } => {
                    (runs.is_fenced, runs.passes) = (true, false);
                    runs.queue.clear();
                }
                Output::Revive => runs.is_fenced = false,
                Output::Destroy { .. } => self.hold(host),
                Output::CloseLink => self.end_link(),
            }
        }
    }

    fn match_from(&mut self, host: usize, base: Epoch) {
        let keeps = matches!(self.mutant, Some(Mutant::OldTwins));
        let Some(runs) = self.runs(host) else { return };
        runs.matching = Some(base.0);
        runs.has_diverged = false;
        if !keeps {
            (runs.twins, runs.twins_heard) = Default::default();
        }
        self.let_matching_out(host);
    }

    pub(crate) fn capture(
        &mut self,
        host: usize,
        generation: u64,
        epoch: Epoch,
        capture: Capture,
        stay_paused: bool,
    ) {
        let Some(runs) = self.runs(host) else { return };
        runs.is_halted |= stay_paused;
        runs.queue.iter_mut().for_each(|waiting| _ = waiting.epoch.get_or_insert(epoch.0));
        (runs.cut, runs.passes) = (Some(epoch.0), false);
        let guest = runs.guest.clone();
        let (kind, base) = match capture {
            Capture::Seed => (EpochKind::Seed, None),
            Capture::Delta => (EpochKind::Delta, runs.captured.map(Epoch)),
            Capture::Resync { base } => (EpochKind::Delta, Some(base)),
        };
        runs.captured = Some(epoch.0);
        let of = runs.session.generation();
        self.judges.cut(generation, epoch.0, &guest);
        if of.0 == generation {
            let begin = ToSecondary::EpochBegin { generation: of, epoch, kind, base };
            self.send(host, Mail::ToSecondary(begin));
            self.send(host, Mail::Epoch { generation, epoch: epoch.0, guest });
        }
        self.tell_primary(host, Input::Captured { epoch, pause: Span(0) });
    }

    /// A request comes from the network.
    pub(crate) fn hear(&mut self, host: usize, request: u64) {
        let hangs = self.hosts[host].hangs_until > self.now;
        let Some(runs) = self.runs(host).filter(|runs| !runs.is_halted && !hangs) else { return };
        let is_new = runs.guest.hear(request);
        let (received, generation) = (runs.guest.received, runs.session.generation().0);
        let mirrors = is_new && runs.mirror.is_some_and(|from| runs.cut >= Some(from));
        if mirrors {
            runs.mirrored += 1;
            let after = runs.cut.expect("it was cut");
            self.send(host, Mail::Input { generation, after, request });
        }
        self.emit(host, Frame::Ack { received });
        self.go_on(host);
    }

    /// Answers follow as long as there are requests.
    pub(crate) fn go_on(&mut self, host: usize) {
        let delay = self.rng.between(100, 1_500) * US;
        if let Some(runs) = self.runs(host)
            && !runs.is_halted
            && runs.guest.is_busy()
            && !std::mem::replace(&mut runs.is_answering, true)
        {
            self.after(delay, host, Event::Answer { is_copy: false });
        }
    }

    pub(crate) fn draw(&mut self) -> Option<u64> {
        let knob = self.knob;
        self.rng.percent(knob).then(|| self.rng.next())
    }

    pub(crate) fn answer(&mut self, host: usize) {
        let draw = self.draw();
        let Some(runs) = self.runs(host) else { return };
        runs.is_answering = false;
        if !runs.is_halted
            && let Some(frame) = runs.guest.answer(draw)
        {
            self.emit(host, frame);
        }
        self.go_on(host);
    }

    fn emit(&mut self, host: usize, frame: Frame) {
        let since = self.now;
        let is_free = self.mutant == Some(Mutant::AcksFree) && matches!(frame, Frame::Ack { .. });
        let Some(runs) = self.runs(host) else { return };
        if runs.is_fenced {
            return;
        }
        runs.queue.push(Waiting { frame, after: runs.cut, epoch: None, since });
        if runs.passes {
            self.let_out(host, |_| true, Way::Pass);
        } else if is_free && runs.matching.is_some() {
            self.let_out(host, |waiting| waiting.frame == frame, Way::Match);
        } else {
            self.let_matching_out(host);
        }
    }

    fn let_out(&mut self, host: usize, is_out: impl Fn(&Waiting) -> bool, way: Way) {
        let Some(runs) = self.runs(host) else { return };
        let out: Vec<_> = runs.queue.extract_if(.., |waiting| is_out(waiting)).collect();
        runs.left[usize::from(way != Way::Match)] += out.len() as u64;
        let (generation, acked) = (runs.session.generation().0, runs.acked);
        for waiting in out {
            self.judges.leaves(generation, waiting.frame, waiting.after, acked, way);
            if generation < self.generation
                && let Some(now) = self.runs(self.owner).map(|runs| runs.guest.clone())
            {
                self.judges.late(waiting.frame, &now);
            }
            self.client_acked = self.client_acked.max(waiting.frame.received());
        }
    }

    fn let_matching_out(&mut self, host: usize) {
        let (any_base, no_acks) =
            (self.mutant == Some(Mutant::AnyBase), self.mutant == Some(Mutant::NoAckRule));
        let Some(runs) = self.runs(host) else { return };
        let Some(base) = runs.matching else { return };
        let (twins, heard) = (runs.twins.clone(), runs.twins_heard);
        let is_out = |waiting: &Waiting| {
            let is_of_base = waiting.after == Some(base) || any_base && waiting.after.is_some();
            let is_heard = heard >= waiting.frame.received() || no_acks;
            let has_twin = match waiting.frame {
                Frame::Ack { received } => heard >= received,
                Frame::Reply { place, digest, .. } => twins.get(&place) == Some(&digest),
            };
            is_of_base && is_heard && has_twin
        };
        self.let_out(host, is_out, Way::Match);
        let Some(runs) = self.runs(host) else { return };
        let differs = runs.queue.iter().any(|waiting| {
            matches!(waiting.frame, Frame::Reply { place, digest, .. }
                if waiting.after == Some(base) && twins.get(&place).is_some_and(|twin| *twin != digest))
        });
        if differs {
            self.diverges(host, base, Divergence::Content);
        }
    }

    fn diverges(&mut self, host: usize, base: u64, why: Divergence) {
        let is_lost = self.mutant == Some(Mutant::DivergenceLost);
        let Some(runs) = self.runs(host) else { return };
        if !std::mem::replace(&mut runs.has_diverged, true) && !is_lost {
            self.tell_primary(host, Input::Diverged { base: Epoch(base), why });
        }
    }

    /// The copy has told what it sent.
    pub(crate) fn twin(&mut self, host: usize, of: u64, of_base: u64, frame: Frame) {
        let takes_all = matches!(self.mutant, Some(Mutant::OldTwins | Mutant::AnyBase));
        let Some(runs) = self.runs(host) else { return };
        let is_of_base = runs.session.generation().0 == of && runs.matching == Some(of_base);
        if !is_of_base && !takes_all {
            return;
        }
        runs.twins_heard = runs.twins_heard.max(frame.received());
        if let Frame::Reply { place, digest, .. } = frame {
            runs.twins.insert(place, digest);
        }
        self.let_matching_out(host);
    }

    /// What takes time shows.
    pub(crate) fn look(&mut self, host: usize) {
        let (now, calm) = (self.now, self.faulty_until < self.now);
        let (waits, bound) = (self.mutant != Some(Mutant::NoTimeout), self.mutant != Some(Mutant::NoBound));
        let Some(runs) = self.runs(host) else { return };
        let oldest = runs.queue.iter().map(|waiting| waiting.since).min();
        let [by_match, by_ack] = std::mem::take(&mut runs.left);
        if let Some(base) = runs.matching {
            let of_base = runs.queue.iter().filter(|waiting| waiting.after == Some(base));
            let is_silent =
                of_base.map(|waiting| waiting.since).min().is_some_and(|at| at + MATCH_MAX <= now);
            let is_full = runs.mirrored > LOG_MAX;
            if let Some(since) = oldest.filter(|_| calm) {
                self.judges.held_since(since, now, 200);
            }
            if is_silent && waits {
                self.diverges(host, base, Divergence::Silence);
            } else if is_full && bound {
                self.diverges(host, base, Divergence::Full);
            }
        }
        if by_match + by_ack > 0 {
            self.tell_primary(host, Input::FramesLeft { by_match, by_ack });
        }
    }

    /// A host whose guest was to be held by this one is a primary itself.
    pub(crate) fn is_rival(&mut self, host: usize, message: &ToSecondary) -> bool {
        let generation = message.generation();
        let is_rival = self.runs(host).is_some();
        if is_rival {
            self.tell_primary(host, Input::Rival { generation });
        }
        is_rival
    }

    /// How long a fault is felt.
    pub(crate) fn feel(&mut self, ms: u64) {
        self.faulty_until = self.faulty_until.max(self.now + Span(ms * MS));
    }
}
