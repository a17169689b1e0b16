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

use crate::guest::copy::Traffic;
use crate::guest::machine::RunningGuest;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, Sink};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Epoch, Generation};

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
    /// What rewrites its connections, if they have other numbers than the world knows. It belongs to no copy.
    pub through: Option<&'a Arc<Traffic>>,
}

/// Why a guest was not started from its image. Nothing of it has run.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotStarted {
    /// For the operator.
    pub why: String,
    /// What holds the image, where that is still whole: it may be tried again.
    pub replica: Option<Box<dyn Replica>>,
}

impl NotStarted {
    /// The image in `replica` is as it was.
    pub fn with(why: impl ToString, replica: Box<dyn Replica>) -> Self {
        Self { why: why.to_string(), replica: Some(replica) }
    }
}

impl From<String> for NotStarted {
    fn from(why: String) -> Self {
        Self { why, replica: None }
    }
}

impl From<&str> for NotStarted {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Why an image is in no file.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum NotSaved {
    /// Guests of this host end with its engine.
    #[error("this host keeps no images in files")]
    NotHere,
    /// It was tried.
    #[error("its last commit cannot be written to {} ({why})", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
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

fn copy_of(image: &Image) -> Image {
    let mut copy = Image::new(image.page_count());
    for entry in image.entries() {
        copy.apply_page(entry, image.page(entry.pfn()));
    }
    copy.apply_state(image.state());
    copy
}
