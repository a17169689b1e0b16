//! [`InMemory`]: an image in memory of this process, from which the host builds the guest.

use crate::guest::host::{Host, NotBuilt};
use crate::guest::machine::RunningGuest;
use crate::guest::replica::{NotSaved, NotStarted, Replica, Start};
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Page, PageEntry, PageType, Pfn};

/// An image in memory of this process.
#[derive(Debug)]
pub struct InMemory {
    image: Image,
    host: Arc<dyn Host>,
}

impl InMemory {
    /// `host` will build the guest from `image`.
    pub fn new(image: Image, host: Arc<dyn Host>) -> Self {
        Self { image, host }
    }
}

impl Replica for InMemory {
    fn image(&self) -> Option<&Image> {
        Some(&self.image)
    }

    fn is_in_memory(&self) -> bool {
        true
    }

    fn activate(self: Box<Self>, start: &Start<'_>) -> Result<RunningGuest, NotStarted> {
        let Self { image, host } = *self;
        host.build(start, image).map_err(|NotBuilt { why, image }| NotStarted {
            why,
            replica: image.map(|image| Box::new(Self { image, host }) as Box<dyn Replica>),
        })
    }

    fn save(&self, name: &str, what: &Description) -> Result<PathBuf, NotSaved> {
        self.host.save(name, what, &self.image)
    }
}

impl Sink for InMemory {
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

    fn expect_pages(&mut self, first: Pfn, count: u64) {
        self.image.expect_pages(first, count);
    }

    fn check(&mut self) -> Option<String> {
        self.image.check()
    }

    fn fault(&self) -> Option<String> {
        self.image.fault()
    }
}
