//! Gives the guest's state to a standby domain.
//!
//! ```text
//!   PVH   records ──► Xen            the image does not change: repeated as often as necessary
//!   PV    tables name frames ──► records ──► unmapped, vCPUs, tables pinned
//!         └ fails: undone, tried again       └ fails: another domain is built from the image, which is kept beside
//! ```
//!
//! Not here: when this happens ([`Standby::activate`], and with each full sync), and how a guest is rebuilt
//! ([`Rebuild`]).

use super::{Standby, StandbyError};
use crate::restore::Rebuild;
use crate::restore::memory::{GuestMemory, Undone};
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

/// Attempts of what may fail for a moment, and the pause between them.
const ATTEMPTS: u32 = 5;
const RETRY: Duration = Duration::from_millis(200);

impl Standby {
    /// Gives the state to a PVH guest's domain. Its memory stays what the stream has.
    pub(super) fn give_state(&self) -> Result<(), StandbyError> {
        let mut rebuild = Rebuild::of_standby(self.xen.clone(), self.domain, &self.what)?;
        rebuild.apply_all(&self.state.libxc)?;
        rebuild.complete(self.rings)?;
        Ok(())
    }

    /// Gives the state to a PV guest's domain, and this host's frames to its page tables. A failure before Xen has
    /// taken any of it is undone and tried again; after that the image can still be read.
    pub(super) fn give_pv_state(&mut self) -> Result<(), StandbyError> {
        let mut attempt = 1;
        loop {
            let memory = self.pages.lend(&self.xen, self.domain);
            let (given, memory) = self.rebuild_pv(memory);
            self.pages.put_back(memory);
            let Err(error) = given else { return Ok(()) };
            match self.pages.undo() {
                Undone::Whole if attempt < ATTEMPTS => {
                    tracing::warn!(%error, "A step of a takeover failed; it is tried again");
                    attempt += 1;
                    sleep(RETRY);
                }
                Undone::Whole => return Err(error),
                Undone::Readable => {
                    self.is_used = true;
                    return Err(error);
                }
                Undone::Lost => {
                    self.is_changed = true;
                    return Err(error);
                }
            }
        }
    }

    /// Checks whether a PV guest's state fits its memory. Passes nothing to Xen.
    pub(super) fn check_pv_state(&self) -> Result<(), StandbyError> {
        let rebuild = Rebuild::of_standby(self.xen.clone(), self.domain, &self.what)?;
        let page_type = |pfn| self.pages.page_type(pfn);
        rebuild.check(&self.what.static_records, &self.state.libxc, self.pages.memory(), page_type)?;
        Ok(())
    }

    fn rebuild_pv(&self, memory: GuestMemory) -> (Result<(), StandbyError>, GuestMemory) {
        let mut rebuild = match Rebuild::of_standby(self.xen.clone(), self.domain, &self.what) {
            Ok(rebuild) => rebuild,
            Err(error) => return (Err(error.into()), memory),
        };
        let page_type = |pfn| self.pages.page_type(pfn);
        let given = rebuild.localise(&self.what.static_records, memory, page_type);
        match given.and_then(|()| rebuild.apply_all(&self.state.libxc)) {
            Err(error) => (Err(error.into()), rebuild.into_memory()),
            Ok(()) => {
                let (completed, memory) = rebuild.complete_keeping(self.rings);
                (completed.map(drop).map_err(StandbyError::from), memory)
            }
        }
    }
}

/// Repeats `attempt` until it succeeds or has failed too often.
pub(super) fn retry<T, E: fmt::Display>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => tracing::warn!(%error, "A step of a takeover failed; it is tried again"),
        }
        sleep(RETRY);
    }
    attempt()
}

#[cfg(test)]
mod tests;
