//! What runs guests on this host, as the engine sees it: the lab, or Xen.
//!
//! ```text
//!   primary:    Machine   paused and unpaused by the session's word, stopped for good when fenced
//!   secondary:  Host      says what holds an image, and makes a Machine and its Source from one in memory
//! ```

use crate::guest::output::HeldOutput;
use crate::guest::replica::{Replica, Start};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, Source};
use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::{Generation, PAGE_SIZE};
use understudy_link::HoldRefusal;

/// A guest that runs here. What is asked of it twice is done once.
pub trait Machine: Send + Sync + Debug {
    /// Holds its vCPUs where they stand, whatever checkpoints do meanwhile.
    fn pause(&self);
    /// Lets them go on.
    fn unpause(&self);
    /// Whether it can run on without this process.
    fn outlives_us(&self) -> bool;
    /// Ends it for good. When this returns it runs no more.
    fn stop(&self);
    /// This process ends while the guest is protected, or may be: it must not run on as it does.
    fn leave(&self);
    /// Whether it is no more, and not by this engine's hand. What is not known is "no".
    fn has_ended(&self) -> bool;
    /// It is run under this generation now, as the witness has recorded: begins to note that with it.
    fn mark(&self, generation: Generation);
    /// Whether that is noted, so that an engine after this one knows it again.
    fn is_marked(&self, generation: Generation) -> bool;
    /// Whether it uses its devices again after it was taken over here, or had its time for it.
    fn has_settled(&self) -> bool;
    /// Its configuration, if its devices have changed since this was asked last: what a takeover builds it from.
    fn take_renewed(&self) -> Option<Vec<u8>>;
    /// Another way to checkpoint it, after the one it began with has failed; `None` if there is none in this process.
    /// The error is for the log: it is asked again after a while. Does not wait long.
    fn reopen(&self) -> Option<Result<BoxedSource, String>> {
        None
    }
    /// Hands its network card a frame, if its network is the loop's.
    fn deliver(&self, frame: &[u8]);
}

/// A guest that runs here.
#[derive(Debug)]
pub struct RunningGuest {
    /// It.
    pub machine: Arc<dyn Machine>,
    /// How it is checkpointed from here on.
    pub source: BoxedSource,
    /// What it sends, held.
    pub output: HeldOutput,
    /// What it was before, if an engine that is gone ran it.
    pub past: Option<PreviousRun>,
    /// Memory that comparing it takes; 0 where its changes are logged.
    pub compared_bytes: u64,
}

/// What is known of a guest whose engine is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreviousRun {
    /// The generation it was run under last.
    pub generation: Generation,
    /// It stands still, by that engine's hand.
    pub is_halted: bool,
}

/// A source, which has nothing to show of itself.
pub struct BoxedSource(pub Box<dyn Source>);

impl Debug for BoxedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
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
    /// and another host runs it. The error is for the operator.
    fn pause_older(&self, name: &str, newest: Generation) -> Result<(), String>;

    /// Ends a guest `name` here that was run under a generation before `newest`, if there is one: a dead engine left
    /// it. The error is for the operator.
    fn end_older(&self, name: &str, newest: Generation) -> Result<(), String>;
}
