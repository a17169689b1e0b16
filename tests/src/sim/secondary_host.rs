//! The driver of a secondary, modelled: it takes epochs in, commits them to an image, and activates it.

use super::HostId;
use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::Moment;
use super::host::{BUFFER_MAX, Role, SecondaryHost};
use super::model::{Payload, State, WORDS};
use super::mutant::Mutant;
use super::network::{LINK, Wire, witness_channel};
use std::collections::VecDeque;
use understudy::session::primary::Origin;
use understudy::session::secondary::{self, Input, Output};
use understudy::session::{
    Decline, EpochKind, Record, Span, ToPrimary, ToSecondary, WitnessOutcome, WitnessReply, WitnessRequest,
};
use understudy_checkpoint::{Epoch, Generation};

impl Cluster {
    /// `host` offers itself as secondary, without an image.
    pub(super) fn become_secondary(&mut self, at: HostId) {
        let session = secondary::Secondary::new(self.settings.secondary(at), self.now);
        let host = SecondaryHost {
            session,
            image: None,
            receiving: None,
            buffer: VecDeque::new(),
            inbox: VecDeque::new(),
            busy_until: self.now,
        };
        self.begin_role(at, Role::Secondary(Box::new(host)));
        if self.end_is_up(LINK, at) {
            self.secondary_input(at, Input::LinkUp);
        }
        if self.end_is_up(witness_channel(at), at) {
            self.secondary_input(at, Input::WitnessUp);
        }
    }

    /// Hands an input to the session and performs what it says.
    pub(super) fn secondary_input(&mut self, at: HostId, input: Input) {
        if !matches!(&input, Input::SignOfLife | Input::Message(ToSecondary::Heartbeat { .. })) {
            self.note(at, || format!("◄ {input:?}"));
        }
        let mut out = Vec::new();
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        host.session.handle(self.now, input, &mut out);
        self.perform_secondary(at, out);
    }

    pub(super) fn secondary_timeout(&mut self, at: HostId) {
        let mut out = Vec::new();
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        host.session.handle_timeout(self.now, &mut out);
        self.note(at, || "◄ timeout".to_owned());
        self.perform_secondary(at, out);
    }

    fn perform_secondary(&mut self, at: HostId, outputs: Vec<Output>) {
        let life = self.hosts[at].life;
        for output in outputs {
            if self.hosts[at].life != life {
                return;
            }
            if !matches!(&output, Output::Send(ToPrimary::Heartbeat { .. })) {
                self.note(at, || format!("  ► {output:?}"));
            }
            self.perform_secondary_output(at, output);
        }
    }

    fn perform_secondary_output(&mut self, at: HostId, output: Output) {
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        match output {
            Output::Send(message) => self.secondary_says(at, message),
            Output::AskWitness(request) => self.secondary_asks(at, request),
            Output::Receive { generation, epoch, kind } => {
                host.receiving = Some((generation, epoch, kind));
                if kind == EpochKind::Seed {
                    host.image = None;
                }
            }
            Output::Commit { epoch } => self.begin_commit(at, epoch),
            Output::DropIncomplete => host.receiving = None,
            Output::DropImage => {
                host.receiving = None;
                host.buffer.clear();
                host.image = None;
            }
            Output::Activate { record, epoch } => self.activate(at, record, epoch),
            Output::CloseLink => self.close(LINK, at),
            Output::Report(secondary::Event::State(state)) => self.moment(Moment::Secondary(state)),
            Output::Report(_) => {}
        }
    }

    fn secondary_says(&mut self, at: HostId, message: ToPrimary) {
        let message = match message {
            ToPrimary::Declined { generation, epoch: Some(epoch), why: Decline::TakingOver }
                if self.mutant == Some(Mutant::AckAfterTakeover) =>
            {
                ToPrimary::Ack { generation, epoch }
            }
            message => message,
        };
        if let ToPrimary::Ack { generation, epoch } = message {
            self.state_fact(&Fact::AckSent { generation, epoch });
        }
        self.send(LINK, at, Wire::ToPrimary(message), Span(0));
    }

    fn secondary_asks(&mut self, at: HostId, request: WitnessRequest) {
        if let WitnessRequest::Swap { id, new, .. } = &request
            && new.owner == super::host::name(at)
            && self.mutant == Some(Mutant::TakeoverWithoutWitness)
        {
            let reply = WitnessReply { id: *id, outcome: WitnessOutcome::Swapped, record: Some(new.clone()) };
            return self.secondary_input(at, Input::Witness(reply));
        }
        self.send(witness_channel(at), at, Wire::Request(request), Span(0));
    }

    /// What was not read of the connection is lost with it.
    pub(super) fn secondary_loses_link(&mut self, at: HostId) {
        if let Role::Secondary(host) = &mut self.hosts[at].role {
            host.inbox.clear();
        }
        self.secondary_input(at, Input::LinkDown);
    }

    /// Keeps what the link brings from the session while the buffer is full; true if it was kept.
    pub(super) fn is_kept_waiting(&mut self, at: HostId, wire: &Wire) -> bool {
        match &mut self.hosts[at].role {
            Role::Secondary(_) if self.mutant == Some(Mutant::NoBackpressure) => false,
            Role::Secondary(host) if host.buffer.len() >= BUFFER_MAX => {
                host.inbox.push_back(wire.clone());
                true
            }
            _ => false,
        }
    }

    /// A commit has made room: the link is read again.
    fn read_inbox(&mut self, at: HostId) {
        while let Role::Secondary(host) = &mut self.hosts[at].role
            && host.buffer.len() < BUFFER_MAX
            && let Some(wire) = host.inbox.pop_front()
        {
            self.hear(at, wire);
        }
    }

    /// Pages of an epoch arrive.
    pub(super) fn half_arrives(&mut self, at: HostId, payload: &Payload) {
        let early = self.mutant == Some(Mutant::CommitPartial);
        if let Role::Secondary(host) = &mut self.hosts[at].role
            && host.receiving == Some((payload.generation, payload.epoch, EpochKind::Delta))
            && let Some((_, _, state)) = host.image.as_mut().filter(|_| early)
        {
            let half = Payload { mask: payload.mask & 0x0F, ..*payload };
            half.apply(state);
        }
        self.secondary_input(at, Input::SignOfLife);
    }

    /// The end of an epoch arrives.
    pub(super) fn rest_arrives(&mut self, at: HostId, payload: Payload) {
        let Payload { generation, epoch, kind, .. } = payload;
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        if host.receiving != Some((generation, epoch, kind)) {
            return;
        }
        host.receiving = None;
        let why = match (payload.damaged, payload.too_large) {
            (true, _) => Some(Decline::Damaged),
            (false, true) => Some(Decline::TooLarge),
            (false, false) => None,
        };
        if let Some(why) = why {
            return self.secondary_input(at, Input::Broken { generation, epoch, why });
        }
        match kind {
            EpochKind::Seed => {
                let mut state = State { counter: 0, words: [0; WORDS] };
                payload.apply(&mut state);
                host.image = Some((generation, epoch, state));
            }
            EpochKind::Delta => host.buffer.push_back(payload),
        }
        self.secondary_input(at, Input::Complete { generation, epoch });
    }

    fn begin_commit(&mut self, at: HostId, epoch: Epoch) {
        let life = self.hosts[at].life;
        let takes = self.rng.span_us(50, 1_500);
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        host.busy_until = host.busy_until.max(self.now) + takes;
        self.agenda.add(host.busy_until, Event::CommitEnds { host: at, life, epoch });
        if self.mutant == Some(Mutant::CommitSaidEarly) {
            self.secondary_input(at, Input::Committed { epoch });
        }
    }

    pub(super) fn commit_ends(&mut self, at: HostId, epoch: Epoch) {
        let fails = std::mem::take(&mut self.hosts[at].commit_fails);
        let Role::Secondary(host) = &mut self.hosts[at].role else { return };
        let Some(payload) = host.buffer.pop_front_if(|payload| payload.epoch == epoch) else {
            // Dropped meanwhile, with the image. That made room as well.
            return self.read_inbox(at);
        };
        if fails {
            host.image = None;
            self.secondary_input(at, Input::CommitFailed { epoch });
        } else {
            if let Some((_, stands_at, state)) = &mut host.image {
                payload.apply(state);
                *stands_at = epoch;
            }
            self.secondary_input(at, Input::Committed { epoch });
        }
        self.read_inbox(at);
    }

    fn activate(&mut self, at: HostId, record: Record, epoch: Epoch) {
        let Some((_, _, state)) = self.hosts[at].image() else {
            return self.fail(super::judge::Invariant::Atomicity, "a takeover without an image".to_owned());
        };
        let generation = record.generation;
        self.state_fact(&Fact::Activated { host: at, generation, state });
        self.learn(at, generation);
        self.moment(Moment::Secondary(secondary::State::Activating));
        let origin = Origin::TookOver { record, next_epoch: epoch.next() };
        self.become_primary(at, origin, Some(state));
    }

    pub(super) fn learn(&mut self, host: HostId, generation: Generation) {
        self.state_fact(&Fact::Learnt { host, generation });
    }
}
