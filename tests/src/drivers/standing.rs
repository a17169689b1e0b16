//! A standby domain on a host of the simulator, which holds the image of a guest. Others may destroy it or let it run.

use super::fate::{Fate, Stand};
use super::guest::State;
use super::yard::{SHORT, SharedYard};
use std::path::PathBuf;
use understudy::guest::{NotSaved, NotStarted, Replica, RunningGuest, Start};
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Page, PageEntry, PageType, Pfn};

/// The replica in it.
#[derive(Debug)]
pub(super) struct SimStanding {
    image: Image,
    stand: Stand,
    /// For a mutant: the domain is not checked before an ack.
    unseen: bool,
    yard: SharedYard,
}

impl SimStanding {
    pub(super) fn new(page_count: u64, unseen: bool, yard: SharedYard) -> Self {
        Self { image: Image::new(page_count), stand: Stand::new(), unseen, yard }
    }

    pub(super) fn stand(&self) -> Stand {
        self.stand.clone()
    }

    fn why_not(&self) -> Option<String> {
        match self.stand.fate() {
            Fate::Stands => None,
            Fate::Destroyed => Some("the domain that stood by is gone".to_owned()),
            Fate::Ran => Some("the domain that stood by was let run".to_owned()),
        }
    }
}

impl Sink for SimStanding {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.image.page(pfn)
    }
    fn page_type(&self, pfn: Pfn) -> PageType {
        self.image.page_type(pfn)
    }
    fn state(&self) -> &DomainState {
        self.image.state()
    }
    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        self.image.apply_page(entry, page);
    }
    fn apply_state(&mut self, state: &DomainState) {
        self.image.apply_state(state);
    }
    fn fault(&self) -> Option<String> {
        if self.unseen { None } else { self.why_not() }
    }
}

impl Replica for SimStanding {
    fn image(&self) -> Option<&Image> {
        Some(&self.image).filter(|_| self.why_not().is_none())
    }

    fn activate(self: Box<Self>, start: &Start<'_>) -> Result<RunningGuest, NotStarted> {
        if self.yard.get().is_short() {
            return Err(NotStarted::with(SHORT, self));
        }
        self.yard.start(start, State::kept(&*self)).map_err(NotStarted::from)
    }

    fn save(&self, _name: &str, _what: &Description) -> Result<PathBuf, NotSaved> {
        Err(NotSaved::NotHere)
    }
}
