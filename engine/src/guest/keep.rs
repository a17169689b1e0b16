//! What holds the image of a guest that is protected here: memory of this process, or a domain that stands by.
//!
//! ```text
//!   Memory     any guest; a takeover builds the domain from it
//!   Standing   a guest of Xen; its image is the domain's memory, so a takeover only lets it go
//!              └─ libxl could not complete it ─► Memory
//!   Other      whatever else a host has for it (the simulator's domains)
//! ```

use super::standing_by::StandingBy;
use std::fmt::Debug;
use understudy_checkpoint::domain::{DomainState, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Page, PageEntry, Pfn};

/// A holder of an image.
#[derive(Debug)]
pub enum Keep {
    /// Memory of this process.
    Memory(Image),
    /// A domain.
    Standing(Box<StandingBy>),
    /// Something else of the host's.
    Other(Box<dyn Replica>),
}

/// A holder of an image that only its host knows.
pub trait Replica: Sink + Debug {
    /// The image; `None` if there is none any more.
    fn image(&self) -> Option<&Image>;
}

impl Keep {
    /// Where libxl could not complete the domain the image goes to memory, and why is answered.
    pub fn fall_back(&mut self) -> Option<String> {
        let Self::Standing(by) = self else { return None };
        let why = by.standing.failure()?;
        let image = by.standing.to_image()?;
        *self = Self::Memory(image);
        Some(why)
    }

    /// Whether this host can never run the guest with the state that it has: another holder would not help.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Standing(by) if by.standing.is_refused())
    }

    /// A copy of the image; `None` if there is none any more.
    pub fn to_image(&self) -> Option<Image> {
        match self {
            Self::Memory(image) => Some(copy_of(image)),
            Self::Standing(by) => by.standing.to_image(),
            Self::Other(replica) => replica.image().map(copy_of),
        }
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

impl Sink for Keep {
    fn page(&self, pfn: Pfn) -> Option<&Page> {
        match self {
            Self::Memory(image) => image.page(pfn),
            Self::Standing(by) => by.standing.page(pfn),
            Self::Other(replica) => replica.page(pfn),
        }
    }

    fn apply_page(&mut self, entry: PageEntry, page: Option<&Page>) {
        match self {
            Self::Memory(image) => image.apply_page(entry, page),
            Self::Standing(by) => by.standing.apply_page(entry, page),
            Self::Other(replica) => replica.apply_page(entry, page),
        }
    }

    fn apply_state(&mut self, state: &DomainState) {
        match self {
            Self::Memory(image) => image.apply_state(state),
            Self::Standing(by) => by.standing.apply_state(state),
            Self::Other(replica) => replica.apply_state(state),
        }
    }

    fn expect_pages(&mut self, first: Pfn, count: u64) {
        match self {
            Self::Memory(image) => image.expect_pages(first, count),
            Self::Standing(by) => by.standing.expect_pages(first, count),
            Self::Other(replica) => replica.expect_pages(first, count),
        }
    }

    fn check(&mut self) -> Option<String> {
        match self {
            Self::Memory(image) => image.check(),
            Self::Standing(by) => by.standing.check(),
            Self::Other(replica) => replica.check(),
        }
    }

    fn fault(&self) -> Option<String> {
        match self {
            Self::Memory(image) => image.fault(),
            Self::Standing(by) => by.standing.fault(),
            Self::Other(replica) => replica.fault(),
        }
    }
}
