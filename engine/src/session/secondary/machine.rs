//! What a secondary does with each message of the primary, and when it takes the primary for lost.

use super::super::primary::Loss;
use super::super::register::{Known, Register};
use super::super::{
    Copy, Decline, EpochKind, Record, Standing, Time, ToPrimary, ToSecondary, WitnessRequest,
};
use super::phase::{Image, Phase};
use super::{Config, Event, Input, Output, State};
use understudy_checkpoint::{Epoch, Generation};

#[derive(Debug)]
pub(super) enum Link {
    Down,
    /// `spoke`: the primary has said something on this link. Before that its silence means nothing.
    Up {
        spoke: bool,
        heard_at: Time,
        sent_at: Time,
    },
}

/// The session of one guest on the host that holds its copy.
#[derive(Debug)]
pub struct Secondary {
    pub(super) config: Config,
    pub(super) register: Register,
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// Newest generation heard of, from a primary or from the witness.
    pub(super) newest: Generation,
    /// The primary has said that the guest is over: nothing more is expected of it.
    farewell: bool,
    state_reported: Option<State>,
}

impl Secondary {
    /// A session that begins at `now`, without an image.
    pub fn new(config: Config, _now: Time) -> Self {
        Self {
            register: Register::new(config.witness_retry, Known::Unknown),
            config,
            phase: Phase::Empty,
            link: Link::Down,
            newest: Generation(0),
            farewell: false,
            state_reported: None,
        }
    }

    /// What `status` shows.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// The newest generation heard of; 0 if none.
    pub fn generation(&self) -> Generation {
        self.newest
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

    /// Takes one input and appends what is to be done, in order.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Activated) {
            return;
        }
        match input {
            Input::LinkUp => self.link_up(now, out),
            Input::LinkDown => self.link_lost(Loss::LinkEnded, now, out),
            Input::Message(message) => {
                self.heard(now);
                self.message(message, now, out);
            }
            Input::SignOfLife => self.heard(now),
            Input::Complete { generation, epoch } => self.complete(generation, epoch, now, out),
            Input::Broken { generation, epoch, why } => self.broken(generation, epoch, why, now, out),
            Input::Committed { epoch } => {
                if let Some(image) = self.phase.image_mut()
                    && (image.committed..=image.complete).contains(&epoch)
                {
                    image.committed = epoch;
                }
            }
            Input::CommitFailed { epoch } => self.commit_failed(epoch, now, out),
            Input::WitnessUp => ask(Some(self.register.connect(now)), out),
            Input::WitnessDown => self.register.disconnect(),
            Input::Witness(reply) => self.witness(&reply, now, out),
            Input::ForceTakeover => self.begin_takeover(now, out),
        }
        self.finish(now, out);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        if matches!(self.phase, Phase::Activated) {
            return None;
        }
        let times = [self.silent_at(), self.heartbeat_at(), self.register.next_timeout(), self.look_at()];
        times.into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.silent_at().is_some_and(|at| at <= now) {
            out.push(Output::CloseLink);
            self.link_lost(Loss::Silent, now, out);
        }
        if self.heartbeat_at().is_some_and(|at| at <= now) {
            self.send(ToPrimary::Heartbeat { generation: self.newest }, now, out);
        }
        ask(self.register.on_timeout(now), out);
        if self.look_at().is_some_and(|at| at <= now) {
            ask(Some(self.register.read(now)), out);
        }
        self.finish(now, out);
    }

    fn finish(&mut self, now: Time, out: &mut Vec<Output>) {
        match self.phase {
            Phase::TakingOver { .. } => self.take_over(now, out),
            Phase::Empty => self.renounce(now, out),
            _ => {}
        }
        let state = self.state();
        if self.state_reported.replace(state) != Some(state) {
            out.push(Output::Report(Event::State(state)));
        }
    }

    fn message(&mut self, message: ToSecondary, now: Time, out: &mut Vec<Output>) {
        let (generation, epoch) = match &message {
            ToSecondary::EpochBegin { generation, epoch, .. } => (*generation, Some(*epoch)),
            ToSecondary::Offer { generation, .. }
            | ToSecondary::Heartbeat { generation }
            | ToSecondary::Switchover { generation, .. }
            | ToSecondary::Farewell { generation } => (*generation, None),
        };
        if generation < self.newest {
            let why = Decline::Fenced { generation: self.newest };
            self.send(ToPrimary::Declined { generation, epoch, why }, now, out);
            return;
        }
        self.heard_of(generation, out);
        self.farewell = matches!(message, ToSecondary::Farewell { .. });
        // Only now: a link alone may lead to a host that has restarted and is no primary any more.
        if let Phase::Alone { image, .. } = self.phase {
            self.phase = Phase::Standing { image, receiving: None };
        }
        match message {
            ToSecondary::Offer { generation, .. } => self.offered(generation, now, out),
            ToSecondary::EpochBegin { generation, epoch, kind: EpochKind::Seed, .. } => {
                self.begin_seed(generation, epoch, out);
            }
            ToSecondary::EpochBegin { generation, epoch, kind: EpochKind::Delta, base } => {
                self.begin_delta(generation, epoch, base, now, out);
            }
            ToSecondary::Heartbeat { .. } => {}
            ToSecondary::Switchover { epoch, .. } => {
                if let Phase::Standing { image, .. } = &self.phase
                    && image.complete == epoch
                {
                    self.begin_takeover(now, out);
                }
            }
            ToSecondary::Farewell { .. } => self.drop_image(out),
        }
    }

    /// There is a generation `generation`. An image of an older one may never be activated.
    pub(super) fn heard_of(&mut self, generation: Generation, out: &mut Vec<Output>) {
        self.newest = self.newest.max(generation);
        let older = match &self.phase {
            Phase::Seeding { generation, .. } => *generation < self.newest,
            phase => phase.image().is_some_and(|image| image.generation < self.newest),
        };
        if older {
            self.drop_image(out);
        }
    }

    fn offered(&mut self, generation: Generation, now: Time, out: &mut Vec<Output>) {
        let standing = match &self.phase {
            Phase::TakingOver { .. } => {
                let declined = ToPrimary::Declined { generation, epoch: None, why: Decline::TakingOver };
                return self.send(declined, now, out);
            }
            phase => phase.image().map_or(Standing::Nothing, |image| Standing::Complete {
                generation: image.generation,
                epoch: image.complete,
            }),
        };
        self.send(ToPrimary::Stand { generation, standing }, now, out);
    }

    /// A seed is sent only after the record has become stale, at a revision that a takeover begun before it
    /// cannot match: whatever was held or under way here is void.
    fn begin_seed(&mut self, generation: Generation, epoch: Epoch, out: &mut Vec<Output>) {
        self.drop_image(out);
        self.register.stop_asking();
        self.phase = Phase::Seeding { generation, epoch };
        out.push(Output::Receive { generation, epoch, kind: EpochKind::Seed });
    }

    fn begin_delta(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        base: Option<Epoch>,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let why = match &mut self.phase {
            Phase::Standing { image, receiving } => {
                if receiving.take().is_some() {
                    out.push(Output::DropIncomplete);
                }
                if base == Some(image.complete) && epoch > image.complete {
                    *receiving = Some(epoch);
                    out.push(Output::Receive { generation, epoch, kind: EpochKind::Delta });
                    return;
                }
                Decline::WrongBase
            }
            Phase::TakingOver { .. } => Decline::TakingOver,
            Phase::Seeding { .. } | Phase::Alone { .. } => Decline::WrongBase,
            Phase::Empty | Phase::Activated => Decline::ImageLost,
        };
        self.send(ToPrimary::Declined { generation, epoch: Some(epoch), why }, now, out);
    }

    fn complete(&mut self, generation: Generation, epoch: Epoch, now: Time, out: &mut Vec<Output>) {
        match &mut self.phase {
            Phase::Seeding { generation: g, epoch: e } if (*g, *e) == (generation, epoch) => {
                let image = Image { generation, complete: epoch, committed: epoch };
                self.phase = Phase::Standing { image, receiving: None };
                self.send(ToPrimary::Ack { generation, epoch }, now, out);
            }
            Phase::Standing { image, receiving }
                if image.generation == generation && *receiving == Some(epoch) =>
            {
                *receiving = None;
                image.complete = epoch;
                self.send(ToPrimary::Ack { generation, epoch }, now, out);
                out.push(Output::Commit { epoch });
            }
            // Dropped meanwhile.
            _ => {}
        }
    }

    fn broken(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        why: Decline,
        now: Time,
        out: &mut Vec<Output>,
    ) {
        match &mut self.phase {
            Phase::Seeding { generation: g, epoch: e } if (*g, *e) == (generation, epoch) => {
                self.drop_image(out);
            }
            Phase::Standing { image, receiving }
                if image.generation == generation && *receiving == Some(epoch) =>
            {
                *receiving = None;
                if why == Decline::ImageLost {
                    // What holds it is gone: nothing can be started from here.
                    self.drop_image(out);
                    if self.register.is_connected() {
                        ask(Some(self.register.read(now)), out);
                    }
                }
            }
            _ => return,
        }
        self.send(ToPrimary::Declined { generation, epoch: Some(epoch), why }, now, out);
    }

    fn commit_failed(&mut self, epoch: Epoch, now: Time, out: &mut Vec<Output>) {
        let Some(image) = self.phase.image().copied() else { return };
        if epoch <= image.committed || epoch > image.complete {
            return;
        }
        self.drop_image(out);
        let generation = image.generation;
        self.send(ToPrimary::Declined { generation, epoch: None, why: Decline::ImageLost }, now, out);
        // If the record says that there is a copy here, that has to be taken back.
        if self.register.is_connected() {
            ask(Some(self.register.read(now)), out);
        }
    }

    pub(super) fn drop_image(&mut self, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Empty) {
            self.phase = Phase::Empty;
            out.push(Output::DropImage);
        }
    }

    fn link_up(&mut self, now: Time, out: &mut Vec<Output>) {
        self.link_lost(Loss::LinkEnded, now, out);
        self.link = Link::Up { spoke: false, heard_at: now, sent_at: now };
    }

    fn link_lost(&mut self, why: Loss, now: Time, out: &mut Vec<Output>) {
        if matches!(std::mem::replace(&mut self.link, Link::Down), Link::Down) {
            return;
        }
        match &self.phase {
            Phase::Seeding { .. } => self.drop_image(out),
            Phase::Standing { image, receiving } => {
                if receiving.is_some() {
                    out.push(Output::DropIncomplete);
                }
                out.push(Output::Report(Event::PrimaryLost { why }));
                self.phase = Phase::Alone { image: *image, look_at: now + self.config.link_grace };
            }
            Phase::Empty | Phase::Alone { .. } | Phase::TakingOver { .. } | Phase::Activated => {}
        }
    }

    pub(super) fn send(&mut self, message: ToPrimary, now: Time, out: &mut Vec<Output>) {
        if let Link::Up { sent_at, .. } = &mut self.link {
            *sent_at = now;
            out.push(Output::Send(message));
        }
    }

    fn heard(&mut self, now: Time) {
        if let Link::Up { spoke, heard_at, .. } = &mut self.link {
            *spoke = true;
            *heard_at = now;
        }
    }

    fn silent_at(&self) -> Option<Time> {
        match &self.link {
            Link::Up { spoke: true, heard_at, .. } if !self.farewell => {
                Some(*heard_at + self.config.silence_max)
            }
            _ => None,
        }
    }

    fn heartbeat_at(&self) -> Option<Time> {
        match &self.link {
            Link::Up { sent_at, .. } => Some(*sent_at + self.config.heartbeat),
            Link::Down => None,
        }
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

pub(super) fn ask(request: Option<WitnessRequest>, out: &mut Vec<Output>) {
    out.extend(request.map(Output::AskWitness));
}
