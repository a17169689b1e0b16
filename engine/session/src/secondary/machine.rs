//! A secondary session: what it knows, its link, and its timers. What it does with the primary's messages is in `epochs`,
//! how it asks for the guest in `takeover`.

use super::super::liveness::Liveness;
use super::super::outputs::Outputs;
use super::super::primary::Loss;
use super::super::register::{Known, Register};
use super::super::{Copy, Mode, Record, Time, ToPrimary, ToSecondary, WitnessRequest};
use super::live_copy::LiveCopy;
use super::phase::Phase;
use super::{Config, Event, Input, Output, State};
use understudy_checkpoint::{Epoch, Generation};

/// The session of one guest on the host that holds its copy.
#[derive(Debug)]
pub struct Secondary {
    pub(super) config: Config,
    /// Of the input or the timeout that is being handled.
    pub(super) now: Time,
    pub(super) out: Outputs<Output>,
    pub(super) register: Register,
    pub(super) phase: Phase,
    pub(super) copy: LiveCopy,
    /// The generation and the first epoch that the primary wishes a copy of, on this link.
    pub(super) wanted: Option<(Generation, Epoch)>,
    /// How the primary said last that the guest is protected.
    pub(super) mode: Mode,
    /// The epoch that a takeover was withheld from.
    pub(super) withheld_at: Option<Epoch>,
    pub(super) link: Liveness,
    /// Newest generation heard of, from a primary or from the witness.
    pub(super) newest: Generation,
    /// Newest generation that a primary has spoken in; 0 once that one's guest is over.
    pub(super) spoken: Generation,
    /// The primary has said that the guest is over: nothing more is expected of it.
    pub(super) farewell: bool,
    /// Since when no epoch became whole, the link having been lost at least once.
    pub(super) lone_since: Option<Time>,
    state_reported: Option<State>,
}

impl Secondary {
    /// A session that begins at `now`, without an image.
    pub fn new(config: Config, now: Time) -> Self {
        Self {
            register: Register::new(config.witness_retry, Known::Unknown),
            config,
            now,
            out: Outputs::default(),
            phase: Phase::Empty,
            copy: LiveCopy::Off,
            wanted: None,
            mode: Mode::default(),
            withheld_at: None,
            link: Liveness::default(),
            newest: Generation(0),
            spoken: Generation(0),
            farewell: false,
            lone_since: None,
            state_reported: None,
        }
    }

    /// What `status` shows.
    pub fn state(&self) -> State {
        self.phase.state(self.newest)
    }

    /// The newest generation heard of; 0 if none.
    pub fn generation(&self) -> Generation {
        self.newest
    }

    /// The newest generation that a primary has spoken in; `None` before one has, and once it has said that the guest is
    /// over and nothing after that.
    pub fn heard_from(&self) -> Option<Generation> {
        Some(self.spoken).filter(|spoken| *spoken > Generation(0))
    }

    /// The newest complete (acked) epoch of the image.
    pub fn acked(&self) -> Option<Epoch> {
        self.phase.image().map(|image| image.complete)
    }

    /// The epoch that the image stands at.
    pub fn committed(&self) -> Option<Epoch> {
        self.phase.image().map(|image| image.committed)
    }

    /// Whether nothing is lost if this session ends: there is no image here, and no record that says there is one.
    pub fn has_nothing_here(&self) -> bool {
        let is_settled = !self.config.has_witness
            || match self.register.known() {
                Known::Unknown => false,
                Known::Absent => true,
                Known::Is(record) => {
                    !matches!(&record.copy, Copy::Fresh { holder } if *holder == self.config.node)
                }
            };
        matches!(self.phase, Phase::Empty) && is_settled
    }

    /// The witness's record, as far as it has been told.
    pub fn record(&self) -> Option<&Record> {
        self.register.record()
    }

    /// Takes one input; [`poll_output`](Self::poll_output) then says what follows from it.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        if matches!(self.phase, Phase::Activated(_) | Phase::Failed) {
            return self.starting(&input);
        }
        match input {
            Input::LinkUp => self.link_up(),
            Input::LinkDown => self.link_lost(Loss::LinkEnded),
            // What the driver had of a link that is gone does not mean that a primary is there.
            Input::Message(_) | Input::SignOfLife if !self.link.is_up() => {}
            Input::Message(ToSecondary::Offer { generation: Generation(0), .. }) => self.asked(),
            Input::Message(message) => {
                self.link.heard(self.now);
                self.message(message);
            }
            Input::SignOfLife => {
                // The link is other guests' as well: bytes alone do not make a primary of this one.
                if self.link.has_spoken() {
                    self.link.heard(self.now);
                }
            }
            Input::Complete { generation, epoch } => self.complete(generation, epoch),
            Input::Broken { generation, epoch, why } => self.broken(generation, epoch, why),
            Input::Committed { epoch } => {
                if let Some(image) = self.phase.image_mut()
                    && (image.committed..=image.complete).contains(&epoch)
                {
                    image.committed = epoch;
                }
            }
            Input::CommitFailed { epoch } => self.commit_failed(epoch),
            Input::CopySet { epoch, hears_all } => self.copy_set(epoch, hears_all),
            Input::CopySetFailed { epoch } => self.copy_set_failed(epoch),
            Input::CopyHalted => self.copy_halted(),
            Input::CopyCrashed { has_forwarded } => self.copy_crashed(has_forwarded),
            Input::WitnessUp => self.out.ask(Some(self.register.connect(self.now))),
            Input::WitnessDown => self.register.disconnect(),
            Input::Witness(reply) => self.witness(&reply),
            Input::ForceTakeover => self.begin_takeover(),
            Input::ActivationDelayed | Input::ActivationFailed => {}
        }
        self.finish();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        match &self.phase {
            Phase::Activated(starting) => return starting.again_at,
            Phase::Failed => return None,
            _ => {}
        }
        let times = [
            self.silent_at(),
            self.over_at(),
            self.heartbeat_at(),
            self.register.next_timeout(),
            self.look_at(),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due at `now`; [`poll_output`](Self::poll_output) then says what follows.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if matches!(self.phase, Phase::Activated(_) | Phase::Failed) {
            return self.start_again();
        }
        if self.silent_at().is_some_and(|at| at <= self.now) {
            self.out.push(Output::CloseLink);
            self.link_lost(Loss::Silent);
        }
        if self.over_at().is_some_and(|at| at <= self.now) {
            self.spoken = Generation(0);
        }
        if self.heartbeat_at().is_some_and(|at| at <= self.now) {
            self.send(ToPrimary::Heartbeat { generation: self.newest });
        }
        self.out.ask(self.register.on_timeout(self.now));
        if self.look_at().is_some_and(|at| at <= self.now) {
            self.out.ask(Some(self.register.read(self.now)));
        }
        self.finish();
    }

    /// What to do next; `None` once nothing is left to do before the next input or timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.poll()
    }

    pub(super) fn finish(&mut self) {
        self.step_copy();
        match self.phase {
            Phase::TakingOver { .. } => self.take_over(),
            Phase::Empty => self.renounce(),
            _ => {}
        }
        let state = self.state();
        if self.state_reported.replace(state) != Some(state) {
            self.out.push(Output::Report(Event::State(state)));
        }
    }

    pub(super) fn drop_image(&mut self) {
        self.drop_copy();
        if !matches!(self.phase, Phase::Empty) {
            self.phase = Phase::Empty;
            self.out.push(Output::DropImage);
        }
    }

    fn link_up(&mut self) {
        self.link_lost(Loss::LinkEnded);
        self.link.came_up(self.now);
    }

    fn link_lost(&mut self, why: Loss) {
        let was_down = !self.link.went_down();
        self.cut_copy();
        match &self.phase {
            // However it came to stand without a link, nobody else would start the grace.
            phase if was_down && !matches!(phase, Phase::Standing { .. }) => {}
            Phase::Seeding { .. } => self.drop_image(),
            Phase::Standing { image, receiving } => {
                if receiving.is_some() {
                    self.out.push(Output::DropIncomplete);
                }
                self.out.push(Output::Report(Event::PrimaryLost { why }));
                self.lone_since.get_or_insert(self.now);
                self.phase = Phase::Alone { image: *image, look_at: self.now + self.config.takeover_grace };
            }
            Phase::Empty
            | Phase::Alone { .. }
            | Phase::TakingOver { .. }
            | Phase::Activated(_)
            | Phase::Failed => {}
        }
    }

    pub(super) fn send(&mut self, message: ToPrimary) {
        if self.link.is_up() {
            self.link.sent(self.now);
            self.out.push(Output::Send(message));
        }
    }

    fn silent_at(&self) -> Option<Time> {
        // Before it has spoken, or when it has said that the guest is over, its silence means nothing.
        self.link.silent_at(self.config.silence_max, None).filter(|_| !self.farewell)
    }

    /// When a primary that has said that the guest is over is one no more: no full copy comes of it, and what an engine that
    /// is gone left of the guest here is a person's to decide about. One whose guest goes on unprotected speaks on. Without a
    /// witness nobody would ask a person: what is left here stands still.
    fn over_at(&self) -> Option<Time> {
        let is_said = self.farewell && self.spoken > Generation(0) && self.config.has_witness;
        self.link.silent_at(self.config.silence_max, None).filter(|_| is_said)
    }

    fn heartbeat_at(&self) -> Option<Time> {
        self.link.heartbeat_at(self.config.heartbeat)
    }

    /// When to look at the record because the primary has been away for long enough.
    fn look_at(&self) -> Option<Time> {
        let can_ask = self.config.has_witness && self.register.is_connected() && !self.register.is_asking();
        match &self.phase {
            Phase::Alone { look_at, .. } if can_ask => Some(*look_at),
            _ => None,
        }
    }
}

impl From<WitnessRequest> for Output {
    fn from(request: WitnessRequest) -> Self {
        Self::AskWitness(request)
    }
}
