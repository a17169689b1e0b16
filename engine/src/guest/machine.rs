//! What runs guests on this host, as the engine sees it: the lab, or Xen.
//!
//! ```text
//!   primary:    Machine   paused and unpaused by the session's word, stopped for good when fenced
//!   secondary:  Host      makes a Machine and its Source from a committed image when the session says so
//! ```

use super::output::HeldOutput;
use std::fmt::Debug;
use std::sync::Arc;
use understudy_checkpoint::domain::{Description, Source};
use understudy_checkpoint::epoch::Image;
use understudy_lab::LabGuest;

/// A guest that runs here. What is asked of it twice is done once.
pub trait Machine: Send + Sync + Debug {
    /// Holds its vCPUs where they stand, whatever checkpoints do meanwhile.
    fn pause(&self);
    /// Lets them go on.
    fn unpause(&self);
    /// Ends it for good. When this returns it runs no more.
    fn stop(&self);
    /// This process ends, and with it everything that holds the guest's output: it must not run on as it does.
    fn leave(&self);
    /// Hands its network card a frame, if its network is the loop's.
    fn deliver(&self, frame: &[u8]);
}

/// A guest that was started from an image.
#[derive(Debug)]
pub struct Activated {
    /// It.
    pub machine: Arc<dyn Machine>,
    /// How it is checkpointed from here on.
    pub source: BoxedSource,
}

/// A source, which has nothing to show of itself.
pub struct BoxedSource(pub Box<dyn Source>);

impl Debug for BoxedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

/// Starts guests from images.
pub trait Host: Send + Sync + Debug {
    /// Starts the guest `name` that `what` and `image` are of; its network card, if the loop has its network, sends
    /// to `output`. The error is for the operator.
    fn activate(
        &self,
        name: &str,
        what: &Description,
        image: Image,
        output: HeldOutput,
    ) -> Result<Activated, String>;
}

/// The lab: guests in this process.
#[derive(Clone, Copy, Debug)]
pub struct LabHost;

impl Host for LabHost {
    fn activate(
        &self,
        _name: &str,
        _what: &Description,
        image: Image,
        output: HeldOutput,
    ) -> Result<Activated, String> {
        let guest = LabGuest::restore(image, Arc::new(output)).map_err(|error| error.to_string())?;
        Ok(activated(guest))
    }
}

/// A lab guest as a machine with its source.
pub fn activated(guest: LabGuest) -> Activated {
    Activated { source: BoxedSource(Box::new(guest.source())), machine: Arc::new(guest) }
}

impl Machine for LabGuest {
    fn pause(&self) {
        Self::pause(self);
    }
    fn unpause(&self) {
        Self::unpause(self);
    }
    fn stop(&self) {
        Self::stop(self);
    }
    fn leave(&self) {
        // It lives in this process.
        Self::stop(self);
    }
    fn deliver(&self, frame: &[u8]) {
        // A full ring drops it, as a network card does.
        let _ = self.inject(frame);
    }
}
