//! A primary session: its knowledge, what it shows, and its timers. `inputs` and `peer` change the knowledge;
//! `authority` and `checkpoints` take the steps that follow from it.

use super::super::liveness::Liveness;
use super::super::outputs::Outputs;
use super::super::register::{Known, Register};
use super::super::{Record, RequestId, Time, WitnessRequest};
use super::flow::Flow;
use super::matching::Matching;
use super::pacer::{PacedBy, Pacing};
use super::phase::{Handover, Hold, Peer, Phase};
use super::{Config, Event, GiveUp, Loss, Origin, Output, State};
use understudy_checkpoint::{Epoch, Generation};

/// The session of one guest on the host that runs it.
#[derive(Debug)]
pub struct Primary {
    pub(super) config: Config,
    /// The time of the input or timeout that is being handled.
    pub(super) now: Time,
    pub(super) out: Outputs<Output>,
    pub(super) register: Register,
    pub(super) generation: Generation,
    pub(super) phase: Phase,
    pub(super) link: Liveness,
    /// What the peer has said on the present link; see [`Self::peer`].
    pub(super) peer: Peer,
    pub(super) flow: Flow,
    pub(super) matching: Matching,
    /// The generation in which the guest last ran here, if it ever did.
    pub(super) past: Option<Generation>,
    /// The newest generation that any peer has mentioned.
    pub(super) heard: Generation,
    /// The newest generation for which another host has spoken as primary.
    pub(super) rival: Generation,
    /// A newer generation that a peer has mentioned and the witness has not confirmed yet.
    pub(super) rumour: Option<Rumour>,
    /// The newest such generation that the witness did not know.
    pub(super) refuted: Generation,
    /// The guest is suspended by `PauseGuest` or by a capture that left it so.
    pub(super) guest_halted: bool,
    /// Output was dropped for good; only a new generation on a person's order lets it be held again.
    pub(super) output_fenced: bool,
    /// The guest was taken over a moment ago, and its devices are not back yet: no copy is made.
    pub(super) guest_settles: bool,
    /// A person's switchover has asked the peer to take over this generation's guest.
    pub(super) handed_over: bool,
    /// Whether captures can be made.
    pub(super) can_capture: bool,
    pub(super) protection_wished: bool,
    /// The peer has found that the present copy differs from the guest.
    pub(super) is_diverged: bool,
    /// Why the last copy was given up.
    pub(super) given_up: Option<GiveUp>,
    /// How many copies failed since the last one that lasted.
    pub(super) failures: u32,
    /// Whether the newest commit is too old for a guest that is called protected.
    pub(super) is_late: bool,
    pub(super) stretch_reported: bool,
    state_reported: Option<State>,
    /// Since when output waits for the first decision about whether the guest may run here.
    began_at: Time,
    /// The first timeout, due once at the beginning.
    first_timeout: Option<Time>,
}

/// A generation newer than this session's that a peer has mentioned.
#[derive(Debug)]
pub(super) struct Rumour {
    pub(super) generation: Generation,
    /// Whether a host has spoken as its primary.
    pub(super) runs: bool,
    /// The read that will settle it.
    pub(super) asked: Option<RequestId>,
}

impl Primary {
    /// A session that begins at `now`. Its first timeout is due at once.
    pub fn new(config: Config, origin: Origin, now: Time) -> Self {
        let claiming = Phase::Claiming { claim: None, refused: None };
        let beginning = if config.has_witness { claiming } else { Phase::Asking { met: None } };
        let (past, guest_halted) = match origin {
            Origin::Adopted { generation, is_halted } => (Some(generation), is_halted),
            Origin::Outdated { generation, .. } => (Some(generation), false),
            Origin::Started | Origin::TookOver { .. } => (None, false),
        };
        let guest_settles = matches!(origin, Origin::TookOver { .. });
        let (known, phase, next_epoch) = match origin {
            Origin::TookOver { record, next_epoch } => {
                let phase = Phase::MarkingStale { why: GiveUp::Beginning, since: now };
                (Known::Is(record), phase, next_epoch)
            }
            Origin::Outdated { next_epoch, .. } => (Known::Unknown, beginning, next_epoch),
            Origin::Started | Origin::Adopted { .. } => (Known::Unknown, beginning, Epoch(0)),
        };
        let register = Register::new(config.witness_retry, known);
        let generation = register.record().map_or(Generation(0), |record| record.generation);
        Self {
            generation,
            past: if guest_settles { Some(generation) } else { past },
            flow: Flow::new(config.pacing, config.in_flight_max, next_epoch, now),
            matching: Matching::new(config.colo.clone(), now),
            config,
            now,
            out: Outputs::default(),
            register,
            phase,
            link: Liveness::default(),
            peer: Peer::Unasked,
            heard: Generation(0),
            rival: Generation(0),
            rumour: None,
            refuted: Generation(0),
            guest_halted,
            output_fenced: false,
            guest_settles,
            handed_over: false,
            can_capture: true,
            protection_wished: true,
            is_diverged: false,
            given_up: None,
            failures: 0,
            is_late: false,
            stretch_reported: false,
            state_reported: None,
            began_at: now,
            first_timeout: Some(now),
        }
    }

    /// The state as `status` shows it.
    pub fn state(&self) -> State {
        self.phase.state(self.guest_halted, self.is_late)
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

    /// Why there is no copy, if one was given up since the guest was last protected.
    pub fn given_up(&self) -> Option<GiveUp> {
        self.given_up
    }

    /// Why the witness's record does not allow the guest here.
    pub fn refusal(&self) -> Option<&super::Refusal> {
        match &self.phase {
            Phase::Claiming { refused: Some(refused), .. } => Some(&refused.why),
            _ => None,
        }
    }

    /// Whether `Reclaim` and `Discard` are possible: a person has to decide about the guest.
    pub fn awaits_person(&self) -> bool {
        self.phase.awaits_person()
    }

    /// What decides when a checkpoint begins.
    pub fn pacing(&self) -> Pacing {
        self.flow.pacer().pacing()
    }

    /// What set the time of the newest checkpoint; `None` before the first one of a copy.
    pub fn paced_by(&self) -> Option<PacedBy> {
        self.flow.paced_by()
    }

    /// The number of answers in the open epoch at which the driver should report
    /// [`OutputWaits`](super::Input::OutputWaits). `None` for a session that is over: it ignores inputs, and a driver
    /// that reports until nothing is new would never stop.
    pub fn tell_at(&self) -> Option<u32> {
        self.flow.pacer().tell_at().filter(|_| !self.phase.is_over())
    }

    /// Whether this session has paused the guest.
    pub fn stands_still(&self) -> bool {
        self.guest_halted
    }

    /// The newest captured epoch of the present copy.
    pub fn newest_captured(&self) -> Option<Epoch> {
        self.flow.newest_captured()
    }

    /// Epochs captured and not acked.
    pub fn in_flight(&self) -> usize {
        self.flow.in_flight()
    }

    /// The witness's record, as last heard.
    pub fn record(&self) -> Option<&Record> {
        self.register.record()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.phase.is_over() {
            return None;
        }
        let times = [
            self.first_timeout,
            self.beat_at(),
            self.silent_at(),
            self.register.next_timeout(),
            self.capture_at(),
            self.matching_at(),
            self.too_slow_at(),
            self.late_at(),
            self.phase_at(),
            self.unanswered_until(),
            self.last_words_end_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due at `now`; [`poll_output`](Self::poll_output) then says what follows.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.phase.is_over() {
            return;
        }
        self.now = now;
        self.first_timeout = None;
        if self.silent_at().is_some_and(|at| at <= self.now) {
            self.out.push(Output::CloseLink);
            self.link_lost(Loss::Silent);
        }
        if self.beat_at().is_some_and(|at| at <= self.now) {
            self.beat();
        }
        self.out.ask(self.register.on_timeout(self.now));
        self.watch_commits();
        self.finish();
    }

    /// What to do next; `None` once nothing is left to do before the next input or timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.poll()
    }

    /// Takes the steps that are due and reports a change of state.
    pub(super) fn finish(&mut self) {
        self.advance();
        assert!(
            !self.phase.speaks() || self.is_owner(),
            "{:?} in generation {}, and the record is {:?}",
            self.phase,
            self.generation,
            self.register.record()
        );
        assert!(self.is_matching_rightly(), "{:?} in {:?}", self.matching, self.phase);
        self.report_state();
    }

    /// Reports a change of state.
    pub(super) fn report_state(&mut self) {
        let state = self.state();
        if self.state_reported.replace(state) != Some(state) {
            self.out.push(Output::Report(Event::State(state)));
        }
    }

    /// Whether the last known record names this host as owner in this generation.
    pub(super) fn is_owner(&self) -> bool {
        let is_ours =
            |record: &Record| (record.generation, &record.owner) == (self.generation, &self.config.node);
        self.generation > Generation(0) && self.register.record().is_some_and(is_ours)
    }

    /// What the peer has said, while there is a link to it.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.link.is_up().then_some(self.peer)
    }

    fn silent_at(&self) -> Option<Time> {
        // A peer that has not answered yet on this link may be busy with other guests, which share the link.
        let unspoken_max = self.config.silence_max.max(self.config.hold_max);
        self.link.silent_at(self.config.silence_max, Some(unspoken_max)).filter(|_| self.phase.speaks())
    }

    fn beat_at(&self) -> Option<Time> {
        self.link.heartbeat_at(self.config.heartbeat).filter(|_| self.beats())
    }

    /// When to pause a guest for which it is still undecided whether it may run here: its output is held meanwhile, and
    /// memory for that is bounded.
    pub(super) fn unanswered_until(&self) -> Option<Time> {
        let is_unanswered =
            matches!(self.phase, Phase::Asking { met: None } | Phase::Claiming { refused: None, .. });
        (is_unanswered && !self.guest_halted).then_some(self.began_at + self.config.hold_max)
    }

    /// When this phase itself has something to do.
    fn phase_at(&self) -> Option<Time> {
        let can_look = self.register.is_connected() && !self.register.is_asking();
        match &self.phase {
            Phase::LinkLost { decide_at } => Some(*decide_at),
            Phase::MarkingStale { since, .. } => self.hold_ends_at(*since),
            Phase::SwitchingOver(Handover::Closing { ends_at, .. }) => Some(*ends_at),
            Phase::SwitchingOver(Handover::Asked { decide_at }) => Some(*decide_at),
            Phase::Claiming { refused: Some(refused), .. } => Some(refused.look_at).filter(|_| can_look),
            Phase::Held(Hold::Rival { look_at, .. }) => Some(*look_at).filter(|_| can_look),
            _ => None,
        }
    }
}

impl From<WitnessRequest> for Output {
    fn from(request: WitnessRequest) -> Self {
        Self::AskWitness(request)
    }
}
