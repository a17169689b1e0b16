//! [`Host`]: the lab or Xen on this machine, as the engine sees it. A host chooses the replica of a guest, and builds a
//! [`Machine`](super::Machine) and its source from an image in memory.

use crate::guest::copy::HostCopy;
use crate::guest::disks::HeldDisks;
use crate::guest::disks::held::DisksError;
use crate::guest::machine::{HostError, RunningGuest};
use crate::guest::replica::{NotSaved, Replica, Start};
use crate::guest::watchdog::Watchdog;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use understudy_checkpoint::domain::Description;
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Generation, PAGE_SIZE};
use understudy_lab::{Port, RestoreError};
use understudy_link::HoldRefusal;

/// Why a host could not build a guest from an image in memory. The guest has not run.
#[derive(thiserror::Error, Debug)]
#[error("{why}")]
pub struct NotBuilt {
    /// The reason, for the operator.
    pub why: String,
    /// The image, if it is still complete: building may be tried again.
    pub image: Option<Image>,
}

impl NotBuilt {
    /// The error, with an unchanged image.
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

/// Runs guests, and starts them from images.
pub trait Host: Send + Sync + Debug {
    /// Whether the guest `name`, described by `what`, could run here.
    fn admits(&self, name: &str, what: &Description) -> Result<(), HoldRefusal>;

    /// The most memory of this host that an image of `what` takes.
    fn image_bytes(&self, what: &Description) -> u64 {
        what.page_count.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    /// The memory of this process that an image of `what` takes if nothing else holds it.
    fn fallback_bytes(&self, what: &Description) -> u64 {
        what.page_count.saturating_mul(PAGE_SIZE as u64 + 1)
    }

    /// Makes a replica for the guest `name`, described by `what`; `None`: memory of this process is the replica. May
    /// take a while.
    fn replica(&self, _name: &str, _what: &Description) -> Option<Box<dyn Replica>> {
        None
    }

    /// Opens the disks that hold the copy of the guest `name`, described by `what`. Asked once for a guest that has any.
    fn disks(&self, _name: &str, _what: &Description) -> Result<HeldDisks, DisksError> {
        Err(DisksError::Unsupported)
    }

    /// Starts a guest from an image in memory, like [`Replica::activate`].
    fn build(&self, start: &Start<'_>, image: Image) -> Result<RunningGuest, NotBuilt>;

    /// Whether this host can run guests beside their images.
    fn runs_copies(&self) -> bool {
        false
    }

    /// The most memory of this host that a copy of `what` takes besides the image.
    fn copy_bytes(&self, what: &Description) -> u64 {
        self.image_bytes(what)
    }

    /// Makes a copy of the guest `name`, described by `what`, in the state of `image`: halted, and sending to `port`.
    fn copy(
        &self,
        _name: &str,
        _what: &Description,
        _image: Image,
        _port: Arc<dyn Port>,
    ) -> Result<Box<dyn HostCopy>, NotCopied> {
        Err(NotCopied::Unsupported)
    }

    /// Saves an image from which no guest could be started, so that a person can start it.
    fn save(&self, _name: &str, _what: &Description, _image: &Image) -> Result<PathBuf, NotSaved> {
        Err(NotSaved::NotHere)
    }

    /// The watchdog that resets this host. `state`: the directory of what outlives the engine.
    fn watchdog(&self, _state: &Path) -> Result<Box<dyn Watchdog>, HostError> {
        Err("nothing here could reset this host".into())
    }

    /// Whether an engine before this one has left that watchdog running. An error means that this is not known.
    fn has_left_watchdog(&self, _state: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// The engine ends: do not repeat what fails from here on.
    fn leave(&self) {}

    /// Saves the image of a guest `name` whose start has not finished, so that a person can start it. Returns the
    /// result in words; `None` if there is no such image.
    fn rescue(&self, _name: &str) -> Option<String> {
        None
    }

    /// Pauses a guest `name` that ran here under a generation before `newest`, if there is one: a dead engine left it,
    /// and another host runs the guest.
    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), HostError>;

    /// Ends a guest `name` that ran here under a generation before `newest`, if there is one: a dead engine left it.
    fn end_older(&self, name: &str, newest: Generation) -> Result<(), HostError>;
}
