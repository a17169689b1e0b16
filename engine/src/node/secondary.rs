//! A guest held here: its primary's frames go through the session to the receive thread, in order.
//!
//! ```text
//!   link ─► inbox ─► session (messages) ─► Receive, Commit, Drop… ─┐
//!              └───► parts of the epoch being received ────────────┴─► ReplicaHandle (bounded)
//! ```
//!
//! The inbox waits while the verdict on an epoch is due, which the session must learn before the next epoch begins, and
//! while the thread is busy. Then the primary's window stays closed (a link of version 1 is not read), and its epochs
//! get longer. Heartbeats do not wait in the inbox.

mod copy;
mod driver;
mod inbox;
mod report;
mod words;

use super::context::Context;
use super::inbound::{GuestName, Inbound};
use crate::control::GuestRole;
use crate::control::status::KeptStatus;
use crate::guest::{PreviousRun, ReplicaThread, RunningGuest, RuntimeId, Traffic, Work};
use crate::metrics::GuestMeter;
use copy::CopyHere;
use std::collections::VecDeque;
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::EpochHead;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::{GuestFrame, HoldRefusal};
use understudy_session::secondary::{Input, Output, Secondary, Start, State};
use understudy_session::{EpochKind, NodeName, Record, Standing, Time, ToPrimary};

/// Above this, a link without windows is not read until the thread has caught up.
const INBOX_BYTES_MAX: usize = 1 << 20;

/// A takeover that is decided: the guest is being started.
#[derive(Debug)]
pub(super) struct Activation {
    pub(super) record: Record,
    pub(super) epoch: Epoch,
    pub(super) authority_at: Time,
    /// The later generation for which the other host has spoken as primary since.
    pub(super) is_outdated: bool,
}

#[derive(Debug)]
pub(super) struct SecondaryGuest {
    pub(super) name: GuestName,
    /// The host that runs the guest.
    pub(super) peer: NodeName,
    pub(super) runtime: RuntimeId,
    pub(super) session: Secondary,
    pub(super) replica_thread: Box<dyn ReplicaThread>,
    /// The live copy that may run here.
    copy: Option<CopyHere>,
    pub(super) description: Description,
    pub(super) meter: GuestMeter,
    inbox: VecDeque<Inbound>,
    inbox_bytes: usize,
    /// Work that the thread had no room for.
    waiting: VecDeque<Work>,
    /// The epoch that arriving parts belong to.
    receiving: Option<(Generation, Epoch)>,
    /// The base of the epoch begun last.
    base: Option<Epoch>,
    /// Whether the whole epoch was handed over and the thread's verdict is due.
    verdict_due: bool,
    /// Epochs that have begun and are not committed, and when they began.
    begun: VecDeque<(Epoch, Time)>,
    last_commit: Option<Time>,
    kept: KeptStatus,
    /// When and how the primary was found lost.
    pub(super) lost: Option<(Time, &'static str)>,
    pub(super) activation: Option<Activation>,
    /// The guest runs here, and no primary driver has taken it yet.
    started: Option<RunningGuest>,
    /// Set while the receive thread starts the guest.
    is_being_started: bool,
    /// Why the guest could not be started, or not yet.
    delay: Option<String>,
    /// What has become of its image then.
    saved: Option<String>,
    /// Why the guest's disk here does not follow; until an epoch is committed again.
    disk_fault: Option<String>,
    pub(super) broken: Option<String>,
    /// Set if its session is lost: see [`defect`](super::defect).
    pub(super) defect: Option<String>,
    /// Why the receive thread cannot hold the guest any more.
    pub(super) given_up: Option<HoldRefusal>,
    /// The guest's description from its next full sync on, if it differs from what is held.
    renewal: Option<Description>,
    /// The generation up to which leftovers here were told to halt.
    paused_before: Generation,
    is_attached: bool,
    /// Whether anything has come from the primary since it was attached.
    has_spoken: bool,
    /// What a takeover waits for, while it waits for fencing.
    fence_words: String,
}

/// What a [`SecondaryGuest`] is made from.
pub(super) struct Parts {
    pub(super) name: GuestName,
    pub(super) peer: NodeName,
    pub(super) runtime: RuntimeId,
    pub(super) session: Secondary,
    pub(super) replica_thread: Box<dyn ReplicaThread>,
    /// `None` where no copy can run.
    pub(super) traffic: Option<Arc<Traffic>>,
    pub(super) description: Description,
    pub(super) meter: GuestMeter,
}

impl SecondaryGuest {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, peer, runtime, session, replica_thread, traffic, description, mut meter } = parts;
        meter.set_role(GuestRole::Secondary, 0);
        Self {
            name,
            peer,
            runtime,
            session,
            replica_thread,
            copy: traffic.map(CopyHere::new),
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
            kept: KeptStatus::default(),
            lost: None,
            activation: None,
            started: None,
            is_being_started: false,
            delay: None,
            saved: None,
            disk_fault: None,
            broken: None,
            defect: None,
            given_up: None,
            renewal: None,
            paused_before: Generation(0),
            is_attached: false,
            has_spoken: false,
            fence_words: String::new(),
        }
    }

    /// Whether there is neither an image here nor a guest that is being started from one.
    pub(super) fn holds_nothing(&self) -> bool {
        self.activation.is_none() && self.session.state() == State::Empty
    }

    /// Whether a later generation has been seen, from a primary or in an offer, than that of a guest which a dead
    /// engine left here. A copy of that generation is about to come, and the leftover makes way for it.
    pub(super) fn is_newer_than(&self, left: Option<PreviousRun>, offered: Option<Generation>) -> bool {
        left.is_some_and(|left| self.session.heard_from().max(offered) > Some(left.generation))
    }

    /// Whether the guest is being started at this moment; a report will tell the outcome.
    pub(super) fn is_being_started(&self) -> bool {
        self.is_being_started && self.session.state() == State::Activating
    }

    /// Whether the guest should have run here before `generation` and could not be started.
    pub(super) fn has_failed_before(&self, generation: Option<Generation>) -> bool {
        self.session.state() == State::ActivationFailed && generation > Some(self.session.generation())
    }

    /// Whether to stop reading a link without windows for now.
    pub(super) fn is_full(&self) -> bool {
        self.inbox_bytes > INBOX_BYTES_MAX || !self.waiting.is_empty()
    }

    /// Tells the session an input, and performs its outputs.
    pub(super) fn handle(&mut self, input: Input, cx: &mut dyn Context) {
        let now = cx.now();
        if self.call(|session| session.handle(now, input), cx) {
            self.pause_older();
            self.perform_all(cx);
        }
    }

    /// Halts what an earlier engine left of the guest here, as soon as a later generation is known. It is kept until
    /// that generation's full sync begins.
    fn pause_older(&mut self) {
        let newest = self.session.generation();
        if newest > self.paused_before && self.activation.is_none() {
            self.paused_before = newest;
            self.give(Work::PauseOlder(newest));
        }
    }

    /// Runs the session's timer if it is due.
    pub(super) fn run_timers(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        if self.session.next_timeout().is_some_and(|at| at <= now)
            && self.defect.is_none()
            && self.call(|session| session.handle_timeout(now), cx)
        {
            self.perform_all(cx);
        }
    }

    /// When [`run_timers`](Self::run_timers) has something to do; never if the session is lost.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let of_copy = self.copy.as_ref().and_then(CopyHere::next_look);
        let session = self.session.next_timeout().into_iter().chain(of_copy).min();
        session.filter(|_| self.defect.is_none())
    }

    /// There is a link to the primary.
    pub(super) fn attach(&mut self, cx: &mut dyn Context) {
        if !self.is_attached {
            self.is_attached = true;
            self.handle(Input::LinkUp, cx);
        }
    }

    /// The link to the primary or the primary itself is gone: nothing more of it is handled.
    pub(super) fn detach(&mut self, cx: &mut dyn Context) {
        self.forget_link();
        self.handle(Input::LinkDown, cx);
        self.stop_receiving();
    }

    fn forget_link(&mut self) {
        self.inbox.clear();
        (self.inbox_bytes, self.renewal) = (0, None);
        (self.is_attached, self.has_spoken) = (false, false);
        self.copy.iter().for_each(CopyHere::link_lost);
    }

    /// The primary runs another guest than the one that is held. The image may still be activated until a full sync of
    /// the other guest begins, which the witness has allowed; but no epoch can build on it.
    pub(super) fn renew(&mut self, description: Description) {
        tracing::info!(guest = %self.name, peer = %self.peer, "The guest is another one than before, or has other devices");
        self.renewal = Some(description);
    }

    fn perform_all(&mut self, cx: &mut dyn Context) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(message) => {
                    let message = self.not_built_upon(message);
                    if let Some(guest) = cx.number_of(&self.peer, &self.name) {
                        cx.send(&self.peer, &GuestFrame::ToPrimary(message).of(guest));
                    }
                }
                Output::AskWitness(request) => cx.ask_witness(&self.name, request),
                Output::Receive { generation, epoch, kind } => {
                    self.receive(generation, epoch, kind, cx.now())
                }
                Output::LookAgain { generation, epoch } => {
                    (self.receiving, self.verdict_due) = (Some((generation, epoch)), true);
                    self.give(Work::LookAgain { generation, epoch });
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
                Output::SetCopy { .. }
                | Output::RunCopy { .. }
                | Output::HaltCopy
                | Output::CutCopy
                | Output::DropCopy => self.copy_order(&output, cx),
                Output::Activate { record, epoch, start } => self.activate(record, epoch, start, cx.now()),
                // If the peer speaks for other guests, the link stays for them. Frames that still wait here are of a
                // link that is over.
                Output::CloseLink => {
                    cx.end_silent_link(&self.peer);
                    self.forget_link();
                }
                Output::Report(event) => self.event(event, cx.now()),
            }
        }
    }

    /// Begins to receive an epoch.
    fn receive(&mut self, generation: Generation, epoch: Epoch, kind: EpochKind, now: Time) {
        if kind == EpochKind::Seed
            && let Some(description) = self.renewal.take()
        {
            self.description = description.clone();
            self.give(Work::Renew(Box::new(description)));
        }
        self.receiving = Some((generation, epoch));
        self.begun.push_back((epoch, now));
        self.give(Work::Begin(EpochHead { generation, epoch, kind, base: self.base }));
    }

    /// Starts the guest from its image, or makes its copy the guest.
    fn activate(&mut self, record: Record, epoch: Epoch, start: Start, now: Time) {
        let (generation, open) = (record.generation, epoch.next());
        self.give(match start {
            Start::Image => {
                let through = self.copy.as_ref().and_then(|copy| copy.through(epoch));
                Work::Activate { generation, open, through }
            }
            Start::SetCopy | Start::LiveCopy => Work::ActivateCopy { generation, open },
        });
        self.is_being_started = true;
        self.activation.get_or_insert(Activation { record, epoch, authority_at: now, is_outdated: false });
    }

    /// An image of another guest is not a base for this primary's changes.
    fn not_built_upon(&self, message: ToPrimary) -> ToPrimary {
        match message {
            ToPrimary::Stand { generation, standing: Standing::Complete { .. } }
                // A question is answered with what is held: the copy of any guest of this name must not be overwritten.
                if self.renewal.is_some() && generation.0 > 0 =>
            {
                ToPrimary::Stand { generation, standing: Standing::Nothing }
            }
            message => message,
        }
    }
}

#[cfg(test)]
mod tests;
