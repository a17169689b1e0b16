//! An epoch between two others is forgotten: what it kept is kept by the one before it.
//!
//! ```text
//!   12 ─── before 13..=17 ───► 17 ─── before 18..=23 ───► 23       17 is forgotten
//!   12 ──────────────────── before 13..=23 ─────────────► 23
//!
//!   a frame of 17 alone      moves: it was the same at 12
//!   a frame of both          12 has it already, perhaps as changes from its content at 17: as changes from that at 23 now
//! ```
//!
//! The newest is not forgotten: what it keeps has to be whole, and the one before it has packed its pages.

use super::KeptEpochs;
use super::before::Before;
use crate::domain::Sink;
use crate::room::OutOfMemory;
use crate::{PAGE_SIZE, Pfn};

impl KeptEpochs {
    /// Forgets what was kept for readers alone and is not read any more. If memory runs out, no epoch is kept any more.
    pub(super) fn forget_read(&mut self, image: &impl Sink) {
        let mut position = 0;
        while position + 1 < self.epochs.len() {
            let kept = &self.epochs[position];
            if !kept.for_reader || self.pinned == Some(kept.epoch) {
                position += 1;
            } else if self.forget(position, image).is_err() {
                return self.clear();
            }
        }
    }

    fn forget(&mut self, position: usize, image: &impl Sink) -> Result<(), OutOfMemory> {
        if let Some(older) = position.checked_sub(1) {
            let in_both = |pfn: &&Pfn| self.epochs[older].before.contains_key(pfn);
            let in_both: Vec<Pfn> = self.epochs[position].before.keys().filter(in_both).copied().collect();
            for pfn in in_both {
                self.compare_with(older, pfn, position + 1, image)?;
            }
        }
        let gone = self.epochs.remove(position).expect("a position in the queue");
        self.bytes -= gone.bytes();
        let Some(older) = position.checked_sub(1).and_then(|older| self.epochs.get_mut(older)) else {
            return Ok(());
        };
        older.before.try_reserve(gone.before.len()).map_err(|_| OutOfMemory)?;
        for (pfn, entry) in gone.before {
            let bytes = entry.1.bytes();
            older.before.entry(pfn).or_insert_with(|| {
                self.bytes += bytes;
                entry
            });
        }
        Ok(())
    }

    /// Has the epoch at `position` keep a frame as it differs from the epoch at `next`.
    fn compare_with(
        &mut self,
        position: usize,
        pfn: Pfn,
        next: usize,
        image: &impl Sink,
    ) -> Result<(), OutOfMemory> {
        let (mut page, mut successor) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        let has_data = self.content(position, pfn, image, &mut page);
        let follows = self.content(next, pfn, image, &mut successor).then_some(&successor);
        let mut before = Before::of(has_data.then_some(&page))?;
        before.pack(follows, &mut self.packer)?;
        let entry = self.epochs[position].before.get_mut(&pfn).expect("it keeps the frame");
        self.bytes = self.bytes - entry.1.bytes() + before.bytes();
        entry.1 = before;
        Ok(())
    }
}
