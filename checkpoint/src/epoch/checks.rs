//! What an epoch's checks found: pages that are said to be clean against those that the epoch builds on, and the digest
//! of its state. Told when the epoch ends, so that what is damaged on the way is told as that.

use super::refusal::ReceiveError;
use crate::domain::DomainState;
use crate::pages::{BatchError, CHECKED_PAGES_MAX, ContentHash, StateDigest, stretches};
use crate::{Epoch, Page, Pfn};

#[derive(Debug, Default)]
pub(super) struct Checked {
    pages: u64,
    /// The first stretch that differs.
    differs_at: Option<(Pfn, Pfn)>,
    differing: u64,
    state: Option<StateDigest>,
}

impl Checked {
    /// Takes in a batch of checks; `page` is what a frame holds before the epoch.
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

    /// Takes in the digest of the state.
    pub(super) fn state(&mut self, batch: &[u8]) -> Result<(), BatchError> {
        self.state = Some(StateDigest::read(batch)?);
        Ok(())
    }

    /// Judges an epoch that is otherwise whole.
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
