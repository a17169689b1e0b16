//! What a secondary does with each message of the primary: which epochs it receives, which it acks, which it declines.
//!
//! ```text
//!   Offer, generation 0      a question: answered, nothing changes
//!   older than `newest`      declined: Fenced
//!   newer than the image     the image stays until that generation's full sync begins
//! ```

use super::super::{Decline, EpochKind, Mode, Standing, ToPrimary, ToSecondary};
use super::Output;
use super::machine::Secondary;
use super::phase::{Image, Phase};
use understudy_checkpoint::{Epoch, Generation};

/// Generations grow one by one from 1, so a number beyond this is not one.
const GENERATION_MAX: Generation = Generation(u64::MAX >> 1);

/// Epochs grow one by one too.
const EPOCH_MAX: Epoch = Epoch(u64::MAX >> 1);

impl Secondary {
    pub(super) fn message(&mut self, message: ToSecondary) {
        let generation = message.generation();
        let epoch = match &message {
            ToSecondary::EpochBegin { epoch, .. } => Some(*epoch),
            _ => None,
        };
        if generation > GENERATION_MAX || epoch.is_some_and(|epoch| epoch > EPOCH_MAX) {
            return;
        }
        if generation < self.newest {
            let why = Decline::Fenced { generation: self.newest };
            self.send(ToPrimary::Declined { generation, epoch, why });
            return;
        }
        self.heard_of(generation);
        self.spoken = self.spoken.max(generation);
        self.farewell = matches!(message, ToSecondary::Farewell { .. });
        // Only now: a link without an offer may lead to a host that has restarted and is not a primary any more.
        if let Phase::Alone { image, .. } = self.phase
            && !self.decides_for_itself()
        {
            self.phase = Phase::Standing { image, receiving: None };
            self.decline_dropped(image.generation, &message);
        }
        match message {
            ToSecondary::Offer { generation, .. } => self.offered(generation),
            ToSecondary::EpochBegin { generation, epoch, kind: EpochKind::Seed, .. } => {
                self.begin_seed(generation, epoch);
            }
            ToSecondary::EpochBegin { generation, epoch, kind: EpochKind::Delta, base } => {
                self.begin_delta(generation, epoch, base);
            }
            ToSecondary::Heartbeat { .. } => {}
            ToSecondary::Switchover { epoch, .. } => {
                if let Phase::Standing { image, .. } = &self.phase
                    && (image.generation, image.complete) == (generation, epoch)
                {
                    self.begin_takeover();
                }
            }
            ToSecondary::Farewell { .. } => self.farewell(generation),
            ToSecondary::CopyWanted { mode, from, .. } => self.copy_wanted(generation, mode, from),
        }
    }

    /// Another link begins with an offer, and its primary resumes from what is here. On one that was only silent the primary has
    /// noticed nothing, and its output waits for an ack of what was dropped.
    fn decline_dropped(&mut self, generation: Generation, message: &ToSecondary) {
        let dropped = self.dropped.take().filter(|_| !matches!(message, ToSecondary::Offer { .. }));
        if dropped.is_some() {
            self.send(ToPrimary::Declined { generation, epoch: dropped, why: Decline::WrongBase });
        }
    }

    /// Notes that `generation` exists. An image of an older generation is kept until a full sync of the newer one
    /// begins: a mere message costs no image.
    pub(super) fn heard_of(&mut self, generation: Generation) {
        self.newest = self.newest.max(generation);
    }

    /// A host without a witness asks what is known about its guest. It is not a primary yet.
    pub(super) fn asked(&mut self) {
        self.send(ToPrimary::Heartbeat { generation: self.newest });
        self.offered(Generation(0));
    }

    /// Only its own primary may end what is held here.
    fn farewell(&mut self, generation: Generation) {
        let is_its_own = match &self.phase {
            Phase::Seeding { generation: of, .. } => *of == generation,
            phase => phase.image().is_some_and(|image| image.generation == generation),
        };
        if is_its_own {
            self.drop_image();
        }
    }

    /// Whether the link comes and goes without bringing a complete epoch, and a witness is there to decide.
    fn decides_for_itself(&self) -> bool {
        let overdue = self.lone_since.is_some_and(|at| at + self.config.flap_max <= self.now);
        overdue && self.config.has_witness && self.register.is_connected()
    }

    pub(super) fn offered(&mut self, generation: Generation) {
        let standing = match &self.phase {
            Phase::TakingOver { .. } => {
                let declined = ToPrimary::Declined { generation, epoch: None, why: Decline::TakingOver };
                return self.send(declined);
            }
            phase => phase.image().map_or(Standing::Nothing, |image| Standing::Complete {
                generation: image.generation,
                epoch: image.complete,
            }),
        };
        self.send(ToPrimary::Stand { generation, standing });
    }

    /// A full sync is sent only after the record has become stale, at a revision that no earlier takeover can match:
    /// whatever was held or under way here is void.
    fn begin_seed(&mut self, generation: Generation, epoch: Epoch) {
        assert_eq!(generation, self.newest, "a full sync is of the newest generation");
        self.drop_image();
        self.register.stop_asking();
        (self.lone_since, self.wanted, self.mode) = (None, None, Mode::default());
        self.phase = Phase::Seeding { generation, epoch };
        self.out.push(Output::Receive { generation, epoch, kind: EpochKind::Seed });
    }

    fn begin_delta(&mut self, generation: Generation, epoch: Epoch, base: Option<Epoch>) {
        let why = match &mut self.phase {
            Phase::Standing { image, receiving } => {
                if receiving.take().is_some() {
                    self.out.push(Output::DropIncomplete);
                    self.copy.forget_whole();
                }
                let is_its_own = image.generation == generation;
                if is_its_own && base == Some(image.complete) && epoch > image.complete {
                    *receiving = Some(epoch);
                    self.out.push(Output::Receive { generation, epoch, kind: EpochKind::Delta });
                    return;
                }
                Decline::WrongBase
            }
            Phase::TakingOver { .. } => Decline::TakingOver,
            Phase::Seeding { .. } | Phase::Alone { .. } => Decline::WrongBase,
            Phase::Empty | Phase::Activated(_) | Phase::Failed => Decline::ImageLost,
        };
        self.send(ToPrimary::Declined { generation, epoch: Some(epoch), why });
    }

    pub(super) fn complete(&mut self, generation: Generation, epoch: Epoch) {
        match &mut self.phase {
            Phase::Seeding { generation: g, epoch: e } if (*g, *e) == (generation, epoch) => {
                let image = Image { generation, complete: epoch, committed: epoch };
                self.phase = Phase::Standing { image, receiving: None };
                self.ack(generation, epoch);
            }
            Phase::Standing { image, receiving }
                if image.generation == generation && *receiving == Some(epoch) =>
            {
                let is_taken_in_later = self.halts_first(epoch);
                if !is_taken_in_later {
                    self.take_in(epoch);
                }
            }
            // It was dropped meanwhile.
            _ => {}
        }
    }

    /// The epoch that is arriving is complete, and no copy runs: from here on a takeover would go on from it.
    pub(super) fn take_in(&mut self, epoch: Epoch) {
        let Phase::Standing { image, receiving } = &mut self.phase else { return };
        *receiving = None;
        image.complete = epoch;
        let generation = image.generation;
        self.lone_since = None;
        self.ack(generation, epoch);
        self.out.push(Output::Commit { epoch });
    }

    /// Acks `epoch`: it is held here and a takeover can go on from it. Output leaves because of this.
    fn ack(&mut self, generation: Generation, epoch: Epoch) {
        let Phase::Standing { image, receiving: None } = &self.phase else {
            panic!("an ack of epoch {epoch} in {:?}", self.phase);
        };
        assert_eq!((image.generation, image.complete), (generation, epoch), "an ack is of what is complete");
        assert!(image.committed <= epoch, "epoch {} is committed before {epoch} is acked", image.committed);
        self.send(ToPrimary::Ack { generation, epoch });
    }

    pub(super) fn broken(&mut self, generation: Generation, epoch: Epoch, why: Decline) {
        match &mut self.phase {
            Phase::Seeding { generation: g, epoch: e } if (*g, *e) == (generation, epoch) => {
                self.drop_image();
            }
            Phase::Standing { image, receiving }
                if image.generation == generation && *receiving == Some(epoch) =>
            {
                *receiving = None;
                if why == Decline::ImageLost {
                    // The replica is gone: nothing can be started from here.
                    self.drop_image();
                    if self.register.is_connected() {
                        self.out.ask(Some(self.register.read(self.now)));
                    }
                }
            }
            _ => return,
        }
        self.send(ToPrimary::Declined { generation, epoch: Some(epoch), why });
    }

    pub(super) fn commit_failed(&mut self, epoch: Epoch) {
        let Some(image) = self.phase.image().copied() else { return };
        if epoch <= image.committed || epoch > image.complete {
            return;
        }
        self.drop_image();
        let generation = image.generation;
        self.send(ToPrimary::Declined { generation, epoch: None, why: Decline::ImageLost });
        // If the record says that there is a copy here, it has to be corrected.
        if self.register.is_connected() {
            self.out.ask(Some(self.register.read(self.now)));
        }
    }
}
