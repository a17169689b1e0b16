//! The result of an epoch's checks: pages that should be unchanged are compared with those that the epoch builds on,
//! and the state with its digest. Reported when the epoch ends, so that damage on the way is reported as such.

use super::refusal::ReceiveError;
use crate::domain::DomainState;
use crate::pages::{BatchError, CHECKED_PAGES_MAX, ContentHash, StateDigest, stretches};
use crate::{Epoch, Page, Pfn};

#[derive(Debug, Default)]
pub(super) struct Checked {
    pages: u64,
    /// The first stretch of frames that differs.
    differs_at: Option<(Pfn, Pfn)>,
    differing: u64,
    state: Option<StateDigest>,
}

impl Checked {
    /// Evaluates a batch of checks. `page` returns the content of a frame before the epoch.
    pub(super) fn pages<'a>(
        &mut self,
        batch: &[u8],
        page_count: u64,
        page: impl Fn(Pfn) -> Option<&'a Page>,
    ) -> Result<(), BatchError> {
        for stretch in stretches(batch, page_count) {
            let stretch = stretch?;
            self.pages += stretch.pages;
            if self.pages > CHECKED_PAGES_MAX as u64 {
                return Err(BatchError::Checks);
            }
            if !stretch.agrees(|pfn| ContentHash::of(page(pfn))) {
                self.differing += 1;
                self.differs_at.get_or_insert((stretch.first, Pfn(stretch.first.0 + stretch.pages - 1)));
            }
        }
        Ok(())
    }

    /// Records the digest of the state.
    pub(super) fn state(&mut self, batch: &[u8]) -> Result<(), BatchError> {
        self.state = Some(StateDigest::read(batch)?);
        Ok(())
    }

    /// Judges an epoch that is otherwise complete.
    pub(super) fn verify(&self, epoch: Epoch, state: &DomainState) -> Result<(), ReceiveError> {
        if self.state.is_some_and(|sent| sent != StateDigest::of(state)) {
            return Err(ReceiveError::StateMismatch(epoch));
        }
        match self.differs_at {
            None => Ok(()),
            Some((first, last)) => {
                Err(ReceiveError::Diverged { epoch, first, last, stretches: self.differing })
            }
        }
    }
}
