//! A copy of a guest on a host of the simulator: it runs beside its image, and may become the guest.
//!
//! ```text
//!   SimCopy: halt, drain, pages, state, run ─► a domain that is a copy ── begin ─► the guest
//!            its card ◄─ what the guest has heard          its port ─► Traffic ─► told, or held
//! ```

use super::card::Card;
use super::frame::Frame;
use super::guest::{SharedDomain, State};
use super::mutant::Mutant;
use super::names::guest_of;
use super::yard::SharedYard;
use std::sync::Arc;
use understudy::guest::{
    BoxedSource, CopyCard, Heard, HeldOutput, HostCopy, LoopWaker, NotBegun, RunningGuest, Start, Through,
    Traffic,
};
use understudy_checkpoint::domain::{DomainError, DomainState, LiveCopy};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Generation, Page, PageEntry, Pfn};
use understudy_lab::Port;

/// A copy, until it is the guest or is dropped.
#[derive(Debug)]
pub(super) struct SimCopy {
    domain: SharedDomain,
    card: Card,
    yard: SharedYard,
    is_guest: bool,
    mutant: Option<Mutant>,
}

impl SimCopy {
    pub(super) fn new(domain: SharedDomain, card: Card, yard: SharedYard, mutant: Option<Mutant>) -> Self {
        Self { domain, card, yard, is_guest: false, mutant }
    }

    fn there(&self) -> Result<(), DomainError> {
        if self.domain.get().gone {
            return Err(DomainError::Gone("the copy has crashed".to_owned()));
        }
        Ok(())
    }
}

impl Drop for SimCopy {
    fn drop(&mut self) {
        if !self.is_guest {
            self.domain.get().gone = true;
            self.card.end();
        }
    }
}

impl LiveCopy for SimCopy {
    fn halt(&mut self) -> Result<(), DomainError> {
        self.there()?;
        self.domain.get().paused = self.mutant != Some(Mutant::SetWhileRunning);
        Ok(())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.domain.get().drain(into);
        Ok(())
    }

    fn put_page(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), DomainError> {
        self.there()?;
        let word = page.map_or(0, |page| u64::from_le_bytes(page[..8].try_into().expect("a page is longer")));
        let Pfn(pfn) = entry.pfn();
        if self.mutant != Some(Mutant::PagesNotSet) {
            self.domain.get().state.words[pfn as usize] = word;
        }
        Ok(())
    }

    fn put_state(&mut self, state: &DomainState) -> Result<(), DomainError> {
        self.there()?;
        let counter = State::counter_of(state).ok_or(DomainError::Failed("that is no state".to_owned()))?;
        self.domain.get().state.counter = counter;
        if self.mutant != Some(Mutant::InputKept) {
            self.card.clear();
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), DomainError> {
        self.there()?;
        self.domain.get().paused = false;
        Ok(())
    }

    fn deliver(&self, frame: &[u8]) -> bool {
        self.card.put(frame).is_some()
    }
}

impl HostCopy for SimCopy {
    fn card(&self) -> Box<dyn CopyCard> {
        Box::new(self.card.clone())
    }

    fn begin(
        mut self: Box<Self>,
        start: &Start<'_>,
        traffic: &Arc<Traffic>,
    ) -> Result<RunningGuest, NotBegun> {
        if self.yard.get().fails_to_start() {
            return Err(NotBegun { why: "the host has no card for it".to_owned(), copy: Some(self) });
        }
        if let Err(error) = self.run() {
            return Err(NotBegun { why: error.to_string(), copy: None });
        }
        self.is_guest = true;
        let guest = guest_of(start.name);
        let output = self.yard.get().copy_is_guest(guest, &self.domain, start);
        let stamped = Stamped { output: output.clone(), generation: start.generation, epoch: start.open };
        traffic.begin(Epoch(start.open.0.saturating_sub(1)), Arc::new(stamped));
        let (card, rewriter) = (self.card.clone(), traffic.clone());
        let heard = Heard::rewriting(move || card.taken(), move || rewriter.rewritten(), LoopWaker::silent());
        let machine = Arc::new(Through::new(Arc::new(self.domain.clone()), traffic.clone(), heard));
        let source = BoxedSource(Box::new(self.domain.clone()));
        Ok(RunningGuest { machine, source, output, past: None, compared_bytes: 0 })
    }
}

/// The output of a guest that was a copy: what it sent as one leaves as the guest's.
struct Stamped {
    output: HeldOutput,
    generation: Generation,
    epoch: Epoch,
}

impl Port for Stamped {
    fn transmit(&self, frame: &[u8]) {
        let frame = Frame::from_bytes(frame);
        let (generation, epoch) = (self.generation, self.epoch);
        let frame = if frame.by_copy { Frame { generation, epoch, by_copy: false, ..frame } } else { frame };
        self.output.transmit(&frame.to_bytes());
    }
}
