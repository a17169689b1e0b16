//! A primary session: what it knows, what it shows, and its timers. What follows from that is elsewhere: `inputs` and
//! `peer` change what is known, `authority` and `checkpoints` take the steps that are due.

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
    /// Of the input or the timeout that is being handled.
    pub(super) now: Time,
    pub(super) out: Outputs<Output>,
    pub(super) register: Register,
    pub(super) generation: Generation,
    pub(super) phase: Phase,
    pub(super) link: Liveness,
    /// Of the present link; see [`Self::peer`].
    pub(super) peer: Peer,
    pub(super) flow: Flow,
    pub(super) matching: Matching,
    /// The generation that the guest was run under here last, if it ever was.
    pub(super) past: Option<Generation>,
    /// Newest generation that anyone has spoken of.
    pub(super) heard: Generation,
    /// Newest generation that another host has spoken as primary of.
    pub(super) rival: Generation,
    /// A newer generation that the witness has not confirmed yet.
    pub(super) rumour: Option<Rumour>,
    /// Newest generation of which the witness knew nothing.
    pub(super) refuted: Generation,
    /// The guest is suspended by `PauseGuest` or by a capture that left it so.
    pub(super) guest_halted: bool,
    /// Output was dropped for good; only a person's word for a new generation lets it be held again.
    pub(super) output_fenced: bool,
    /// It was taken over a moment ago; no copy is made yet.
    pub(super) guest_settles: bool,
    /// A person's switchover has asked the peer to take this generation's guest over.
    pub(super) handed_over: bool,
    /// What makes captures works.
    pub(super) can_capture: bool,
    pub(super) protection_wished: bool,
    /// The peer has found that the present copy is not what the guest was.
    pub(super) is_diverged: bool,
    /// Why the last copy was given up.
    pub(super) given_up: Option<GiveUp>,
    /// Copies that came to nothing since one lasted.
    pub(super) failures: u32,
    /// The newest commit is older than a protected guest's may be.
    pub(super) is_late: bool,
    pub(super) stretch_reported: bool,
    state_reported: Option<State>,
    /// Since when what the guest sends waits for a first word that it may run here.
    began_at: Time,
    /// Due once, right after the beginning.
    first_timeout: Option<Time>,
}

/// A generation newer than this session's, by somebody's word.
#[derive(Debug)]
pub(super) struct Rumour {
    pub(super) generation: Generation,
    /// A host has spoken as its primary.
    pub(super) runs: bool,
    /// The read that will tell.
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

    /// What `status` shows.
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

    /// Why there is no copy, if one was given up since the guest was protected last.
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

    /// Whether `Reclaim` and `Discard` may be wished: a person has to say what becomes of the guest.
    pub fn awaits_person(&self) -> bool {
        self.phase.awaits_person()
    }

    /// What decides when a checkpoint begins.
    pub fn pacing(&self) -> Pacing {
        self.flow.pacer().pacing()
    }

    /// What had the newest checkpoint begin when it did; `None` before the first of a copy.
    pub fn paced_by(&self) -> Option<PacedBy> {
        self.flow.paced_by()
    }

    /// The number of answers in the open epoch at which [`OutputWaits`](super::Input::OutputWaits) should be told; none of a
    /// session that is over: it takes nothing in, and who tells as long as there is news would not come to an end.
    pub fn tell_at(&self) -> Option<u32> {
        self.flow.pacer().tell_at().filter(|_| !self.phase.is_over())
    }

    /// Whether the guest stands still by this session's word.
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

    /// The witness's record, as far as it has been told.
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

    /// Takes the steps that are due and reports where that led.
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
        let state = self.state();
        if self.state_reported.replace(state) != Some(state) {
            self.out.push(Output::Report(Event::State(state)));
        }
    }

    /// Whether the record, as far as known, has the guest as this host's in this generation.
    pub(super) fn is_owner(&self) -> bool {
        let is_ours =
            |record: &Record| (record.generation, &record.owner) == (self.generation, &self.config.node);
        self.generation > Generation(0) && self.register.record().is_some_and(is_ours)
    }

    /// How far the peer has come, while there is a link to it.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.link.is_up().then_some(self.peer)
    }

    fn silent_at(&self) -> Option<Time> {
        // A peer that has not answered at all on this link may be busy with other guests, whose link it is as well.
        let unspoken_max = self.config.silence_max.max(self.config.hold_max);
        self.link.silent_at(self.config.silence_max, Some(unspoken_max)).filter(|_| self.phase.speaks())
    }

    fn beat_at(&self) -> Option<Time> {
        self.link.heartbeat_at(self.config.heartbeat).filter(|_| self.beats())
    }

    /// When a guest of which nobody has said yet whether it may run here stands still: what it sends is held meanwhile, and
    /// no memory holds it for ever.
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
