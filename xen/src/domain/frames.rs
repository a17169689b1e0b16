//! A guest's frames, mapped once and kept: the pause copies from here without a system call.
//!
//! ```text
//!   pfn ──► window (pfn / 4096) ──► place in the window ──► page
//!           mapped when first wanted   mapped anew when the frame behind the pfn may have changed
//! ```
//!
//! A mapping names a frame, not a pfn. What a guest gives back by its balloon stays with the domain for as long as it is
//! mapped here; when it takes a page again, the pfn gets another frame, and the domain's page count has grown. What the
//! guest writes to such a page until the next clean is not in its dirty log: the page is mapped writable at once (seen with
//! Xen 4.17, HAP: a guest that ballooned before its host died crashed after the takeover). Which pfns those are cannot be
//! asked. So:
//!
//! ```text
//!   page count at the end of a pause ≠ at the beginning of the next ──► all is mapped anew and all counts as dirty
//!   a page that has gone (found by the survey, some pfns at a time) ──► sent as absent, its window mapped anew
//! ```
//!
//! Windows are unmapped only while the guest stands still: it lowers the page count and would hide what the guest takes.
//!
//! Not here: what a pfn's frame is (the caller knows: for HVM the pfn itself, for PV the P2M table's entry).

use super::peek;
use crate::{Access, DomId, Mapping, Xen, XenError};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{Page, PageType, Pfn};

/// Pfns in one mapping: 16 MiB.
const WINDOW_PFNS: usize = 4096;

/// Pfns that one survey looks at: one hypercall beside the running guest.
const SURVEY_PFNS: usize = 1024;

/// What is behind a pfn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The frame mapped there: a gfn or an mfn.
    frame: u64,
    /// Its type when it was looked up.
    kind: PageType,
    /// When it was looked up, see [`Frames::look_live`].
    sure_since: u32,
}

struct Window {
    mapping: Mapping,
    places: Vec<Place>,
    /// A page of it has gone.
    is_stale: bool,
}

/// The mapped frames of one domain.
pub(super) struct Frames {
    xen: Xen,
    domain: DomId,
    windows: Vec<Option<Window>>,
    page_count: u64,
    /// Grows when places become unsure.
    round: u32,
    /// The domain's page count when it was last looked at.
    tot_pages: u64,
    /// It changed since the last pause.
    is_unsettled: bool,
    /// Pfns that held a page in windows that were unmapped.
    before: DirtyBitmap,
    /// Where the next survey begins.
    survey_next: usize,
}

impl Frames {
    pub(super) fn new(xen: Xen, domain: DomId, page_count: u64, tot_pages: u64) -> Self {
        let windows = (0..(page_count as usize).div_ceil(WINDOW_PFNS)).map(|_| None).collect();
        let before = DirtyBitmap::new(page_count);
        Self {
            xen,
            domain,
            windows,
            page_count,
            round: 1,
            tot_pages,
            is_unsettled: false,
            before,
            survey_next: 0,
        }
    }

    /// Told the domain's page count while the guest runs: a change makes every place unsure.
    pub(super) fn look_live(&mut self, tot_pages: u64) {
        if tot_pages != self.tot_pages {
            self.tot_pages = tot_pages;
            self.round += 1;
            self.is_unsettled = true;
        }
    }

    /// The guest stands still. Gives back what is stale; whether every page has to be taken for dirty
    /// ([`mark_present`](Self::mark_present)).
    pub(super) fn begin_pause(&mut self, tot_pages: u64) -> bool {
        let is_unsettled = std::mem::take(&mut self.is_unsettled) || tot_pages != self.tot_pages;
        for (number, slot) in self.windows.iter_mut().enumerate() {
            let Some(window) = slot.take_if(|window| is_unsettled || window.is_stale) else { continue };
            let had_data = window.places.iter().enumerate().filter(|(_, place)| place.kind.has_data());
            for (index, _) in had_data {
                self.before.set(Pfn((number * WINDOW_PFNS + index) as u64));
            }
        }
        is_unsettled
    }

    /// Marks every pfn that holds a page, or did when it was last looked up.
    pub(super) fn mark_present(
        &mut self,
        into: &mut DirtyBitmap,
        frame_of: &dyn Fn(Pfn) -> u64,
    ) -> Result<(), XenError> {
        for first in (0..self.page_count).step_by(SURVEY_PFNS) {
            let pfns = || (first..(first + SURVEY_PFNS as u64).min(self.page_count)).map(Pfn);
            let frames: Vec<u64> = pfns().map(frame_of).collect();
            let kinds = self.types(&frames)?;
            pfns().zip(kinds).filter(|(_, kind)| kind.has_data()).for_each(|(pfn, _)| into.set(pfn));
        }
        self.before.drain_into(into);
        Ok(())
    }

    /// The guest will run again, with this page count.
    pub(super) fn end_pause(&mut self, tot_pages: u64) {
        self.tot_pages = tot_pages;
    }

    /// The type of a place that is sure and holds a page: nothing about it needs to be asked.
    pub(super) fn sure_type(&self, pfn: Pfn) -> Option<PageType> {
        let (window, index) = split(pfn);
        let place = self.windows.get(window)?.as_ref()?.places[index];
        (place.sure_since == self.round && place.kind.has_data()).then_some(place.kind)
    }

    /// The type found by the last look-up, absent if there was none.
    pub(super) fn found_type(&self, pfn: Pfn) -> PageType {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.map_or(PageType::Absent, |window| window.places[index].kind)
    }

    /// Copies the page of a place whose type has data. A running guest may write it meanwhile and tear the copy; its
    /// log then has the page as dirty, and it is copied again while the guest stands still.
    pub(super) fn copy(&self, pfn: Pfn, into: &mut Page) {
        let (window, index) = split(pfn);
        let window = self.windows[window].as_ref().expect("what has data was looked up");
        assert!(window.mapping.copy_page(index, into), "what has data is mapped");
    }

    /// Whether the page of a place holds just this; not if there is none.
    pub(super) fn is_same(&self, pfn: Pfn, page: &Page) -> bool {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.and_then(|window| peek::is_same(&window.mapping, index, page)).unwrap_or(false)
    }

    /// Looks up `pfns`, ascending: their types are asked for, and those that hold a page are mapped. `frame_of`
    /// says which frame a pfn is, `u64::MAX` for none.
    pub(super) fn look_up(&mut self, pfns: &[Pfn], frame_of: &dyn Fn(Pfn) -> u64) -> Result<(), XenError> {
        let mut rest = pfns;
        while let Some(first) = rest.first() {
            let window = split(*first).0;
            let here = rest.iter().take_while(|pfn| split(**pfn).0 == window).count();
            let (these, others) = rest.split_at(here);
            self.map_window(window, frame_of)?;
            self.look_up_in(window, these, frame_of)?;
            rest = others;
        }
        Ok(())
    }

    /// Looks for pages that have gone, some pfns at a time, and says which.
    pub(super) fn survey(
        &mut self,
        frame_of: &dyn Fn(Pfn) -> u64,
        mut gone: impl FnMut(Pfn),
    ) -> Result<(), XenError> {
        let first = self.survey_next;
        let last = (first + SURVEY_PFNS).min(self.page_count as usize);
        self.survey_next = if last < self.page_count as usize { last } else { 0 };
        let pfns = || (first..last).map(|pfn| Pfn(pfn as u64));
        let frames: Vec<u64> = pfns().map(frame_of).collect();
        for (pfn, kind) in pfns().zip(self.types(&frames)?) {
            let (window, index) = split(pfn);
            if let Some(window) = &mut self.windows[window]
                && window.places[index].kind.has_data()
                && !kind.has_data()
            {
                window.is_stale = true;
                gone(pfn);
            }
        }
        Ok(())
    }

    /// Maps a window as a whole if it is not mapped.
    fn map_window(&mut self, window: usize, frame_of: &dyn Fn(Pfn) -> u64) -> Result<(), XenError> {
        if self.windows[window].is_some() {
            return Ok(());
        }
        let pfns: Vec<Pfn> = (window * WINDOW_PFNS
            ..((window + 1) * WINDOW_PFNS).min(self.page_count as usize))
            .map(|pfn| Pfn(pfn as u64))
            .collect();
        let frames: Vec<u64> = pfns.iter().map(|pfn| frame_of(*pfn)).collect();
        let kinds = self.types(&frames)?;
        let mapping = self.xen.map(self.domain, &frames, Access::Read)?;
        let places = frames.iter().zip(kinds).enumerate();
        let places = places.map(|(index, (frame, kind))| Place {
            frame: *frame,
            kind: settle(kind, &mapping, index),
            sure_since: self.round,
        });
        let places = places.collect();
        self.windows[window] = Some(Window { mapping, places, is_stale: false });
        Ok(())
    }

    fn look_up_in(
        &mut self,
        window: usize,
        pfns: &[Pfn],
        frame_of: &dyn Fn(Pfn) -> u64,
    ) -> Result<(), XenError> {
        let frames: Vec<u64> = pfns.iter().map(|pfn| frame_of(*pfn)).collect();
        let kinds = self.types(&frames)?;
        let round = self.round;
        let window = self.windows[window].as_mut().expect("it was just mapped");
        let found =
            || pfns.iter().map(|pfn| split(*pfn).1).zip(frames.iter().copied()).zip(kinds.iter().copied());
        let moved: Vec<(usize, u64)> = found()
            .filter(|((index, frame), kind)| {
                let place = window.places[*index];
                let is_here = place.frame == *frame && place.sure_since == round && place.kind.has_data();
                kind.has_data() && !is_here
            })
            .map(|(place, _)| place)
            .collect();
        window.mapping.remap_each(&moved)?;
        for ((index, frame), kind) in found() {
            let kind = settle(kind, &window.mapping, index);
            // Its frame is the domain's until it is unmapped.
            window.is_stale |= window.places[index].kind.has_data() && !kind.has_data();
            window.places[index] = Place { frame, kind, sure_since: round };
        }
        Ok(())
    }

    /// What Xen says the frames are. `u64::MAX` is no frame.
    fn types(&self, frames: &[u64]) -> Result<Vec<PageType>, XenError> {
        let mut asked: Vec<u64> = frames.iter().copied().filter(|frame| *frame != u64::MAX).collect();
        self.xen.page_types(self.domain, &mut asked)?;
        let mut answers = asked.into_iter();
        let kind = |frame: &u64| {
            if *frame == u64::MAX {
                return PageType::Absent;
            }
            let answer = answers.next().expect("an answer for each frame asked for");
            PageType::from_nibble((answer >> 28 & 0xF) as u8).unwrap_or(PageType::Absent)
        };
        Ok(frames.iter().map(kind).collect())
    }
}

/// A frame that cannot be mapped holds nothing that could be copied.
fn settle(kind: PageType, mapping: &Mapping, index: usize) -> PageType {
    if kind.has_data() && mapping.page(index).is_none() { PageType::Absent } else { kind }
}

fn split(pfn: Pfn) -> (usize, usize) {
    (pfn.0 as usize / WINDOW_PFNS, pfn.0 as usize % WINDOW_PFNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::Simulated;

    fn frames() -> Frames {
        Frames::new(Xen::over(Simulated::new()).unwrap(), DomId(1), 4096, 1000)
    }

    #[test]
    fn a_guest_whose_pages_changed_between_two_pauses_is_all_dirty_once() {
        let mut frames = frames();
        assert!(!frames.begin_pause(1000));
        frames.end_pause(1000);
        assert!(frames.begin_pause(1004), "it took four");
        // What was mapped no longer is, and given back: that is our doing.
        frames.end_pause(1002);
        assert!(!frames.begin_pause(1002));
        frames.end_pause(1002);
        assert!(frames.begin_pause(1001));
    }

    #[test]
    fn what_changed_while_the_guest_ran_counts_at_the_next_pause_even_if_it_changed_back() {
        let mut frames = frames();
        frames.look_live(1001);
        frames.look_live(1000);
        assert!(frames.begin_pause(1000));
        frames.end_pause(1000);
        assert!(!frames.begin_pause(1000));
    }
}
