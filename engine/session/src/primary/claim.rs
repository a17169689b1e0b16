//! How a primary gets a guest that was started, found or left here: from the witness, from its peer's answer, or from a person.
//!
//! ```text
//!   Claiming    the record ──► judge ─┬─► propose the next generation ──► it is the record ──► begin
//!                                     ├─► mark the copy stale ──────────► it is the record ──► begin
//!                                     └─► refused: the guest is paused, the record is read again later
//!   Reclaiming  the record that the person saw ──► the next generation ──► it is the record ──► begin
//! ```

use super::super::register::Known;
use super::super::{Copy, Record};
use super::machine::Primary;
use super::phase::{Peer, Phase, Refused};
use super::{End, Event, GiveUp, Output, Refusal, Wish};
use understudy_checkpoint::Generation;

/// What a claim asks for next.
enum Step {
    /// The guest, in this generation.
    Claim(Generation),
    /// That the copy of the guest, which already runs here, may not take over.
    MarkStale(Generation),
}

impl Primary {
    /// Asks the witness for a guest that was started or found here.
    pub(super) fn claim(&mut self) {
        let Phase::Claiming { claim, .. } = &self.phase else { return };
        let record = match self.register.known() {
            Known::Unknown => return,
            Known::Absent => None,
            Known::Is(record) => Some(record.clone()),
        };
        if let Some(record) = &record
            && claim.as_ref() == Some(record)
            && self.heard <= record.generation
        {
            return self.begin(record.generation);
        }
        let (generation, is_claim) = match self.judge_claim(record.as_ref()) {
            Ok(Step::Claim(generation)) => (generation, true),
            Ok(Step::MarkStale(generation)) => (generation, false),
            Err(why) => return self.refuse(why),
        };
        let request = self.register.propose(self.now, generation, &self.config.node, Copy::Stale);
        let claim = self.register.proposal().filter(|_| is_claim).cloned();
        self.phase = Phase::Claiming { claim, refused: None };
        self.out.ask(request);
    }

    /// Acts on what the record allows. A record older than what this host knows about the guest has no authority over
    /// it.
    fn judge_claim(&self, record: Option<&Record>) -> Result<Step, Refusal> {
        let known = self.heard.max(self.past.unwrap_or(Generation(0)));
        let Some(record) = record else {
            let is_new = known == Generation(0);
            return if is_new { Ok(Step::Claim(Generation(1))) } else { Err(Refusal::Older { known }) };
        };
        if record.generation < known {
            return Err(Refusal::Older { known });
        }
        if record.owner != self.config.node {
            return Err(Refusal::Elsewhere { record: record.clone() });
        }
        match &record.copy {
            Copy::Stale => Ok(Step::Claim(record.generation.next())),
            // The holder of the copy may take over at any moment; which swap wins decides.
            Copy::Fresh { .. } if self.past == Some(record.generation) => {
                Ok(Step::MarkStale(record.generation))
            }
            Copy::Fresh { .. } => Err(Refusal::CopyElsewhere { record: record.clone() }),
        }
    }

    /// The guest is paused and kept. The record may change, so it is read again from time to time.
    fn refuse(&mut self, why: Refusal) {
        match &why {
            Refusal::Elsewhere { record } if self.rival >= record.generation => {
                return self.destroy(End::Superseded { generation: self.rival });
            }
            Refusal::Elsewhere { record } if is_held_by(record, &self.config.node) => {
                self.renounce(&record.clone());
            }
            _ => self.register.stop_proposing(),
        }
        let Phase::Claiming { refused, .. } = &mut self.phase else { return };
        let (retry, wait_max) = (self.config.witness_retry, self.config.hold_max);
        let known = refused.take();
        if known.is_none() {
            self.guest_halted = true;
            self.out.push(Output::PauseGuest);
        }
        let mut refused = match known {
            Some(known) if known.why == why => known,
            _ => {
                self.out.push(Output::Report(Event::ClaimRefused { why: why.clone() }));
                Refused { why, look_at: self.now + retry, wait: retry }
            }
        };
        if refused.look_at <= self.now && self.register.is_connected() && !self.register.is_asking() {
            self.out.push(Output::AskWitness(self.register.read(self.now)));
            refused.wait = super::super::Span(refused.wait.0.saturating_mul(2)).min(wait_max.max(retry));
            refused.look_at = self.now + refused.wait;
        }
        self.phase = Phase::Claiming { claim: None, refused: Some(refused) };
    }

    /// The record names a fresh copy on this host, which has none: it runs a guest of that name, or has one that ended.
    /// Unless that is taken back, an owner that has lost the guest as well would wait for this host for ever.
    fn renounce(&mut self, record: &Record) {
        let (generation, owner) = (record.generation, &record.owner);
        self.out.ask(self.register.propose(self.now, generation, owner, Copy::Stale));
    }

    /// Takes the guest on a person's order, as long as the record is the one that the person saw.
    pub(super) fn reclaim(&mut self) {
        let Phase::Reclaiming { judged, claim } = &self.phase else { return };
        if !self.config.has_witness {
            return self.begin_alone();
        }
        let record = self.register.record();
        if let Some(record) = record
            && claim.as_ref() == Some(record)
        {
            return self.begin(record.generation);
        }
        if record != judged.as_ref() {
            self.out.push(Output::Report(Event::WishRefused { wish: Wish::Reclaim }));
            self.register.stop_proposing();
            self.phase = Phase::Claiming { claim: None, refused: None };
            return self.claim();
        }
        let (judged, generation) = (judged.clone(), self.next_generation());
        let request = self.register.reclaim(self.now, generation, &self.config.node);
        self.phase = Phase::Reclaiming { judged, claim: self.register.proposal().cloned() };
        self.out.ask(request);
    }

    /// A generation later than every one that this host knows of.
    pub(super) fn next_generation(&self) -> Generation {
        let recorded = self.register.record().map_or(Generation(0), |record| record.generation);
        let past = self.past.unwrap_or(Generation(0));
        [self.generation, past, self.heard, self.rival, recorded].into_iter().max().unwrap_or(recorded).next()
    }

    /// Without a witness: the peer or a person has said that nobody else has the guest.
    pub(super) fn begin_alone(&mut self) {
        assert!(!self.config.has_witness, "where there is a witness, it decides");
        let generation = self.next_generation();
        self.register.begin_alone(generation, &self.config.node);
        self.begin(generation);
    }

    /// The guest is this host's, in `generation`.
    fn begin(&mut self, generation: Generation) {
        self.enter(generation);
        self.rumour = None;
        self.peer = Peer::Unasked;
        self.phase = Phase::MarkingStale { why: GiveUp::Beginning, since: self.now };
    }

    /// From here on the guest is run in `generation`.
    pub(super) fn enter(&mut self, generation: Generation) {
        let before = self.generation;
        assert!(generation > before, "generations only grow: {generation} after {before}");
        self.generation = generation;
        self.past = Some(generation);
    }
}

/// Whether the record lets a copy at `node` take over.
fn is_held_by(record: &Record, node: &super::super::NodeName) -> bool {
    matches!(&record.copy, Copy::Fresh { holder } if holder == node)
}
