//! Does the work on an engine's benches: captures, encoding, receiving, activation.

use super::bench::{Order, Taken, dies};
use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::guest::{SharedDomain, mix};
use super::host::Item;
use super::mutant::Mutant;
use super::rng::Rng;
use super::{GuestId, HostId};
use std::time::Duration;
use understudy::guest::{CopyOrder, Report, Work};
use understudy_checkpoint::{Epoch, Generation};
use understudy_session::primary::Capture;
use understudy_session::{Span, Time};

/// The time that a capture thread takes for an order.
pub(super) fn pause_of(order: &Order, rng: &mut Rng) -> Span {
    match order {
        Order::Capture(order) if order.capture == Capture::Seed => rng.span_us(2_000, 25_000),
        Order::Capture(_) => rng.span_us(100, 1_500),
        Order::Resume | Order::Settle => rng.span_us(10, 200),
        // Not drawn, so that seeds are as they were before there was this order.
        Order::LeaveAlone => Span::from_us(50),
    }
}

/// The time that a receive thread takes for a piece of work.
pub(super) fn time_of(work: &Work, rng: &mut Rng, slow: &mut bool) -> Span {
    match work {
        Work::Activate { .. } | Work::ActivateCopy { .. } if std::mem::take(slow) => {
            rng.span_us(100_000, 400_000)
        }
        Work::Commit(_) => rng.span_us(50, 1_500),
        Work::Activate { .. } => rng.span_us(500, 20_000),
        Work::ActivateCopy { .. } => rng.span_us(100, 2_000),
        Work::LiveCopy(CopyOrder::Halt) => rng.span_us(50, 1_500),
        _ => rng.span_us(5, 60),
    }
}

impl Cluster {
    /// A capture thread carries out its next order, or goes on with a full sync that waited. Epochs are made here.
    pub(super) fn captures(&mut self, at: HostId, slot: usize) {
        let Some(engine) = &self.hosts[at].engine else { return };
        let bench = engine.bench.clone();
        let (next, mut work, domain, guest, participants) = {
            let mut bench = bench.get();
            let Some(Some(capturing)) = bench.captures.get_mut(slot) else { return };
            capturing.scheduled = false;
            let Some(work) = capturing.work.take() else { return };
            let next = match capturing.waits.take() {
                Some(taken) => Ok(taken),
                None => match capturing.orders.pop_front() {
                    Some(order) => Err(order),
                    None => return capturing.work = Some(work),
                },
            };
            (next, work, capturing.domain.clone(), capturing.guest, capturing.participants.clone())
        };
        let (taken, waits) = match next {
            Ok(taken) => (Some(taken), self.capturing(at, guest, &domain, taken.epoch, |_| work.go_on())),
            Err(Order::Capture(mut order)) => {
                let (generation, epoch, capture) = (order.generation, order.epoch, order.capture);
                let taken = Taken { generation, epoch, capture, ordered_at: order.now };
                let waits = self.capturing(at, guest, &domain, epoch, |cluster| {
                    if cluster.wrong_capture(&mut order, &work) && cluster.settings.scrubs {
                        cluster.state_fact(guest, &Fact::BitsLost);
                    }
                    work.capture(order)
                });
                (Some(taken), waits)
            }
            Err(Order::Resume) => {
                work.resume();
                (None, None)
            }
            Err(Order::Settle) => {
                work.settle();
                (None, None)
            }
            Err(Order::LeaveAlone) => {
                work.leave_alone();
                (None, None)
            }
        };
        let life = self.hosts[at].life;
        if let Some(Some(capturing)) = bench.get().captures.get_mut(slot) {
            capturing.work = Some(work);
            if waits.is_some() {
                (capturing.waits, capturing.scheduled) = (taken, true);
                let pause = self.rng.span_us(50, 3_000);
                self.agenda.add(self.now + pause, Event::Captures { host: at, life, slot });
            }
        }
        if let Some(Taken { generation, epoch, capture, ordered_at }) = taken {
            let is_captured =
                waits.is_none() && self.was_captured(at, guest, (generation, epoch), ordered_at);
            let passes = self.mutant == Some(Mutant::PassAtSeed) && capture == Capture::Seed;
            if passes {
                participants.pass();
            }
            if is_captured && self.mutant == Some(Mutant::ReleaseBeforeAck) {
                participants.release(epoch);
            }
            let pause = self.rng.span_us(10, 400);
            self.agenda.add(self.now + pause, Event::Encodes { host: at, life, slot });
        }
        self.turn(at, Item::Nothing);
    }

    /// A part of a capture, with what the guest does meanwhile.
    fn capturing(
        &mut self,
        at: HostId,
        guest: GuestId,
        domain: &SharedDomain,
        epoch: Epoch,
        does: impl FnOnce(&mut Self) -> Option<Duration>,
    ) -> Option<Duration> {
        domain.get().captured = None;
        domain.get().late_step = (self.mutant == Some(Mutant::CutAfterStep)).then(|| self.rng.bits());
        // Drawn from what is there, so that no other draw changes.
        let chance = mix(epoch.0 ^ domain.get().state.digest());
        domain.get().step_ahead = Some(chance).filter(|chance| chance % 3 == 0);
        let waits = does(self);
        domain.get().late_step = None;
        domain.get().step_ahead = None;
        if std::mem::take(&mut domain.get().lost_bits_ahead) {
            self.state_fact(guest, &Fact::BitsLost);
        }
        self.state_steps(at, guest, domain);
        waits
    }

    /// What capture threads do now and then while there is no order.
    pub(super) fn look_after(&mut self, at: HostId) {
        let Some(engine) = &self.hosts[at].engine else { return };
        let bench = engine.bench.clone();
        for capturing in bench.get().captures.iter_mut().flatten().filter(|it| !it.scheduled) {
            if let Some(work) = &mut capturing.work {
                work.look_after();
            }
        }
    }

    /// Mutants of a capture thread's orders. Returns whether the thread forgets something.
    fn wrong_capture(
        &self,
        order: &mut understudy::guest::CaptureOrder,
        work: &understudy::guest::SteppedCapture,
    ) -> bool {
        let Capture::Resync { base } = order.capture else { return false };
        match self.mutant {
            Some(Mutant::ResyncForgets) => work.acked(Epoch(u64::MAX - 1)),
            Some(Mutant::ResyncBaseLater) => work.acked(base.next()),
            _ => return false,
        }
        true
    }

    /// After a successful capture, states what it took.
    fn was_captured(
        &mut self,
        at: HostId,
        guest: GuestId,
        (generation, epoch): (Generation, Epoch),
        ordered_at: Time,
    ) -> bool {
        let Some(engine) = &mut self.hosts[at].engine else { return false };
        engine.collect();
        let done = |report: &Report| matches!(report, Report::Captured { epoch: it, .. } if *it == epoch);
        if !engine.reports.iter().any(|(_, report)| done(report)) {
            return false;
        }
        let Some(domain) = self.hosts[at].yard.get().domains[guest].clone() else { return false };
        let state = {
            let mut domain = domain.get();
            domain.open = epoch.next();
            domain.captured
        };
        if let Some(state) = state {
            self.state_fact(guest, &Fact::Captured { generation, epoch, state, ordered_at });
        }
        true
    }

    /// An encode thread encodes what it has.
    pub(super) fn encodes(&mut self, at: HostId, slot: usize) {
        if let Some(engine) = &self.hosts[at].engine {
            let bench = engine.bench.clone();
            let work = bench.get().captures.get_mut(slot).and_then(|it| it.as_mut()?.work.take());
            if let Some(mut work) = work {
                work.encode();
                if let Some(Some(capturing)) = bench.get().captures.get_mut(slot) {
                    capturing.work = Some(work);
                }
            }
        }
        self.turn(at, Item::Nothing);
    }

    /// A receive thread works until something takes time.
    pub(super) fn works(&mut self, at: HostId, slot: usize) {
        let Some(engine) = &self.hosts[at].engine else { return };
        let bench = engine.bench.clone();
        let hangs_until = |host: &super::host::Host, guest: GuestId| host.receives_from[guest];
        let mut first = true;
        loop {
            let (work, mut replica, guest, reporter) = {
                let mut bench = bench.get();
                let Some(Some(holding)) = bench.replicas.get_mut(slot) else { break };
                holding.scheduled = false;
                if hangs_until(&self.hosts[at], holding.guest) > self.now {
                    break;
                }
                let slow = |work: &Work| {
                    let waits = matches!(work, Work::LiveCopy(CopyOrder::Halt));
                    waits
                        || matches!(work, Work::Commit(_) | Work::Activate { .. } | Work::ActivateCopy { .. })
                };
                let next = holding.waiting.front().is_some_and(|work| first || !slow(work));
                let Some(replica) = next.then(|| holding.work.take()).flatten() else { break };
                let Some(work) = holding.waiting.pop_front() else { break };
                (work, replica, holding.guest, holding.reporter.clone())
            };
            first = false;
            let changes = !matches!(&work, Work::Part(part) if part.bytes().is_some());
            let activates = match &work {
                Work::Activate { generation, .. } | Work::ActivateCopy { generation, .. } => {
                    Some(*generation)
                }
                _ => None,
            };
            self.wrong_work(at, guest, &work, &mut replica);
            let is_commit = matches!(work, Work::Commit(_));
            self.wrong_before(at, guest, &work, replica.receiver().committed().is_some());
            let replica = match work {
                Work::Commit(epoch) if std::mem::take(&mut self.hosts[at].commit_fails) => {
                    let replica = replica.take(Work::DropImage);
                    reporter.tell(Report::CommitFailed { epoch, error: "as the simulator wanted it".into() });
                    replica
                }
                Work::Commit(epoch) if self.mutant == Some(Mutant::CommitSkipped) => {
                    reporter.tell(Report::Committed { epoch });
                    Some(replica)
                }
                Work::LookAgain { generation, epoch } if self.mutant == Some(Mutant::LooksOnce) => {
                    reporter.tell(Report::Complete { generation, epoch });
                    Some(replica)
                }
                Work::ActivateCopy { generation, open } if self.mutant == Some(Mutant::ImageForCopy) => {
                    replica.take(Work::Activate { generation, open, through: None })
                }
                work => replica.take(work),
            };
            if let Some(Some(holding)) = bench.get().replicas.get_mut(slot) {
                holding.work = replica;
                if changes {
                    holding.look();
                }
            }
            self.wrong_after(at, guest, is_commit);
            self.copy_was_set(at, guest, slot);
            self.copy_steps_later(at, guest);
            if let Some(engine) = &mut self.hosts[at].engine {
                engine.acks_early(guest);
            }
            if let Some(generation) = activates {
                self.was_activated(at, guest, generation);
                if std::mem::take(&mut self.hosts[at].yard.get().dies_activating) {
                    return self.dies_activating(at);
                }
                break;
            }
        }
        self.turn(at, Item::Nothing);
    }

    /// A receive thread sets some more of a copy.
    pub(super) fn sets(&mut self, at: HostId, slot: usize) {
        let Some(engine) = &self.hosts[at].engine else { return };
        let bench = engine.bench.clone();
        let taken = {
            let mut bench = bench.get();
            let Some(Some(holding)) = bench.replicas.get_mut(slot) else { return };
            holding.sets_scheduled = false;
            let guest = holding.guest;
            holding.work.take().map(|work| (guest, work))
        };
        let Some((guest, mut work)) = taken else { return };
        work.set_on();
        if let Some(Some(holding)) = bench.get().replicas.get_mut(slot) {
            holding.work = Some(work);
            holding.look();
        }
        self.copy_was_set(at, guest, slot);
        self.turn(at, Item::Nothing);
    }

    /// After work of a receive thread, states whether it has set the copy.
    fn copy_was_set(&mut self, at: HostId, guest: GuestId, slot: usize) {
        let Some(engine) = &mut self.hosts[at].engine else { return };
        let known = engine.reports.len();
        engine.collect();
        let set = engine.reports.iter().skip(known).find_map(|(_, report)| match report {
            Report::CopySet { epoch } => Some(*epoch),
            _ => None,
        });
        let Some(epoch) = set else { return };
        let bench = engine.bench.clone();
        let (generation, image) = match bench.get().replicas.get(slot) {
            Some(Some(holding)) => (
                holding.sent_in.get(&epoch).copied().unwrap_or_default(),
                holding.image.filter(|(_, at, _)| *at == epoch).map(|(.., state)| state),
            ),
            _ => return,
        };
        let Some(copy) = self.hosts[at].yard.get().copies[guest].clone() else { return };
        let (state, runs) = {
            let copy = copy.get();
            (copy.state, copy.runs())
        };
        self.state_fact(guest, &Fact::CopySet { host: at, generation, epoch, state, image, runs });
    }

    /// States what guests began on their disks.
    pub(super) fn state_disks(&mut self, at: HostId) {
        let began = std::mem::take(&mut self.hosts[at].yard.get().on_disks);
        for (guest, memory) in began {
            let content = self.hosts[at].yard.get().machine.content(guest);
            if let Some(content) = content {
                self.state_fact(guest, &Fact::RunsOnDisk { host: at, memory, content });
            }
        }
    }

    /// The engine dies after the guest has been built.
    fn dies_activating(&mut self, at: HostId) {
        self.engine_ends(at);
        self.start_engine(at);
        self.dial_all(at);
    }

    fn was_activated(&mut self, at: HostId, guest: GuestId, generation: Generation) {
        self.state_disks(at);
        let activated = std::mem::take(&mut self.hosts[at].yard.get().activated);
        for (it, state) in activated {
            debug_assert_eq!(it, guest, "one activation at a time");
            let Some(domain) = self.hosts[at].yard.get().domains[guest].clone() else { continue };
            (domain.get().generation, domain.get().stamp) = (generation, generation);
            domain.get().run_by = self.hosts[at].life;
            let id = domain.get().id;
            self.state_fact(guest, &Fact::Activated { host: at, generation, state });
            self.step_later(at, guest, id);
            let pause = self.rng.span_us(0, 50_000);
            self.agenda.add(self.now + pause, Event::Settles { host: at, guest, id });
        }
    }

    pub(super) fn settles(&mut self, at: HostId, guest: GuestId, id: u64) {
        let domain = self.hosts[at].yard.get().domains[guest].clone();
        if let Some(domain) = domain.filter(|domain| domain.get().id == id) {
            domain.get().settled = true;
            self.turn(at, Item::Nothing);
        }
    }

    /// Makes a thread of a guest panic.
    pub(super) fn thread_dies(&mut self, at: HostId, guest: GuestId, thread: super::faults::Thread) {
        use super::faults::Thread;
        let Some(engine) = &self.hosts[at].engine else { return };
        let bench = engine.bench.clone();
        {
            let mut bench = bench.get();
            let capturing = bench.captures.iter_mut().flatten().rfind(|it| it.guest == guest);
            match (thread, capturing) {
                (Thread::Capture, Some(capturing)) => {
                    capturing.work = None;
                    capturing.orders.clear();
                    capturing.waits = None;
                    dies(&capturing.reporter, "capture");
                }
                (Thread::Encode, Some(capturing)) => {
                    if let Some(work) = &mut capturing.work {
                        work.lose_encoder();
                        dies(&capturing.reporter, "encode");
                    }
                }
                (Thread::Receive, _) => {
                    if let Some(holding) = bench.replicas.iter_mut().flatten().rfind(|it| it.guest == guest) {
                        (holding.work, holding.image) = (None, None);
                        holding.waiting.clear();
                        dies(&holding.reporter, "receive");
                    }
                }
                _ => {}
            }
        }
        if self.mutant == Some(Mutant::PanicDestroys)
            && let Some(domain) = &self.hosts[at].yard.get().domains[guest]
        {
            domain.get().gone = true;
        }
        self.turn(at, Item::Nothing);
    }
}
