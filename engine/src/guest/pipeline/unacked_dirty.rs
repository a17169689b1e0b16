//! [`UnackedDirty`]: the frames that the peer does not have yet. Incremental resync relies on it.
//!
//! ```text
//!   dirty log ──drain──► pending ──staged──► unacked: [ epoch 7 | epoch 8 | epoch 9 ] ──acked──► forgotten
//!                           ▲                                   │
//!                           └──────────── rewind to 7 ──────────┘
//! ```
//!
//! A mark that left the guest's dirty log is in exactly one place here until the epoch that carried its page is acked.
//! So a failed capture, an aborted one or a lost link never loses a page.

use std::collections::VecDeque;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Epoch, OutOfMemory};

/// The dirty frames of one guest, pending and unacked.
#[derive(Debug)]
pub(in crate::guest) struct UnackedDirty {
    pending: DirtyBitmap,
    unacked: VecDeque<(Epoch, DirtyBitmap)>,
    spare: Vec<DirtyBitmap>,
    has_begun: bool,
}

impl UnackedDirty {
    /// No dirty frames, for pfns below `page_count`. Holds `in_flight` unacked epochs without allocating.
    pub(in crate::guest) fn new(page_count: u64, in_flight: usize) -> Result<Self, OutOfMemory> {
        let spare = (0..=in_flight).map(|_| DirtyBitmap::try_new(page_count));
        Ok(Self {
            pending: DirtyBitmap::try_new(page_count)?,
            unacked: VecDeque::with_capacity(in_flight + 1),
            spare: spare.collect::<Result<_, _>>()?,
            has_begun: false,
        })
    }

    /// Whether a full sync has begun with this account. Before that it knows of nothing that the guest wrote, and no
    /// checkpoint may build on what the peer holds.
    pub(in crate::guest) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The same for a guest whose number of pfns has changed: all of them are pending.
    pub(in crate::guest) fn resized(&self, page_count: u64) -> Result<Self, OutOfMemory> {
        let mut account = Self::new(page_count, self.unacked.capacity().saturating_sub(1))?;
        account.everything();
        Ok(account)
    }

    /// Frames that were drained and not staged yet.
    pub(in crate::guest) fn pending(&self) -> &DirtyBitmap {
        &self.pending
    }

    /// The bitmap to drain into.
    pub(in crate::guest) fn pending_mut(&mut self) -> &mut DirtyBitmap {
        &mut self.pending
    }

    /// All pending frames are staged as `epoch`, and forgotten once that is acked.
    pub(in crate::guest) fn staged(&mut self, epoch: Epoch) {
        let clean = self.spare.pop().unwrap_or_else(|| DirtyBitmap::new(self.pending.page_count()));
        let staged = std::mem::replace(&mut self.pending, clean);
        self.unacked.push_back((epoch, staged));
    }

    /// Forgets the frames of epochs up to `acked`: the peer has them.
    pub(in crate::guest) fn forget_through(&mut self, acked: Epoch) {
        while self.unacked.front().is_some_and(|(epoch, _)| *epoch <= acked) {
            let (_, mut bitmap) = self.unacked.pop_front().expect("front exists");
            bitmap.clear();
            self.spare.push(bitmap);
        }
    }

    /// Makes what was staged after `base` pending again: the peer is at `base`.
    pub(in crate::guest) fn rewind_to(&mut self, base: Epoch) {
        self.forget_through(base);
        while let Some((_, mut bitmap)) = self.unacked.pop_front() {
            bitmap.drain_into(&mut self.pending);
            self.spare.push(bitmap);
        }
    }

    /// Makes every frame pending, for a full sync.
    pub(in crate::guest) fn everything(&mut self) {
        self.forget_through(Epoch(u64::MAX));
        self.pending.set_all();
        self.has_begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use understudy_checkpoint::Pfn;

    fn marked(bitmap: &DirtyBitmap) -> BTreeSet<u64> {
        bitmap.runs(Pfn(0)).flatten().collect()
    }

    proptest! {
        /// Compares with a model of plain sets: after any history, a rewind makes exactly the frames pending that the
        /// peer may lack.
        #[test]
        fn no_page_is_ever_lost(steps in proptest::collection::vec((0u8..4, 0u64..64), 1..120)) {
            let mut account = UnackedDirty::new(64, 2).unwrap();
            let (mut pending, mut unacked, mut next) = (BTreeSet::new(), BTreeMap::<u64, BTreeSet<u64>>::new(), 0);
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        account.pending_mut().set(Pfn(number));
                        pending.insert(number);
                    }
                    2 => {
                        account.staged(Epoch(next));
                        unacked.insert(next, std::mem::take(&mut pending));
                        next += 1;
                    }
                    _ if next > 0 => {
                        let base = number % next;
                        unacked.retain(|epoch, _| *epoch > base);
                        if number % 2 == 0 {
                            account.forget_through(Epoch(base));
                        } else {
                            account.rewind_to(Epoch(base));
                            pending.extend(std::mem::take(&mut unacked).into_values().flatten());
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(marked(account.pending()), pending.clone());
            }
        }
    }

    #[test]
    fn a_guest_that_no_host_can_keep_account_of_is_refused() {
        assert_eq!(UnackedDirty::new(u64::MAX, 8).err(), Some(OutOfMemory));
    }

    #[test]
    fn a_full_copy_needs_every_frame_whatever_was_before() {
        let mut account = UnackedDirty::new(70, 1).unwrap();
        account.pending_mut().set(Pfn(3));
        account.staged(Epoch(0));
        assert!(!account.has_begun());
        account.everything();
        assert!(account.has_begun());
        assert_eq!(account.pending().count(), 70);
        account.staged(Epoch(1));
        account.rewind_to(Epoch(1));
        assert_eq!(account.pending().count(), 0);
    }
}
