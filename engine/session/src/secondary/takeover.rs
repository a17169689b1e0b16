//! The secondary and authority: when it asks for the guest, and what it does with the answer.
//!
//! ```text
//!   Alone ─ grace over ─► Read ─► fresh{this host}? ─ yes ─► TakingOver ─► commits done ─► Swap g → g+1 stale
//!     ▲                             │ no                                                     │
//!     └───── look again later ──────┘          won: Activate ◄───────────────────────────────┤
//!                                              lost: DropImage ◄─────────────────────────────┘
//! ```

use super::super::{Copy, Decline, Record, Span, ToPrimary, WitnessReply};
use super::machine::Secondary;
use super::phase::{Image, Phase, Starting};
use super::{Config, Event, Input, Output};
use understudy_checkpoint::Epoch;

/// How long it is tried to start a guest whose image stays whole, and how often: a host may lack something for a moment.
/// The guest runs nowhere else meanwhile.
const ACTIVATION_MAX: Span = Span::from_ms(30_000);
const ACTIVATION_RETRY: Span = Span::from_ms(1_000);

impl Secondary {
    pub(super) fn witness(&mut self, reply: &WitnessReply) {
        self.register.learn(reply);
        if let Phase::TakingOver { told, .. } = &mut self.phase {
            *told = true;
            return;
        }
        if let Some(record) = self.register.record() {
            let generation = record.generation;
            self.heard_of(generation);
        }
        if let Phase::Alone { image, look_at } = self.phase
            && look_at <= self.now
        {
            self.phase = if self.may_take_over(&image) {
                Phase::TakingOver { image, told: true, asked: None }
            } else {
                Phase::Alone { image, look_at: self.now + self.config.witness_retry }
            };
        }
    }

    /// Whether the record, as far as known, lets this copy be activated.
    fn may_take_over(&self, image: &Image) -> bool {
        self.register
            .record()
            .is_some_and(|record| record.generation == image.generation && is_held_here(record, &self.config))
    }

    /// From here on nothing is acked in this generation, whatever the witness will say.
    pub(super) fn begin_takeover(&mut self) {
        let image = match self.phase {
            Phase::Standing { image, receiving } => {
                self.decline_incomplete(&image, receiving);
                image
            }
            Phase::Alone { image, .. } => image,
            _ => return,
        };
        self.phase = Phase::TakingOver { image, told: false, asked: None };
        if self.register.is_connected() {
            self.out.ask(Some(self.register.read(self.now)));
        }
    }

    /// The epoch that is arriving will never be acked, and the primary has to know: if the takeover comes to
    /// nothing it would wait for that ack for ever.
    fn decline_incomplete(&mut self, image: &Image, receiving: Option<Epoch>) {
        if receiving.is_some() {
            self.out.push(Output::DropIncomplete);
            let (generation, why) = (image.generation, Decline::TakingOver);
            self.send(ToPrimary::Declined { generation, epoch: receiving, why });
        }
    }

    /// Commits first, then the witness, then the guest: a commit that fails costs no authority.
    pub(super) fn take_over(&mut self) {
        let Phase::TakingOver { image, told, asked } = &self.phase else { return };
        if image.committed < image.complete {
            return;
        }
        let image = *image;
        if !self.config.has_witness {
            return self.activate(self.unwitnessed_record(&image), &image);
        }
        if !told {
            return;
        }
        let record = self.register.record().cloned();
        if asked.is_some() && *asked == record {
            return self.activate(record.expect("equal to what was asked for"), &image);
        }
        if self.may_take_over(&image) {
            let generation = image.generation.next();
            let request = self.register.propose(self.now, generation, &self.config.node, Copy::Stale);
            let asked = self.register.proposal().cloned();
            self.phase = Phase::TakingOver { image, told: true, asked };
            return self.out.ask(request);
        }
        self.refused(record, &image);
    }

    /// The record does not let this copy be activated. If a swap was asked for, it has lost, and so has the
    /// image: its generation gets no more acks from here.
    fn refused(&mut self, record: Option<Record>, image: &Image) {
        let never_asked = matches!(&self.phase, Phase::TakingOver { asked: None, .. });
        self.register.stop_asking();
        self.out.push(Output::Report(Event::TakeoverRefused { record: record.clone() }));
        match (never_asked, self.link.has_spoken()) {
            (false, _) => self.drop_image(),
            (true, true) => {
                self.phase = Phase::Standing { image: *image, receiving: None };
            }
            // Also on a link on which no primary has spoken: it may lead to a host that is none any more.
            (true, false) => {
                self.phase = Phase::Alone { image: *image, look_at: self.now + self.config.witness_retry };
            }
        }
        if let Some(record) = record {
            self.heard_of(record.generation);
        }
    }

    fn activate(&mut self, record: Record, image: &Image) {
        assert_eq!(image.committed, image.complete, "a guest is started from what was acked last");
        assert!(record.generation > image.generation, "a takeover begins a generation");
        assert_eq!(
            (&record.owner, &record.copy),
            (&self.config.node, &Copy::Stale),
            "only the owner starts a guest"
        );
        self.newest = record.generation;
        let (epoch, until) = (image.complete, self.now + ACTIVATION_MAX);
        let starting = Starting { record: record.clone(), epoch, until, again_at: None };
        self.phase = Phase::Activated(starting);
        self.out.push(Output::Activate { record, epoch });
    }

    /// While the guest is being started, and when it could not be, all else is over.
    pub(super) fn starting(&mut self, input: &Input) {
        let Phase::Activated(starting) = &mut self.phase else { return };
        match input {
            Input::ActivationDelayed if self.now < starting.until => {
                starting.again_at = Some(self.now + ACTIVATION_RETRY);
            }
            Input::ActivationDelayed | Input::ActivationFailed => {
                self.phase = Phase::Failed;
                self.out.push(Output::Report(Event::ActivationFailed { generation: self.newest }));
                self.finish();
            }
            _ => {}
        }
    }

    /// What was short may be there by now.
    pub(super) fn start_again(&mut self) {
        if let Phase::Activated(Starting { record, epoch, again_at, .. }) = &mut self.phase
            && again_at.take_if(|at| *at <= self.now).is_some()
        {
            self.out.push(Output::Activate { record: record.clone(), epoch: *epoch });
        }
    }

    fn unwitnessed_record(&self, image: &Image) -> Record {
        Record {
            revision: 0,
            generation: image.generation.max(self.newest).next(),
            owner: self.config.node.clone(),
            copy: Copy::Stale,
        }
    }

    /// Without an image, a record that says there is one here is taken back, so that the owner may start the
    /// guest anew if it has lost it as well.
    pub(super) fn renounce(&mut self) {
        if let Some(record) = self.register.record().filter(|record| is_held_here(record, &self.config)) {
            let (generation, owner) = (record.generation, record.owner.clone());
            self.out.ask(self.register.propose(self.now, generation, &owner, Copy::Stale));
        }
    }
}

fn is_held_here(record: &Record, config: &Config) -> bool {
    matches!(&record.copy, Copy::Fresh { holder } if *holder == config.node)
}
