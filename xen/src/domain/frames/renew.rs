//! Remaps pieces although no change was seen. A guest may move a page onto a pfn that had another (`XENMAPSPACE_gmfn`).
//! No log shows it and the page count stays the same, so the old frame would stay mapped for ever.
//!
//! ```text
//!   renew:   a piece of each window ──► types ──┬─ as they were    remapped
//!                                               └─ pages have gone  the window is stale: the next pause remaps it
//!   forget:  all windows are unmapped           before a full sync, which has to find what is there now
//! ```
//!
//! Remapping frees a frame that only our mapping has kept, and the page count falls: the next pause takes every page
//! for dirty. That is right for a page that was moved. Pages that were merely given back are left to the pause.

use super::Frames;
use crate::window::{WINDOW_PFNS, split};
use crate::{GfnSlot, XenError};
use std::ops::Range;
use understudy_checkpoint::Pfn;

impl Frames {
    /// Remaps the pieces that begin at a pfn of `pfns`. The guest runs.
    pub(in crate::domain) fn renew(&mut self, pfns: Range<u64>) -> Result<(), XenError> {
        let mut pfn = pfns.start;
        while pfn < pfns.end {
            let (number, index) = split(Pfn(pfn));
            let Some(window) = &self.windows[number] else {
                pfn = (number as u64 + 1) * WINDOW_PFNS as u64;
                continue;
            };
            let piece = window.mapping.piece_frames();
            if index % piece == 0 && !window.is_stale {
                self.renew_piece(number, index..(index + piece).min(window.places.len()))?;
            }
            pfn = number as u64 * WINDOW_PFNS as u64 + (index / piece + 1) as u64 * piece as u64;
        }
        Ok(())
    }

    fn renew_piece(&mut self, number: usize, piece: Range<usize>) -> Result<(), XenError> {
        let Some(window) = &self.windows[number] else { return Ok(()) };
        let places = &window.places[piece.clone()];
        if !places.iter().any(|place| place.kind.has_data()) {
            // Of a hole nothing is mapped; what comes there is found by the survey.
            return Ok(());
        }
        let frames: Vec<GfnSlot> = places.iter().map(|place| place.frame).collect();
        let kinds = self.types(&frames)?;
        let Some(window) = &mut self.windows[number] else { return Ok(()) };
        let mut places = window.places[piece.clone()].iter().zip(&kinds);
        if places.any(|(place, kind)| place.kind.has_data() && !kind.has_data()) {
            window.is_stale = true;
            return Ok(());
        }
        if let Err(error) = window.mapping.renew(piece.start) {
            // All of the piece is unmapped now, and its places would go on telling of pages.
            self.drop_window(number);
            self.is_unsettled = true;
            return Err(error);
        }
        window.find_holes();
        Ok(())
    }

    /// Unmaps everything, before a full sync looks all frames up again. `tot_pages` is called afterwards.
    pub(in crate::domain) fn forget<E>(
        &mut self,
        tot_pages: impl FnOnce() -> Result<u64, E>,
    ) -> Result<(), E> {
        self.windows.iter_mut().for_each(|window| *window = None);
        self.dropped.clear();
        self.before.clear();
        self.survey_next = 0;
        // What is taken from here on is in the copy: the log has begun, or begins.
        self.tot_pages = tot_pages()?;
        self.is_unsettled = false;
        Ok(())
    }
}
