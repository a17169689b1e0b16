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

/// A request to start a guest from its image.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    pub name: &'a str,
    pub what: &'a Description,
    /// The generation that owns it.
    pub generation: Generation,
    /// The first epoch it runs in.
    pub open: Epoch,
    /// Rewrites the guest's connections, if their numbers differ from those that clients know. Not shared with a copy.
    pub through: Option<&'a Arc<Traffic>>,
}

/// Why a guest was not started from its image. Nothing of it has run.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotStarted {
    /// For the operator.
    pub why: String,
    /// The replica, if its image is still whole and the start may be repeated.
    pub replica: Option<Box<dyn Replica>>,
}

impl NotStarted {
    /// An error that leaves the image in `replica` unchanged.
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

/// Why an image was not saved to a file.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum NotSaved {
    /// This kind of host saves no images.
    #[error("this host keeps no images in files")]
    NotHere,
    /// Writing the file failed.
    #[error("its last commit cannot be written to {} ({why})", path.display())]
    Unwritten { path: PathBuf, why: String },
}

/// A holder of an image.
pub trait Replica: Sink + Debug {
    /// The image, if it is in memory of this process; `None` if it is elsewhere or gone.
    fn image(&self) -> Option<&Image> {
        None
    }

    /// A copy of the image; `None` if the image is gone.
    fn to_image(&self) -> Option<Image> {
        self.image().map(copy_of)
    }

    /// Whether the replica is memory of this process, which grows with the image.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// If the host could not complete the replica: the reason, and the image, to be held in memory from now on.
    fn fall_back(&mut self) -> Option<(String, Image)> {
        None
    }

    /// Whether this host can never run the guest in this state, so that another kind of replica would not help.
    fn is_refused(&self) -> bool {
        false
    }

    /// Starts the guest. All output is held and belongs to epoch `start.open`. A guest that outlives its engine is
    /// marked with the generation before it runs, if possible, so that the next engine recognises it. Once the guest runs,
    /// nothing is an error any more.
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
