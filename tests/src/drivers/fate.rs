//! What becomes of a standby domain: others may destroy it or let it run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The state of a standby domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It stands by.
    Stands,
    /// Somebody destroyed it.
    Destroyed,
    /// Somebody let it run, so its memory is no longer an image.
    Ran,
}

/// A standby domain, as its host sees it.
#[derive(Clone, Debug)]
pub struct Stand(Arc<AtomicU8>);

impl Stand {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Fate::Stands as u8)))
    }

    /// Its state.
    pub fn fate(&self) -> Fate {
        match self.0.load(Ordering::Relaxed) {
            0 => Fate::Stands,
            1 => Fate::Destroyed,
            _ => Fate::Ran,
        }
    }

    /// Somebody puts it into this state.
    pub fn suffers(&self, fate: Fate) {
        self.0.store(fate as u8, Ordering::Relaxed);
    }
}
