//! What holds the image of a guest that is protected here, and what starts the guest from it.
//!
//! ```text
//!   InMemory    memory of this process; any guest. The host builds the guest from it     Host::build
//!   others      what a host has for its guests: a domain that stands by (Xen),           Host::replica
//!               whose memory is the image, so that a takeover only lets it go
//!                 └─ cannot be completed ─► fall_back ─► InMemory
//! ```
//!
//! Not here: decoding what arrives, and its order (`checkpoint::epoch::Receiver`).

pub(in crate::guest) mod receive;

use crate::guest::machine::{Host, NotBuilt, NotSaved, NotStarted, RunningGuest};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation, Page, PageEntry, Pfn};

/// A guest that is to be started from its image.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub what: &'a Description,
    /// The generation it is owned in.
    pub generation: Generation,
    /// The first epoch it runs in.
    pub open: Epoch,
}

/// A holder of an image.
pub trait Replica: Sink + Debug {
    /// The image, where it lies in memory of this process; `None` elsewhere, and if there is none any more.
    fn image(&self) -> Option<&Image> {
        None
    }

    /// A copy of the image; `None` if there is none any more.
    fn to_image(&self) -> Option<Image> {
        self.image().map(copy_of)
    }

    /// Whether it grows with what it holds, and only then: memory of this process.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// Where its host could not complete it, why, and the image, which is to be held in memory from now on.
    fn fall_back(&mut self) -> Option<(String, Image)> {
        None
    }

    /// Whether this host can never run the guest with the state that it has: another holder would not help.
    fn is_refused(&self) -> bool {
        false
    }

    /// Starts the guest, its output held from the first frame on as of epoch `start.open`. What outlives its engine is
    /// marked with the generation before it runs, as far as it can be: the next engine is to know it. Once it runs nothing
    /// is an error any more.
    fn activate(self: Box<Self>, start: &Start<'_>) -> Result<RunningGuest, NotStarted>;

    /// Saves the image where a person can start the guest from it.
    fn save(&self, name: &str, what: &Description) -> Result<PathBuf, NotSaved>;
}

/// An image in memory of this process.
#[derive(Debug)]
pub struct InMemory {
    image: Image,
    host: Arc<dyn Host>,
}

impl InMemory {
    /// `image`, from which `host` builds the guest.
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

fn copy_of(image: &Image) -> Image {
    let mut copy = Image::new(image.page_count());
    for entry in image.entries() {
        copy.apply_page(entry, image.page(entry.pfn()));
    }
    copy.apply_state(image.state());
    copy
}
