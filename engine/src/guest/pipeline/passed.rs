//! [`Passed`]: how much of an epoch has gone to the link, counted by the encode thread and read by the loop. It tells how far a full
//! sync is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has passed so far.
#[derive(Clone, Default, Debug)]
pub struct Passed(Arc<Counts>);

#[derive(Default, Debug)]
struct Counts {
    pages: AtomicU64,
    link_bytes: AtomicU64,
}

impl Passed {
    /// Some more has.
    pub fn add(&self, pages: u64, link_bytes: u64) {
        self.0.pages.fetch_add(pages, Ordering::Relaxed);
        self.0.link_bytes.fetch_add(link_bytes, Ordering::Relaxed);
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        self.0.pages.load(Ordering::Relaxed)
    }

    /// Bytes on the link.
    pub fn link_bytes(&self) -> u64 {
        self.0.link_bytes.load(Ordering::Relaxed)
    }
}
