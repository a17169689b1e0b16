//! A copy of a lab guest, as the engine runs it: beside its image, and, once the session says so, as the guest.

use super::machine::LabMachine;
use super::tap::{LabCard, LabCards};
use crate::guest::copy::{CopyCard, Delivery, Heard, HostCopy, NotBegun, Through, Traffic};
use crate::guest::machine::{BoxedSource, RunningGuest};
use crate::guest::replica::Start;
use crate::guest::waker::LoopWaker;
use std::sync::Arc;
use understudy_checkpoint::domain::{DomainError, DomainState, LiveCopy};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, Page, PageEntry};
use understudy_lab::wire::FRAME_BYTES_MAX;
use understudy_lab::{Inlet, LabCopy, LabGuest};

/// A copy of a lab guest, and the maker of its network card in case it becomes the guest.
#[derive(Debug)]
pub(super) struct HostedCopy {
    copy: LabCopy,
    cards: LabCards,
}

impl HostedCopy {
    pub(super) fn new(copy: LabCopy, cards: LabCards) -> Self {
        Self { copy, cards }
    }
}

impl HostCopy for HostedCopy {
    fn card(&self) -> Box<dyn CopyCard> {
        card_of(self.copy.guest())
    }

    fn begin(
        mut self: Box<Self>,
        start: &Start<'_>,
        traffic: &Arc<Traffic>,
    ) -> Result<RunningGuest, NotBegun> {
        let card = match self.cards.make(start.name, start.open) {
            Ok(card) => card,
            Err(error) => return Err(NotBegun { why: error.to_string(), copy: Some(self) }),
        };
        let guest = self.copy.guest().clone();
        let gone = |why: String| NotBegun { why, copy: None };
        self.copy.run().map_err(|error| gone(error.to_string()))?;
        traffic.begin(Epoch(start.open.0.saturating_sub(1)), card.port());
        running_through(guest, traffic, card)
            .map_err(|error| gone(format!("the guest's network card gets no thread: {error}")))
    }
}

/// The running guest with network card `card`, whose connections `traffic` rewrites.
pub(super) fn running_through(
    guest: LabGuest,
    traffic: &Arc<Traffic>,
    card: LabCard,
) -> std::io::Result<RunningGuest> {
    let (taken, rewriter) = (guest.inlet(), traffic.clone());
    let heard = Heard::rewriting(move || taken.frames_taken(), move || rewriter.rewritten(), card.waker());
    let output = card.plug_through(&guest, traffic.clone(), heard.clone())?;
    guest.announce();
    let source = BoxedSource(Box::new(guest.source()));
    let unheard = Heard::new(|| 0, LoopWaker::silent());
    let machine = Arc::new(LabMachine { guest, heard: unheard, disk: None });
    let machine = Arc::new(Through::new(machine, traffic.clone(), heard));
    Ok(RunningGuest { source, machine, output, past: None, compared_bytes: 0 })
}

/// A handle to the network card of `guest`.
pub(super) fn card_of(guest: &LabGuest) -> Box<dyn CopyCard> {
    Box::new(Card(guest.inlet()))
}

/// A handle to a lab guest's network card.
#[derive(Debug)]
struct Card(Inlet);

impl CopyCard for Card {
    fn takes(&self, frame: &[u8]) -> bool {
        // No card ever accepts a longer frame, and anything shorter is no frame.
        (ETHERNET_BYTES..=FRAME_BYTES_MAX).contains(&frame.len())
    }

    fn deliver(&self, frame: &[u8]) -> Delivery {
        match self.0.push(frame) {
            Some(number) => Delivery::Taken(number),
            None if !self.takes(frame) || self.0.has_ended() => Delivery::Lost,
            None => Delivery::NoRoom,
        }
    }

    fn notify(&self) {
        self.0.notify();
    }

    fn next_number(&self) -> u64 {
        self.0.next_number().unwrap_or(0)
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}

/// Length of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

impl LiveCopy for HostedCopy {
    fn halt(&mut self) -> Result<(), DomainError> {
        self.copy.halt()
    }
    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        self.copy.drain_dirty(into)
    }
    fn put_page(&mut self, entry: PageEntry, page: Option<&Page>) -> Result<(), DomainError> {
        self.copy.put_page(entry, page)
    }
    fn put_state(&mut self, state: &DomainState) -> Result<(), DomainError> {
        self.copy.put_state(state)
    }
    fn run(&mut self) -> Result<(), DomainError> {
        self.copy.run()
    }
    fn deliver(&self, frame: &[u8]) -> bool {
        self.copy.deliver(frame)
    }
}
