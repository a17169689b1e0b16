//! A secondary's authority: when it asks for the guest, and what it does with the answer.
//!
//! ```text
//!   Alone ─ grace over ─► Read ─► fresh{this host}? ─ yes ─► TakingOver ─► commits done ─► Swap g → g+1 stale
//!     ▲                             │ no                                                     │
//!     └───── look again later ──────┘          won: Activate ◄───────────────────────────────┤
//!                                              lost: DropImage ◄─────────────────────────────┘
//! ```

use super::super::colo::AfterCrash;
use super::super::{Copy, Decline, Record, Span, ToPrimary, WitnessReply};
use super::machine::Secondary;
use super::phase::{Image, Phase, Starting};
use super::{Config, Event, Input, Output, Start};
use understudy_checkpoint::Epoch;

/// How long and how often to try to start a guest whose image stays whole: a host may lack something for a moment. The
/// guest runs nowhere else meanwhile.
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
            let may = self.may_take_over(&image);
            self.awaits_fencing = may && self.needs_fencing && !self.is_fenced;
            self.phase = if may && !self.awaits_fencing && !self.is_withheld(&image) {
                Phase::TakingOver { image, told: true, asked: None }
            } else {
                Phase::Alone { image, look_at: self.now + self.config.witness_retry }
            };
            if may && self.is_withheld(&image) {
                self.withhold(&image);
            }
        }
    }

    /// The primary's host is fenced: the record, which may have changed meanwhile, is read again at once.
    pub(super) fn fenced(&mut self) {
        if let Phase::Alone { look_at, .. } = &mut self.phase {
            *look_at = self.now;
            self.is_fenced = true;
            if self.register.is_connected() {
                self.out.ask(Some(self.register.read(self.now)));
            }
        }
    }

    /// Whether the last known record lets this copy be activated.
    fn may_take_over(&self, image: &Image) -> bool {
        self.register
            .record()
            .is_some_and(|record| record.generation == image.generation && is_held_here(record, &self.config))
    }

    /// A person orders a takeover. From here on nothing is acked in this generation, whatever the witness says, and no
    /// output of a live copy is reported.
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
        self.cut_copy();
        if self.is_withheld(&image) {
            // The person accepts the image as it is.
            self.drop_copy();
        }
        if self.register.is_connected() {
            self.out.ask(Some(self.register.read(self.now)));
        }
    }

    /// The epoch that is arriving will never be acked. The primary is told, or it would wait for ever for that ack if
    /// the takeover fails.
    fn decline_incomplete(&mut self, image: &Image, receiving: Option<Epoch>) {
        if receiving.is_some() {
            self.out.push(Output::DropIncomplete);
            let (generation, why) = (image.generation, Decline::TakingOver);
            self.send(ToPrimary::Declined { generation, epoch: receiving, why });
        }
    }

    /// Commits and the live copy come first, then the witness, then the guest: a failure before the witness costs no
    /// authority.
    pub(super) fn take_over(&mut self) {
        let Phase::TakingOver { image, told, asked } = &self.phase else { return };
        if image.committed < image.complete || self.copy.is_busy() {
            return;
        }
        let image = *image;
        if asked.is_none() && self.is_withheld(&image) {
            self.withhold(&image);
            return self.stand_back(&image);
        }
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

    /// The record does not let this copy be activated. If a swap was requested, it has lost, and the image is useless:
    /// its generation gets no more acks from here.
    fn refused(&mut self, record: Option<Record>, image: &Image) {
        let never_asked = matches!(&self.phase, Phase::TakingOver { asked: None, .. });
        self.register.stop_asking();
        self.out.push(Output::Report(Event::TakeoverRefused { record: record.clone() }));
        if never_asked {
            self.stand_back(image);
        } else {
            self.drop_image();
        }
        if let Some(record) = record {
            self.heard_of(record.generation);
        }
    }

    /// No swap was requested: the image stays as it is. Without a word from a primary the session is `Alone`, even if a
    /// link is up: the host there may not be a primary any more.
    fn stand_back(&mut self, image: &Image) {
        self.phase = if self.link.has_spoken() {
            Phase::Standing { image: *image, receiving: None }
        } else {
            Phase::Alone { image: *image, look_at: self.now + self.config.witness_retry }
        };
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
        let Some(start) = self.start_of(image) else {
            self.withhold(image);
            return self.give_start_up();
        };
        if start == Start::Image {
            self.drop_copy();
        }
        let (epoch, until) = (image.complete, self.now + ACTIVATION_MAX);
        let starting = Starting { record: record.clone(), epoch, start, until, again_at: None };
        self.phase = Phase::Activated(starting);
        self.out.push(Output::Activate { record, epoch, start });
    }

    /// This host owns a generation that it cannot start. The old host may still have the guest.
    fn give_start_up(&mut self) {
        self.phase = Phase::Failed;
        self.out.push(Output::Report(Event::ActivationFailed { generation: self.newest }));
    }

    /// While the guest is being started, or when it could not be, nothing else matters.
    pub(super) fn starting(&mut self, input: &Input) {
        let Phase::Activated(starting) = &mut self.phase else { return };
        match input {
            Input::ActivationDelayed if self.now < starting.until => {
                starting.again_at = Some(self.now + ACTIVATION_RETRY);
            }
            Input::ActivationDelayed | Input::ActivationFailed => {
                self.give_start_up();
                self.finish();
            }
            // The copy was to become the guest. The order is still answered; a further attempt starts from the image,
            // or there is none.
            Input::CopyCrashed { has_forwarded } if starting.start != Start::Image => {
                let is_refused = *has_forwarded && self.config.after_crash == AfterCrash::Refuse;
                starting.start = Start::Image;
                match (is_refused, starting.again_at) {
                    (false, _) => {}
                    (true, None) => starting.until = self.now,
                    (true, Some(_)) => {
                        self.give_start_up();
                        self.finish();
                    }
                }
            }
            _ => {}
        }
    }

    /// The host may have by now what it lacked.
    pub(super) fn start_again(&mut self) {
        if let Phase::Activated(Starting { record, epoch, start, again_at, .. }) = &mut self.phase
            && again_at.take_if(|at| *at <= self.now).is_some()
        {
            self.out.push(Output::Activate { record: record.clone(), epoch: *epoch, start: *start });
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

    /// Without an image, corrects a record that says there is one here, so that the owner may start the guest anew if
    /// it has lost it as well.
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
