//! What runs guests on this host, as the engine sees it: the lab, or Xen. A host says what holds an image, and makes a
//! [`Machine`](super::Machine) and its source from one in memory.

use crate::guest::copy::HostCopy;
use crate::guest::machine::{HostError, RunningGuest};
use crate::guest::replica::{NotSaved, Replica, Start};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Generation, PAGE_SIZE};
use understudy_lab::{Port, RestoreError};
use understudy_link::HoldRefusal;

/// Why a host could not build a guest from an image in memory. Nothing of it has run.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotBuilt {
    /// For the operator.
    pub why: String,
    /// The image, where it is still whole: it may be tried again.
    pub image: Option<Image>,
}

impl NotBuilt {
    /// `image` is as it was.
    pub fn with(why: impl ToString, image: Image) -> Self {
        Self { why: why.to_string(), image: Some(image) }
    }
}

impl From<String> for NotBuilt {
    fn from(why: String) -> Self {
        Self { why, image: None }
    }
}

impl From<&str> for NotBuilt {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Why a host made no copy of a guest.
#[derive(thiserror::Error, Debug)]
pub enum NotCopied {
    /// This kind of host cannot run a guest beside its image.
    #[error("this host runs no copies of guests")]
    Unsupported,
    /// The lab could not make a guest of the image.
    #[error(transparent)]
    Lab(#[from] RestoreError),
}

/// Starts guests from images.
pub trait Host: Send + Sync + Debug {
    /// Whether the guest `name` that `what` describes could run here.
    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal>;

    /// Memory of this host that an image of `what` takes, at most.
    fn image_bytes(&self, what: &Description) -> u64 {
        what.page_count.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    /// Memory of this process that an image of `what` takes where nothing else holds it.
    fn fallback_bytes(&self, what: &Description) -> u64 {
        what.page_count.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    /// What this host has to hold the image of the guest `name` that `what` describes; `None`: memory of this process
    /// holds it. May take a while.
    fn replica(&self, _name: &str, _what: &Description) -> Option<Box<dyn Replica>> {
        None
    }

    /// Starts a guest from an image in memory, as [`Replica::activate`] does.
    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt>;

    /// Whether guests can run here beside their images.
    fn runs_copies(&self) -> bool {
        false
    }

    /// Memory of this host that a copy of `what` takes beside the image, at most.
    fn copy_bytes(&self, what: &Description) -> u64 {
        self.image_bytes(what)
    }

    /// Makes a copy of the guest `name` that `what` describes: it stands where `image` does, halted, and sends to `port`.
    fn copy(
        &self,
        _name: &str,
        _what: &Description,
        _image: Image,
        _port: Arc<dyn Port>,
    ) -> Result<Box<dyn HostCopy>, NotCopied> {
        Err(NotCopied::Unsupported)
    }

    /// Saves an image that no guest could be started from where a person can start it from.
    fn save(&self, _name: &str, _what: &Description, _image: &Image) -> Result<PathBuf, NotSaved> {
        Err(NotSaved::NotHere)
    }

    /// The engine ends: what fails from here on is not tried again.
    fn leave(&self) {}

    /// Saves the image of a guest `name` whose start has not ended, where a person can start it
    /// from: what came of that, in words. `None` if there is no such image.
    fn rescue(&self, _name: &str) -> Option<String> {
        None
    }

    /// Pauses a guest `name` here that was run under a generation before `newest`, if there is one: a dead engine left it,
    /// and another host runs it.
    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), HostError>;

    /// Ends a guest `name` here that was run under a generation before `newest`, if there is one: a dead engine left
    /// it.
    fn end_older(&self, name: &str, newest: Generation) -> Result<(), HostError>;
}
