//! A guest that runs here: performs its session's outputs, and tells the session what its workers report.

mod copy;
mod driver;
mod ending;
mod event;
mod fence;
mod full_sync;
mod gate;
mod input_load;
mod mend;
mod offer;
mod report;
mod unacked;
mod words;

use super::context::{Context, Silence};
use super::epoch_sender::{EpochSender, NoOutlet, SendQueue};
use super::inbound::GuestName;
use super::new_primary::check_size;
use super::output_log;
use super::replay_stats::ReplayStats;
use super::sync_rate::SyncRate;
use crate::control::status::Takeover;
use crate::guest::{CaptureOrder, Checkpointer, Health, HeldOutput, Machine, Outlet, Participants, Passed};
use crate::guest::{RuntimeId, Stuck};
use crate::metrics::GuestMeter;
pub(super) use copy::CopyElsewhere;
pub(super) use fence::FenceHere;
use full_sync::FullSync;
use gate::FullSyncOrder;
pub(super) use gate::Gate;
use mend::Broken;
pub(super) use offer::OwnOffer;
use std::collections::VecDeque;
use std::sync::Arc;
pub(super) use unacked::Unacked;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::{Epoch, Generation};
use understudy_link::{DISKS_SINCE, GuestFrame, GuestId, HoldReason, HoldRefusal};
use understudy_netbuf::Waiting;
use understudy_session::primary::{self, Capture, End, Input, Output, Primary, State};
use understudy_session::{NodeName, Time, ToSecondary};

const _: () =
    assert!(primary::BARE_MANY == understudy_netbuf::BARE_MANY, "a queue tells of what the pacer waits for");

/// Why a guest does not run here any more.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// A newer generation runs on another host.
    #[error("the peer runs it in generation {0}, which is newer")]
    Superseded(Generation),
    /// A person ordered it.
    #[error("a person said so")]
    Discarded,
    /// It is a recording that is not played any more.
    #[error("{0}")]
    Broken(String),
}

#[derive(Debug)]
pub(super) struct PrimaryGuest {
    pub(super) name: GuestName,
    pub(super) peer: NodeName,
    pub(super) runtime: RuntimeId,
    pub(super) session: Primary,
    pub(super) output: HeldOutput,
    /// What is cut in each pause and released after its ack: the output, and whatever else the guest has.
    pub(super) participants: Participants,
    /// `None` for a recording.
    pub(super) machine: Option<Arc<dyn Machine>>,
    /// `None` once the guest has ended, so that its memory is free.
    pub(super) protector: Option<Box<dyn Checkpointer>>,
    pub(super) description: Description,
    /// Its number and queue on the present link.
    pub(super) place: Option<(GuestId, SendQueue)>,
    pub(super) capturing: Option<Epoch>,
    /// The generation that the machine was told.
    pub(super) marked: Generation,
    /// The memory used to compare its pages; 0 if Xen logs its writes.
    pub(super) compared_bytes: u64,
    pub(super) meter: GuestMeter,
    pub(super) unacked: Unacked,
    pub(super) replay_stats: ReplayStats,
    /// The newest epoch that is encoded and counted. An ack may come before that report.
    pub(super) encoded: Option<Epoch>,
    pub(super) takeover: Option<Takeover>,
    pub(super) last_commit: Option<Time>,
    /// The capture that found the recording at its end. The session is told once everything is acked.
    pub(super) recording_ended: Option<Epoch>,
    /// The peer's answer to the guest's offer.
    pub(super) offer: OwnOffer,
    /// The full sync that was begun last.
    pub(super) full_sync: Option<FullSync>,
    /// What full syncs of this node share.
    pub(super) sync_rate: Option<SyncRate>,
    pub(super) gate: Gate,
    pub(super) copy: CopyElsewhere,
    pub(super) fence: FenceHere,
    /// Whether its end was logged.
    pub(super) end_seen: bool,
    pub(super) broken: Option<Broken>,
    pub(super) over: Option<Over>,
    /// Set if its session is lost: see [`defect`](super::defect).
    pub(super) defect: Option<String>,
}

impl PrimaryGuest {
    /// Tells the session an input, and performs its outputs.
    pub(super) fn handle(&mut self, input: Input, cx: &mut dyn Context) {
        let (mut next, mut inputs) = (Some(input), VecDeque::new());
        while let Some(input) = next {
            let now = cx.now();
            if self.call(|session| session.handle(now, input), cx) {
                self.perform_all(&mut inputs, cx);
            }
            next = inputs.pop_front();
        }
        self.end_recording(cx);
    }

    /// Runs the session's timer if it is due.
    pub(super) fn run_timers(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        if self.session_timeout().is_some_and(|at| at <= now) {
            let mut inputs = VecDeque::new();
            if self.call(|session| session.handle_timeout(now), cx) {
                self.perform_all(&mut inputs, cx);
            }
            inputs.into_iter().for_each(|input| self.handle(input, cx));
        }
        if self.session.guest_settles() && self.machine.as_ref().is_none_or(|machine| machine.has_settled()) {
            self.handle(Input::GuestSettled, cx);
        }
        self.run_matching(cx);
        self.pace(cx);
        let Health { pressure, leaks, fault } = self.participants.take_health();
        if pressure {
            self.meter.output_pressure();
            self.handle(Input::OutputPressure, cx);
        }
        if let Some(config) = self.machine.as_ref().and_then(|machine| machine.take_renewed()) {
            self.reconfigured(config, cx);
        }
        if let Some(fault) = fault {
            tracing::error!(guest = %self.name, fault, "What holds the guest's output was changed by another program");
        }
        if leaks {
            self.handle(Input::OutputLeaks, cx);
        }
        self.look_for_end(cx);
        self.look_at_gate(cx);
        self.offer_again(cx);
    }

    /// A guest may end whether or not checkpoints are made of it.
    fn look_for_end(&mut self, cx: &mut dyn Context) {
        if !self.has_ended() && self.machine.as_ref().is_some_and(|machine| machine.has_ended()) {
            if !std::mem::replace(&mut self.end_seen, true) {
                tracing::warn!(guest = %self.name, "The guest has ended");
            }
            self.handle(Input::GuestGone, cx);
        }
    }

    /// Tells the session how many frames wait for a checkpoint, if that changes anything.
    fn pace(&mut self, cx: &mut dyn Context) {
        if self.defect.is_some() {
            // A session that is over ignores inputs: the number would stay new for ever.
            return self.output.tell_at(None);
        }
        self.output.tell_at(self.session.tell_at());
        while let Some(Waiting { answers, bare }) = self.output.take_waiting() {
            output_log::waits(&self.name, answers);
            self.handle(Input::OutputWaits(primary::Waiting { answers, bare }), cx);
            self.output.tell_at(self.session.tell_at());
        }
    }

    /// The link to the peer is up: gets the guest's number on it.
    pub(super) fn attach(&mut self, cx: &mut dyn Context) {
        if self.has_ended() || self.defect.is_some() {
            return;
        }
        self.forget_refusal();
        if let Err(error) = check_size(&self.name, &self.description) {
            return self.declined(HoldRefusal::new(HoldReason::TooLarge, error.to_string()), cx);
        }
        let is_old = cx.link_version(&self.peer).is_some_and(|version| version < DISKS_SINCE);
        if is_old && !self.description.disks_bytes.is_empty() {
            let why = "it has disks, and the understudy there is too old for them; install the same version on both hosts";
            return self.declined(HoldRefusal::new(HoldReason::Unfit, why), cx);
        }
        if let Some(refusal) = self.fence.refusal(cx.link_version(&self.peer)) {
            return self.declined(refusal, cx);
        }
        let generation = self.session.generation();
        self.place = cx.offer(&self.peer, &self.name, generation, &self.description);
        if let (Some((guest, _)), true) = (&self.place, self.fence.is_enforced()) {
            cx.send(&self.peer, &GuestFrame::NeedsFencing.of(*guest));
        }
        self.handle(Input::LinkUp, cx);
    }

    /// The guest's devices have changed. A copy has the devices that the guest was offered with, so a new copy is made.
    fn reconfigured(&mut self, config: Vec<u8>, cx: &mut dyn Context) {
        tracing::info!(guest = %self.name, "The guest's network cards have changed; a new copy is made");
        self.redescribed(Description { config, ..self.description.clone() }, cx);
    }

    fn redescribed(&mut self, description: Description, cx: &mut dyn Context) {
        self.description = description;
        if self.place.is_some() {
            self.detach(cx);
            self.attach(cx);
        }
    }

    /// The link to the peer is gone.
    pub(super) fn detach(&mut self, cx: &mut dyn Context) {
        self.place = None;
        self.forget_refusal();
        self.handle(Input::LinkDown, cx);
    }

    /// Performs the session's outputs. Results that come at once are added to `inputs`, to be told afterwards.
    fn perform_all(&mut self, inputs: &mut VecDeque<Input>, cx: &mut dyn Context) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(message) => self.send(message, cx),
                Output::AskWitness(request) => cx.ask_witness(&self.name, request),
                Output::Capture { generation, epoch, capture, stay_paused } => {
                    self.capture(generation, epoch, capture, stay_paused, inputs, cx.now());
                }
                Output::AbortCapture => self.abort_capture(inputs),
                Output::Release { through } => self.release(through, cx.now()),
                Output::MirrorInput { from } => self.mirror_input(from),
                Output::MatchFrom { base } => self.match_from(base, cx.now()),
                Output::StopMatch => self.stop_match(),
                Output::PassOutput => {
                    // The next engine has to know the generation in which the guest's output left.
                    self.mark();
                    output_log::passing(&self.name);
                    self.pass_output();
                }
                Output::PauseGuest => {
                    self.fence.is_paused = true;
                    if let Some(machine) = &self.machine {
                        machine.pause();
                    }
                }
                Output::ResumeGuest => self.resume(inputs, cx.now()),
                Output::Fence { generation, is_wished } => {
                    event::log_fenced(&self.name, generation, is_wished);
                    self.gate.close();
                    self.participants.fence();
                }
                Output::Revive => self.participants.revive(),
                Output::Destroy { why } => {
                    self.gate.close();
                    self.participants.fence();
                    self.over = Some(match why {
                        End::Superseded { generation } => Over::Superseded(generation),
                        End::Discarded => Over::Discarded,
                    });
                }
                Output::CloseLink => {
                    if cx.end_silent_link(&self.peer) == Silence::Kept {
                        self.offer_later(cx.now());
                    }
                }
                Output::Report(event) => self.event(event, cx.now()),
            }
        }
    }

    fn abort_capture(&mut self, inputs: &mut VecDeque<Input>) {
        if let Some(epoch) = self.gate.give_up_sync() {
            self.capturing = None;
            inputs.push_back(Input::CaptureFailed { epoch, guest_gone: false, needs_seed: true });
        } else if let (Some(epoch), Some(protector)) = (self.capturing, &self.protector) {
            protector.abort(epoch);
        }
        if let Some((_, queue)) = &self.place {
            queue.give_up();
        }
    }

    fn release(&mut self, through: Epoch, now: Time) {
        output_log::acked(&self.name, through);
        self.matching_released(through, now);
        if let Some(protector) = &self.protector {
            protector.acked(through);
        }
        self.release_output(through);
    }

    fn send(&self, message: ToSecondary, cx: &mut dyn Context) {
        if let Some((guest, _)) = self.place {
            cx.send(&self.peer, &GuestFrame::ToSecondary(message).of(guest));
        }
    }

    fn capture(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        capture: Capture,
        stay_paused: bool,
        inputs: &mut VecDeque<Input>,
        now: Time,
    ) {
        self.capturing = Some(epoch);
        if capture == Capture::Seed && self.gate.postpones(FullSyncOrder { generation, epoch, stay_paused }) {
            return;
        }
        let passed = Passed::default();
        let rate = self.sync_rate.as_ref().filter(|_| capture == Capture::Seed).cloned();
        let outlet: Box<dyn Outlet> = match &self.place {
            Some((guest, queue)) => Box::new(EpochSender::new(*guest, queue.clone(), passed.clone(), rate)),
            None => Box::new(NoOutlet),
        };
        if capture == Capture::Seed {
            self.full_sync = Some(FullSync::new(now, passed));
        }
        output_log::begun(&self.name, epoch);
        let order = CaptureOrder { generation, epoch, capture, stay_paused, now, outlet };
        let ordered = self.protector.as_ref().map_or(Err(Stuck), |protector| protector.capture(order));
        if let Err(stuck) = ordered {
            self.broke(stuck.to_string(), now);
            inputs.push_back(Input::CaptureBroke);
        }
    }

    fn resume(&mut self, inputs: &mut VecDeque<Input>, now: Time) {
        self.fence.is_paused = false;
        if let Some(machine) = self.machine.as_ref().filter(|_| !self.fence.is_near) {
            machine.unpause();
        }
        if let Some(Err(stuck)) = self.protector.as_ref().map(|protector| protector.resume()) {
            self.broke(stuck.to_string(), now);
            inputs.push_back(Input::CaptureBroke);
        }
    }

    /// Whether the guest is gone, so that another one of its name may begin here.
    pub(super) fn has_ended(&self) -> bool {
        self.session.state() == State::Ended
    }

    /// Marks the guest itself with its generation.
    pub(super) fn mark(&mut self) {
        let generation = self.session.generation();
        if let Some(machine) = &self.machine
            && generation > Generation(0)
            && (generation > self.marked || !machine.is_marked(generation))
        {
            machine.mark(generation);
            self.marked = self.marked.max(generation);
        }
    }
}
