//! A guest held here: what its primary sends goes through the session to the receive thread, in order.
//!
//! ```text
//!   link ─► inbox ─► session (messages) ─► Receive, Commit, Drop… ─┐
//!              └───► parts of the epoch being received ────────────┴─► Keeper (bounded)
//! ```
//!
//! The inbox stands still while an epoch's verdict is awaited (the session learns of it before the next begin)
//! and while the thread has enough to do; then the link is not read on, and the primary's epochs get longer.

use super::arrived::{Arrived, GuestName};
use super::wires::Wires;
use crate::control::GuestRole;
use crate::control::status::GuestStatus;
use crate::guest::{ReplicaThread, Report, RuntimeId, Work};
use crate::link::Frame;
use crate::metrics::GuestMeter;
use crate::session::primary::Loss;
use crate::session::secondary::{Event, Input, Output, Secondary, State};
use crate::session::{Decline, NodeName, Record, Time, ToSecondary};
use std::collections::VecDeque;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Epoch, Generation};

/// Above this the link is not read on until the thread has caught up.
const INBOX_BYTES_MAX: usize = 1 << 20;

/// A takeover that is decided: the guest is being started.
#[derive(Debug)]
pub(super) struct Activation {
    pub(super) record: Record,
    pub(super) epoch: Epoch,
    pub(super) authority_at: Time,
}

#[derive(Debug)]
pub(super) struct SecondaryGuest {
    pub(super) name: GuestName,
    /// The host that runs it.
    pub(super) peer: NodeName,
    pub(super) runtime: RuntimeId,
    pub(super) session: Secondary,
    pub(super) keeper: Box<dyn ReplicaThread>,
    pub(super) description: Description,
    pub(super) meter: GuestMeter,
    inbox: VecDeque<Arrived>,
    inbox_bytes: usize,
    /// Work that the thread had no room for.
    waiting: VecDeque<Work>,
    /// The epoch that parts belong to.
    receiving: Option<(Generation, Epoch)>,
    /// Base of the epoch begun last.
    base: Option<Epoch>,
    /// All of the epoch was handed over, the thread has not said whether it is whole.
    verdict_due: bool,
    /// Epochs begun and not committed, and when they began.
    begun: VecDeque<(Epoch, Time)>,
    last_commit: Option<Time>,
    /// When and how the primary was found lost.
    pub(super) lost: Option<(Time, &'static str)>,
    pub(super) activation: Option<Activation>,
    pub(super) broken: Option<String>,
}

/// What a [`SecondaryGuest`] is made from.
pub(super) struct Parts {
    pub(super) name: GuestName,
    pub(super) peer: NodeName,
    pub(super) runtime: RuntimeId,
    pub(super) session: Secondary,
    pub(super) keeper: Box<dyn ReplicaThread>,
    pub(super) description: Description,
    pub(super) meter: GuestMeter,
}

impl SecondaryGuest {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, peer, runtime, session, keeper, description, mut meter } = parts;
        meter.set_role(GuestRole::Secondary, 0);
        Self {
            name,
            peer,
            runtime,
            session,
            keeper,
            description,
            meter,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            waiting: VecDeque::new(),
            receiving: None,
            base: None,
            verdict_due: false,
            begun: VecDeque::new(),
            last_commit: None,
            lost: None,
            activation: None,
            broken: None,
        }
    }

    /// Whether the link should not be read on for now.
    pub(super) fn is_full(&self) -> bool {
        self.inbox_bytes > INBOX_BYTES_MAX || !self.waiting.is_empty()
    }

    /// Tells the session, and performs what it wants.
    pub(super) fn handle(&mut self, input: Input, wires: &mut dyn Wires) {
        let mut outputs = Vec::new();
        self.session.handle(wires.now(), input, &mut outputs);
        self.perform(outputs, wires);
    }

    /// Runs the session's timer if it is due.
    pub(super) fn run_timers(&mut self, wires: &mut dyn Wires) {
        if self.session.next_timeout().is_some_and(|at| at <= wires.now()) {
            let mut outputs = Vec::new();
            self.session.handle_timeout(wires.now(), &mut outputs);
            self.perform(outputs, wires);
        }
    }

    /// The link to the primary is gone: nothing of it is looked at any more.
    pub(super) fn detach(&mut self, wires: &mut dyn Wires) {
        self.inbox.clear();
        self.inbox_bytes = 0;
        self.handle(Input::LinkDown, wires);
        self.stop_receiving();
    }

    /// A frame from the primary.
    pub(super) fn arrived(&mut self, what: Arrived, wires: &mut dyn Wires) {
        self.inbox_bytes += what.len_bytes();
        self.inbox.push_back(what);
        self.pump(wires);
    }

    /// Goes through the inbox as far as it may.
    pub(super) fn pump(&mut self, wires: &mut dyn Wires) {
        self.give_waiting();
        let mut heard = false;
        while self.waiting.is_empty()
            && !self.verdict_due
            && let Some(what) = self.inbox.pop_front()
        {
            self.inbox_bytes -= what.len_bytes();
            heard = true;
            self.take(what, wires);
        }
        if heard {
            self.handle(Input::SignOfLife, wires);
        }
    }

    fn take(&mut self, what: Arrived, wires: &mut dyn Wires) {
        let work = match what {
            Arrived::ToSecondary(message) => {
                match &message {
                    ToSecondary::EpochBegin { base, .. } => self.base = *base,
                    ToSecondary::Switchover { .. } => self.lost = Some((wires.now(), "switchover")),
                    _ => {}
                }
                return self.handle(Input::Message(message), wires);
            }
            Arrived::Pages(batch) => Work::Pages(batch),
            Arrived::LibxcState(records) => Work::LibxcState(records),
            Arrived::LibxlState(records) => Work::LibxlState(records),
            Arrived::EpochEnd(summary) => Work::End(summary),
            Arrived::Offer(_) | Arrived::ToPrimary(_) => return,
        };
        if self.receiving.is_some() {
            self.verdict_due = matches!(work, Work::End(_));
            self.give(work);
        }
    }

    fn give(&mut self, work: Work) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(work);
        } else if let Err(work) = self.keeper.offer(work) {
            self.waiting.push_back(work);
        }
    }

    fn give_waiting(&mut self) {
        while let Some(work) = self.waiting.pop_front() {
            if let Err(work) = self.keeper.offer(work) {
                self.waiting.push_front(work);
                return;
            }
        }
    }

    fn stop_receiving(&mut self) {
        self.receiving = None;
        self.verdict_due = false;
    }

    /// What the receive thread says.
    pub(super) fn report(&mut self, report: Report, wires: &mut dyn Wires) {
        match report {
            Report::Complete { generation, epoch } => {
                if self.receiving == Some((generation, epoch)) {
                    self.stop_receiving();
                    self.handle(Input::Complete { generation, epoch }, wires);
                    // A seed is in the image when it is complete; its time says nothing of checkpoints.
                    if self.session.committed() == Some(epoch) {
                        self.begun.clear();
                    }
                }
            }
            Report::Broken { generation, epoch, why, error } => {
                match why {
                    Decline::Diverged => {
                        tracing::error!(guest = %self.name, %epoch, error, "The copy is wrong")
                    }
                    _ => tracing::warn!(guest = %self.name, %epoch, error, "An epoch cannot be used"),
                }
                if self.receiving == Some((generation, epoch)) {
                    self.stop_receiving();
                    self.begun.pop_back();
                    self.handle(Input::Broken { generation, epoch, why }, wires);
                }
            }
            Report::Committed { epoch } => {
                while let Some((_, since)) = self.begun.pop_front_if(|(begun, _)| *begun <= epoch) {
                    self.meter.committed((wires.now() - since).into());
                }
                self.last_commit = Some(wires.now());
                self.handle(Input::Committed { epoch }, wires);
            }
            Report::CommitFailed { epoch, error } => {
                tracing::error!(guest = %self.name, %epoch, error, "The image is lost");
                self.handle(Input::CommitFailed { epoch }, wires);
            }
            Report::ActivationFailed { error } => self.broken = Some(error),
            Report::Panicked { worker, message } => {
                self.broken = Some(format!("its {worker} thread panicked: {message}"));
            }
            other => tracing::error!(guest = %self.name, ?other, "A report of a primary for a secondary"),
        }
        self.pump(wires);
    }

    fn perform(&mut self, outputs: Vec<Output>, wires: &mut dyn Wires) {
        for output in outputs {
            match output {
                Output::Send(message) => {
                    if let Some(guest) = wires.number_of(&self.peer, &self.name) {
                        wires.send(&self.peer, &Frame::ToPrimary { guest, message });
                    }
                }
                Output::AskWitness(request) => wires.ask_witness(&self.name, request),
                Output::Receive { generation, epoch, kind } => {
                    self.receiving = Some((generation, epoch));
                    self.begun.push_back((epoch, wires.now()));
                    self.give(Work::Begin { generation, epoch, kind, base: self.base });
                }
                Output::Commit { epoch } => self.give(Work::Commit(epoch)),
                Output::DropIncomplete => {
                    self.stop_receiving();
                    self.begun.pop_back();
                    self.give(Work::DropIncomplete);
                }
                Output::DropImage => {
                    self.stop_receiving();
                    self.begun.clear();
                    self.give(Work::DropImage);
                }
                Output::Activate { record, epoch } => {
                    let generation = record.generation;
                    self.give(Work::Activate { generation, open: epoch.next() });
                    self.activation = Some(Activation { record, epoch, authority_at: wires.now() });
                }
                Output::CloseLink => {
                    wires.close_link(&self.peer, "The primary does not answer");
                }
                Output::Report(event) => self.event(event, wires.now()),
            }
        }
    }

    fn event(&mut self, event: Event, now: Time) {
        let guest = &*self.name;
        match event {
            Event::State(state) => {
                tracing::info!(guest, ?state, "Secondary");
                self.meter.set_role(GuestRole::Secondary, self.session.generation().0);
                self.meter.set_protected(matches!(state, State::Standing));
                if state == State::Seeding {
                    self.give(Work::EndOlder(self.session.generation()));
                }
            }
            Event::PrimaryLost { why } => {
                tracing::warn!(guest, peer = %self.peer, ?why, "Primary lost");
                let reason = match why {
                    Loss::LinkEnded => "link_ended",
                    Loss::Silent => "silent",
                };
                self.lost = Some((now, reason));
            }
            Event::TakeoverRefused { record } => tracing::warn!(guest, ?record, "No takeover"),
        }
    }

    /// Enters what only this role knows.
    pub(super) fn fill(&self, status: &mut GuestStatus, now: Time) {
        let state = self.session.state();
        status.state = super::status::snake_case(&state);
        status.protected = state == State::Standing;
        status.reason = super::status::secondary_reason(state, &self.peer);
        status.generation = self.session.generation().0;
        status.epoch = self.receiving.map(|(_, epoch)| epoch.0).or(status.acked);
        status.acked = self.session.acked().map(|epoch| epoch.0);
        status.committed = self.session.committed().map(|epoch| epoch.0);
        status.commit_age_ms = self.last_commit.map(|at| (now - at).0 / 1_000_000);
    }
}
