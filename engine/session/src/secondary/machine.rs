//! A secondary session: its knowledge, its link, and its timers. `epochs` handles the primary's messages, `takeover`
//! asks for the guest.

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
    /// The time of the input or timeout that is being handled.
    pub(super) now: Time,
    pub(super) out: Outputs<Output>,
    pub(super) register: Register,
    pub(super) phase: Phase,
    pub(super) copy: LiveCopy,
    /// The generation and the first epoch that the primary, on this link, wants a copy of.
    pub(super) wanted: Option<(Generation, Epoch)>,
    /// The mode that the primary said last.
    pub(super) mode: Mode,
    /// The epoch from which a takeover was withheld, to be reported only once.
    pub(super) withheld_at: Option<Epoch>,
    pub(super) link: Liveness,
    /// The newest generation mentioned by a primary or the witness.
    pub(super) newest: Generation,
    /// The newest generation in which a primary has spoken; 0 once that primary's guest has ended.
    pub(super) spoken: Generation,
    /// Whether the primary has said that the guest has ended: nothing more is expected from it.
    pub(super) farewell: bool,
    /// Since when no epoch became complete, after the link was lost at least once.
    pub(super) lone_since: Option<Time>,
    /// The epoch that was arriving when the primary was lost. On a link that stays, the primary waits for its ack.
    pub(super) dropped: Option<Epoch>,
    /// Whether the guest may be started here only once its primary's host is fenced: two hosts reach its disks.
    pub(super) needs_fencing: bool,
    /// Whether that host is fenced, and has not spoken since.
    pub(super) is_fenced: bool,
    /// Whether nothing but fencing is missing for a takeover.
    pub(super) awaits_fencing: bool,
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
            dropped: None,
            needs_fencing: false,
            is_fenced: false,
            awaits_fencing: false,
            state_reported: None,
        }
    }

    /// The state as `status` shows it.
    pub fn state(&self) -> State {
        self.phase.state(self.newest)
    }

    /// The newest generation mentioned so far; 0 if none.
    pub fn generation(&self) -> Generation {
        self.newest
    }

    /// The newest generation in which a primary has spoken. `None` before one has, and after it has said that the guest
    /// has ended and nothing since.
    pub fn heard_from(&self) -> Option<Generation> {
        Some(self.spoken).filter(|spoken| *spoken > Generation(0))
    }

    /// The newest complete (acked) epoch of the image.
    pub fn acked(&self) -> Option<Epoch> {
        self.phase.image().map(|image| image.complete)
    }

    /// The epoch of the committed image.
    pub fn committed(&self) -> Option<Epoch> {
        self.phase.image().map(|image| image.committed)
    }

    /// Whether this session may end without loss: there is no image here, and no record says that there is.
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

    /// From here on the guest is started only once its primary's host is fenced, unless that host hands it over.
    pub fn needs_fencing(&mut self) {
        self.needs_fencing = true;
    }

    /// Whether the guest is one that needs fencing.
    pub fn is_to_be_fenced(&self) -> bool {
        self.needs_fencing
    }

    /// Whether nothing is missing for a takeover but that the primary's host is fenced: answered by [`Input::Fenced`].
    pub fn awaits_fencing(&self) -> bool {
        self.awaits_fencing && matches!(self.phase, Phase::Alone { .. })
    }

    /// The witness's record, as last heard.
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
            Input::PrimaryGone => self.primary_gone(),
            Input::PrimaryAlive => self.primary_alive(),
            // What arrived on the old link does not prove that a primary is there now.
            Input::Message(_) | Input::SignOfLife if !self.link.is_up() => {}
            Input::Message(ToSecondary::Offer { generation: Generation(0), .. }) => self.asked(),
            Input::Message(message) => {
                self.is_fenced = false;
                self.link.heard(self.now);
                self.message(message);
            }
            Input::SignOfLife => {
                // Other guests share the link: bytes alone do not prove that this guest has a primary there.
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
            Input::Fenced => self.fenced(),
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
            // For whatever reason it has no link, nobody else would start the grace.
            phase if was_down && !matches!(phase, Phase::Standing { .. }) => {}
            Phase::Seeding { .. } => self.drop_image(),
            Phase::Standing { image, receiving } => {
                if receiving.is_some() {
                    self.out.push(Output::DropIncomplete);
                }
                self.dropped = *receiving;
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

    /// The grace is for a primary that comes back with all it knows, or goes on alone. One whose process is gone does neither. Whether
    /// the guest may be taken over is the witness's word as ever, and without a witness a person's.
    fn primary_gone(&mut self) {
        // With a link a primary is there, whatever was seen before.
        let may_ask = self.config.has_witness && !self.link.is_up();
        if let Phase::Alone { look_at, .. } = &mut self.phase
            && may_ask
            && *look_at > self.now
        {
            *look_at = self.now;
            self.out.push(Output::Report(Event::PrimaryGone));
        }
    }

    /// One silent network is not a dead host: the grace begins anew with each sign of life. A primary that lives and gets no link gives
    /// the copy up in its time, or is held by what it cannot reach; so this ends as a link that comes and goes does.
    fn primary_alive(&mut self) {
        let Some(until) = self.lone_since.map(|since| since + self.config.flap_max) else { return };
        let may_wait = !self.link.is_up() && !self.is_fenced;
        if let Phase::Alone { look_at, .. } = &mut self.phase
            && may_wait
        {
            *look_at = (*look_at).max((self.now + self.config.takeover_grace).min(until));
        }
    }

    pub(super) fn send(&mut self, message: ToPrimary) {
        if self.link.is_up() {
            self.link.sent(self.now);
            self.out.push(Output::Send(message));
        }
    }

    fn silent_at(&self) -> Option<Time> {
        // Before the primary has spoken, or after it has said that the guest has ended, its silence means nothing.
        self.link.silent_at(self.config.silence_max, None).filter(|_| !self.farewell)
    }

    /// When to stop waiting for a primary that has said that the guest has ended: no full sync will come, and a person
    /// decides about what an earlier engine left of the guest here. A primary whose guest goes on unprotected keeps
    /// speaking. Without a witness nobody would ask a person, and what is left here stays paused.
    fn over_at(&self) -> Option<Time> {
        let is_said = self.farewell && self.spoken > Generation(0) && self.config.has_witness;
        self.link.silent_at(self.config.silence_max, None).filter(|_| is_said)
    }

    fn heartbeat_at(&self) -> Option<Time> {
        self.link.heartbeat_at(self.config.heartbeat)
    }

    /// When to read the record because the primary has been away for long enough.
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
