//! Waits with a limit, shows on a line what it waits for, and reacts to Ctrl-C.

use super::error::DrillError;
use super::history::Moment;
use super::progress::Progress;
use crate::signals::{Hangup, ShutdownSignal};
use std::thread;
use std::time::Duration;

/// How often the awaited condition is checked. The times in the report do not depend on it: they come from the engines
/// and clients.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for things to happen.
#[derive(Debug)]
pub struct Watch {
    signal: ShutdownSignal,
    progress: Progress,
    /// The part of the drill, shown before what is awaited.
    scene: String,
}

impl Drop for Watch {
    /// Lets Ctrl-C end this process as usual: what follows is the report, whose reader may take long.
    fn drop(&mut self) {
        // Without this, Ctrl-C goes on being noted and not acted upon.
        let _ = self.signal.release();
    }
}

impl Watch {
    /// Must be created before any thread of the drill, since it blocks the signals it listens for.
    pub fn new() -> Result<Self, DrillError> {
        let signal =
            ShutdownSignal::install(Hangup::Ends).map_err(DrillError::system("listen for Ctrl-C"))?;
        Ok(Self { signal, progress: Progress::new(), scene: String::new() })
    }

    /// Sets the part of the drill that is shown.
    pub fn set_scene(&mut self, scene: String) {
        self.scene = scene;
    }

    /// Clears the line for a permanent one.
    pub fn clear(&mut self) {
        self.progress.clear();
    }

    /// Waits until `look` returns something.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>, DrillError>,
    ) -> Result<T, DrillError> {
        let began = Moment::now();
        self.progress.show(format_args!("{}{what}", self.scene));
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Moment::now().since(began) > limit {
                return Err(DrillError::TookTooLong { what: what.to_owned(), limit });
            }
            self.pause(LOOK_EVERY)?;
        }
    }

    /// Waits for this time, while `what` continues.
    pub fn rest(&mut self, what: &str, span: Duration) -> Result<(), DrillError> {
        self.progress.show(format_args!("{}{what}", self.scene));
        let end = Moment::now() + span;
        loop {
            let left = end.since(Moment::now());
            if left.is_zero() {
                return Ok(());
            }
            self.pause(left.min(LOOK_EVERY))?;
        }
    }

    fn pause(&mut self, span: Duration) -> Result<(), DrillError> {
        thread::sleep(span);
        match self.signal.arrived().map_err(DrillError::system("listen for Ctrl-C"))? {
            Some(signal) => Err(DrillError::Interrupted(signal)),
            None => Ok(()),
        }
    }
}
