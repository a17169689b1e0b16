//! A standby domain on a host of the simulator, which holds the image of a guest. Others may destroy it or let it run.

use super::guest::State;
use super::yard::{SHORT, SharedYard};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use understudy::guest::{NotSaved, NotStarted, Replica, RunningGuest, Start};
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Page, PageEntry, Pfn};

/// The state of a standby domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stands by.
    Stands,
    /// Somebody destroyed it.
    Destroyed,
    /// Somebody let it run, so its memory is no longer an image.
    Ran,
}

/// A standby domain, as its host sees it.
#[derive(Clone, Debug)]
pub struct Stand(Arc<AtomicU8>);

impl Stand {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Fate::Stands as u8)))
    }

    /// Its state.
    pub fn fate(&self) -> Fate {
        match self.0.load(Ordering::Relaxed) {
            0 => Fate::Stands,
            1 => Fate::Destroyed,
            _ => Fate::Ran,
        }
    }

    /// Somebody puts it into this state.
    pub fn suffers(&self, fate: Fate) {
        self.0.store(fate as u8, Ordering::Relaxed);
    }
}

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
