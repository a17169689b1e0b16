//! What the host does that holds the image: it takes epochs in, sets the copy, runs it, and starts the guest.

use crate::guest::{Frame, Guest};
use crate::host::{CopyRun, Holds, Mail, Role};
use crate::mutant::Mutant;
use crate::world::{Event, LOG_MAX, LOG_SLACK, US, World};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::primary::Origin;
use understudy_session::secondary::{Event as Told, Input, Output, Start};
use understudy_session::{Record, ToPrimary, ToSecondary};

impl World {
    pub(crate) fn holds(&mut self, host: usize) -> Option<&mut Holds> {
        match &mut self.hosts[host].role {
            Role::Secondary(holds) => Some(holds),
            _ => None,
        }
    }

    pub(crate) fn perform_secondary(&mut self, host: usize) {
        while let Some(output) = self.holds(host).and_then(|holds| holds.session.poll_output()) {
            let wrong = self.mutant;
            let Some(holds) = self.holds(host) else { return };
            match output {
                Output::Send(message) => self.send(host, Mail::ToPrimary(message)),
                Output::AskWitness(request) => {
                    if let Some(reply) = self.ask(host, request) {
                        self.after(200 * US, host, Event::Secondary(Input::Witness(reply)));
                    }
                }
                Output::Receive { generation, epoch, .. } => holds.receiving = Some((generation.0, epoch.0)),
                Output::LookAgain { generation, epoch } => {
                    (holds.receiving, holds.verdict_due) = (Some((generation.0, epoch.0)), true);
                    self.after(50 * US, host, Event::Looked { generation: generation.0, epoch: epoch.0 });
                }
                Output::Commit { epoch } => self.after(200 * US, host, Event::Commit(epoch.0)),
                Output::DropIncomplete => holds.receiving = None,
                Output::DropImage => {
                    (holds.receiving, holds.image) = (None, None);
                    holds.whole.clear();
                    holds.log.clear();
                }
                Output::SetCopy { epoch } => {
                    let delay = self.rng.between(300, 15_000) * US;
                    self.after(delay, host, Event::Set(epoch.0));
                }
                Output::RunCopy { generation, base } => self.run_copy(host, generation, base),
                Output::HaltCopy => {
                    if let Some(copy) = holds.copy.as_mut().filter(|_| wrong != Some(Mutant::AckBeforeHalt)) {
                        copy.is_told = false;
                    }
                    let max_us = if wrong == Some(Mutant::AckBeforeHalt) { 80_000 } else { 1_500 };
                    let delay = self.rng.between(50, max_us) * US;
                    self.after(delay, host, Event::Halt);
                }
                Output::CutCopy => {
                    if let Some(copy) = &mut holds.copy {
                        (copy.is_told, copy.is_cut) = (false, true);
                    }
                }
                Output::DropCopy => holds.copy = None,
                Output::Activate { record, epoch, start } => {
                    self.after(500 * US, host, Event::Start { record, epoch, start });
                }
                Output::CloseLink => self.end_link(),
                Output::Report(Told::TakeoverWithheld { .. } | Told::ActivationFailed { .. }) => {
                    *self.judges.looked.entry("left to a person").or_default() += 1;
                    self.is_over = true;
                }
                Output::Report(_) => {}
            }
        }
    }

    pub(crate) fn arrive(&mut self, host: usize, mail: Mail) {
        match mail {
            Mail::ToPrimary(message) => {
                self.tell_primary(host, understudy_session::primary::Input::Message(message));
            }
            Mail::Output { generation, base, frame } => self.twin(host, generation, base, frame),
            Mail::Input { generation, after, request } => self.note_input(host, generation, after, request),
            Mail::ToSecondary(message) => {
                if !self.is_rival(host, &message)
                    && let Some(holds) = self.holds(host)
                {
                    holds.inbox.push_back(Mail::ToSecondary(message));
                    self.pump(host);
                }
            }
            Mail::Epoch { .. } => {
                if let Some(holds) = self.holds(host) {
                    holds.inbox.push_back(mail);
                    self.pump(host);
                }
            }
        }
    }

    /// While an epoch's verdict is awaited, or a copy that has to stand still for it, no other begins.
    fn pump(&mut self, host: usize) {
        while let Some(holds) = self.holds(host) {
            let waits = holds.verdict_due || holds.session.is_halting();
            let is_begin = matches!(
                holds.inbox.front(),
                Some(Mail::ToSecondary(ToSecondary::EpochBegin { .. }) | Mail::Epoch { .. })
            );
            if waits && is_begin {
                return;
            }
            match holds.inbox.pop_front() {
                Some(Mail::ToSecondary(message)) => self.tell_secondary(host, Input::Message(message)),
                Some(Mail::Epoch { generation, epoch, guest })
                    if holds.receiving == Some((generation, epoch)) =>
                {
                    holds.verdict_due = true;
                    self.after(300 * US, host, Event::Whole { generation, epoch, guest });
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    pub(crate) fn work(&mut self, host: usize, event: Event) {
        match event {
            Event::Capture { generation, epoch, capture, stay_paused } => {
                self.capture(host, generation.0, epoch, capture, stay_paused);
            }
            Event::Whole { generation, epoch, guest } => self.whole(host, generation, epoch, guest),
            Event::Looked { generation, epoch } => self.looked(host, generation, epoch),
            Event::Commit(epoch) => self.commit(host, epoch),
            Event::Set(epoch) => self.set(host, epoch),
            Event::Halt => self.halt(host),
            Event::Start { record, epoch, start } => self.start(host, record, epoch, start),
            Event::Answer { is_copy: false } => self.answer(host),
            Event::Answer { is_copy: true } => self.copy_answers(host),
            _ => {}
        }
    }

    fn whole(&mut self, host: usize, generation: u64, epoch: u64, guest: Guest) {
        let acks_early = self.mutant == Some(Mutant::AckBeforeHalt);
        let Some(holds) = self.holds(host) else { return };
        holds.verdict_due = false;
        if holds.receiving == Some((generation, epoch)) {
            holds.receiving = None;
            if holds.image.is_none() {
                holds.image = Some((epoch, guest.clone()));
            }
            holds.whole.insert(epoch, guest);
            let (of, epoch) = (Generation(generation), Epoch(epoch));
            let runs = holds.copy.as_ref().is_some_and(|copy| copy.runs);
            if acks_early && runs {
                self.send(host, Mail::ToPrimary(ToPrimary::Ack { generation: of, epoch }));
            }
            self.tell_secondary(host, Input::Complete { generation: of, epoch });
        }
        self.pump(host);
    }

    /// The image can still be activated.
    fn looked(&mut self, host: usize, generation: u64, epoch: u64) {
        let Some(holds) = self.holds(host) else { return };
        if holds.receiving == Some((generation, epoch)) {
            (holds.receiving, holds.verdict_due) = (None, false);
            let (generation, epoch) = (Generation(generation), Epoch(epoch));
            self.tell_secondary(host, Input::Complete { generation, epoch });
        }
        self.pump(host);
    }

    fn commit(&mut self, host: usize, epoch: u64) {
        let keeps = self.mutant == Some(Mutant::NoMark);
        let Some(holds) = self.holds(host) else { return };
        if let Some(guest) = holds.whole.get(&epoch).cloned() {
            holds.image = Some((epoch, guest));
            holds.whole.retain(|whole, _| *whole > epoch);
            if !keeps {
                holds.log.retain(|(after, _)| *after >= epoch);
            }
            self.tell_secondary(host, Input::Committed { epoch: Epoch(epoch) });
        }
    }

    fn set(&mut self, host: usize, epoch: u64) {
        let Some(holds) = self.holds(host) else { return };
        let Some((of, guest)) = holds.image.clone() else { return };
        // Commits wait for it in this host's threads; here they do not, and what is newer is set next.
        let generation = holds.session.generation().0;
        let was_running = holds.copy.as_ref().is_some_and(|copy| copy.runs);
        let copy = CopyRun {
            guest: guest.clone(),
            generation,
            base: of,
            runs: false,
            is_told: false,
            is_answering: false,
            sent: Vec::new(),
            has_forwarded: false,
            is_cut: false,
        };
        holds.copy = Some(copy);
        if of == epoch {
            self.judges.copy_set(generation, of, &guest, was_running);
        }
        self.tell_secondary(host, Input::CopySet { epoch: Epoch(epoch), hears_all: true });
    }

    fn run_copy(&mut self, host: usize, generation: Generation, base: Epoch) {
        let keeps = self.mutant == Some(Mutant::NoMark);
        let Some(holds) = self.holds(host) else { return };
        let Some(copy) = &mut holds.copy else { return };
        (copy.generation, copy.base, copy.runs, copy.is_told) = (generation.0, base.0, true, true);
        let log: Vec<_> = holds
            .log
            .iter()
            .filter(|(after, _)| *after >= base.0 || keeps)
            .map(|(_, request)| *request)
            .collect();
        log.into_iter().for_each(|request| self.copy_hears(host, request));
        self.copy_goes_on(host);
    }

    fn halt(&mut self, host: usize) {
        let goes_on = self.mutant == Some(Mutant::SetWhileRunning);
        let Some(holds) = self.holds(host) else { return };
        if let Some(copy) = &mut holds.copy {
            (copy.runs, copy.is_told) = (goes_on, false);
        }
        self.tell_secondary(host, Input::CopyHalted);
        self.pump(host);
    }

    fn note_input(&mut self, host: usize, generation: u64, after: u64, request: u64) {
        let twice = self.mutant == Some(Mutant::InputTwice);
        let Some(holds) = self.holds(host) else { return };
        holds.log.push((after, request));
        let count = holds.log.len();
        let hears = holds
            .copy
            .as_ref()
            .is_some_and(|copy| copy.runs && copy.generation == generation && !copy.is_cut);
        self.judges.waits("the input log", count, LOG_MAX + LOG_SLACK);
        if hears {
            (0..=usize::from(twice)).for_each(|_| self.copy_hears(host, request));
            self.copy_goes_on(host);
        }
    }

    fn copy_hears(&mut self, host: usize, request: u64) {
        self.judges.copy_hears(request);
        let Some(copy) = self.holds(host).and_then(|holds| holds.copy.as_mut()) else { return };
        copy.guest.hear(request);
        let received = copy.guest.received;
        self.copy_sends(host, Frame::Ack { received });
    }

    fn copy_goes_on(&mut self, host: usize) {
        // Now and then a thread of it waits for something that the guest does not wait for.
        let max_us = if self.rng.percent(3 * u64::from(self.knob > 0)) { 600_000 } else { 1_500 };
        let delay = self.rng.between(100, max_us) * US;
        if let Some(copy) = self.holds(host).and_then(|holds| holds.copy.as_mut())
            && copy.runs
            && copy.guest.is_busy()
            && !std::mem::replace(&mut copy.is_answering, true)
        {
            self.after(delay, host, Event::Answer { is_copy: true });
        }
    }

    fn copy_answers(&mut self, host: usize) {
        let draw = self.draw();
        let Some(copy) = self.holds(host).and_then(|holds| holds.copy.as_mut()) else { return };
        copy.is_answering = false;
        if copy.runs
            && let Some(frame) = copy.guest.answer(draw)
        {
            self.copy_sends(host, frame);
        }
        self.copy_goes_on(host);
    }

    fn copy_sends(&mut self, host: usize, frame: Frame) {
        let is_wrong = self.mutant == Some(Mutant::CopyOnBridge);
        let Some(copy) = self.holds(host).and_then(|holds| holds.copy.as_mut()) else { return };
        copy.sent.push(frame);
        let (generation, base, is_told) = (copy.generation, copy.base, copy.is_told);
        copy.has_forwarded |= is_told;
        if is_told {
            self.judges.copy_sends(generation, base, frame);
            self.send(host, Mail::Output { generation, base, frame });
        }
        if is_wrong {
            self.judges.copy_on_the_wire(frame);
        }
    }

    fn start(&mut self, host: usize, record: Record, epoch: Epoch, start: Start) {
        let is_wrong = self.mutant == Some(Mutant::ImageAlways);
        let Some(holds) = self.holds(host) else { return };
        let copy = holds.copy.take().filter(|_| start != Start::Image && !is_wrong);
        let (guest, unsent) = match (copy, holds.image.take()) {
            (Some(copy), _) => (copy.guest, copy.sent),
            (None, Some((_, guest))) => (guest, Vec::new()),
            (None, None) => return,
        };
        *self
            .judges
            .looked
            .entry(match start {
                Start::LiveCopy => "from a live copy",
                Start::SetCopy => "from a set copy",
                Start::Image => "from the image",
            })
            .or_default() += 1;
        self.judges.taken_over(record.generation.0, &guest);
        (self.owner, self.generation) = (host, record.generation.0);
        self.feel(600);
        self.run_guest(host, Origin::TookOver { record, next_epoch: epoch.next() }, guest, unsent);
    }
}
