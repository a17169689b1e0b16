//! A guest's frames, mapped once and kept, so that the pause copies without a system call.
//!
//! ```text
//!   pfn ──► window (pfn / 4096) ──► place in the window ──► page
//!           mapped on first use        remapped when the frame behind the pfn may have changed
//! ```
//!
//! A mapping names a frame, not a pfn. A page that the guest's balloon gives back stays with the domain as long as it
//! is mapped here. When the guest takes a page again, the pfn gets another frame, and the domain's page count grows.
//! What the guest writes to that page before the next clean is not in its dirty log, because the page is mapped
//! writable at once (seen with Xen 4.17, HAP: a guest that ballooned before its host died crashed after the takeover).
//! Xen cannot be asked which pfns those are. So:
//!
//! ```text
//!   page count at the end of a pause ≠ at the beginning of the next ──► everything is remapped and counts as dirty
//!   a page that has gone (found by the survey, some pfns at a time) ──► sent as absent, its window remapped
//! ```
//!
//! Windows are unmapped only while the guest is suspended: unmapping lowers the page count and would hide what the
//! guest takes. For the same reason a window that held pages has to be mapped again before the guest continues; if it
//! is not, everything counts as dirty at the next pause.
//!
//! A page that Xen has but that cannot be mapped is never reported as absent, because the receiver would drop it. While
//! the guest is suspended it is an error. While the guest runs, the page may be on its way out and is looked up again
//! in the pause.
//!
//! Not here: which frame belongs to a pfn (the caller knows: for HVM the pfn itself, for PV the entry of the P2M
//! table).

mod renew;
mod sample;

use super::peek;
use crate::window::{self, WINDOW_PFNS, by_window, pfn_at, split};
use crate::{Access, DomId, Gfn, GfnSlot, Mapping, Xen, XenError};
use nix::errno::Errno;
use std::collections::BTreeSet;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{OutOfMemory, Page, PageType, Pfn, room};

/// Pfns in one survey: one hypercall while the guest runs.
const SURVEY_PFNS: usize = 1024;

/// What is known of a pfn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The frame that is mapped.
    frame: GfnSlot,
    /// Its type when it was looked up.
    kind: PageType,
    /// The round of the last look-up, see [`Frames::look_live`]; [`NEVER`]: look it up again.
    sure_since: u32,
}

/// The round of a place that must be looked up again. Rounds count from 1.
const NEVER: u32 = 0;

/// What to do about a page that Xen has but that cannot be mapped.
pub(super) enum Unmapped<'a> {
    /// The guest is suspended: report an error.
    Fails,
    /// The guest runs and may be giving the page back: mark it here, and look it up again in the pause.
    Waits(&'a mut DirtyBitmap),
}

struct Window {
    mapping: Mapping,
    places: Vec<Place>,
    /// A page of the window has gone.
    is_stale: bool,
}

impl Window {
    /// Whether every place that counts as mapped is mapped. Remapping a piece leaves holes where frames have gone
    /// since; those places have to be looked up again before their pages can be copied.
    fn find_holes(&mut self) -> bool {
        let Self { mapping, places, is_stale } = self;
        let holes = places.iter_mut().enumerate().filter(|(index, place)| {
            place.sure_since != NEVER && place.kind.has_data() && mapping.error(*index).is_some()
        });
        let mut is_whole = true;
        for (_, place) in holes {
            place.sure_since = NEVER;
            (*is_stale, is_whole) = (true, false);
        }
        is_whole
    }
}

/// The mapped frames of one domain.
pub(super) struct Frames {
    xen: Xen,
    domain: DomId,
    windows: Vec<Option<Window>>,
    page_count: u64,
    /// Increases when places become unsure.
    round: u32,
    /// The domain's page count at the last look.
    tot_pages: u64,
    /// The page count has changed since the last pause, or may have.
    is_unsettled: bool,
    is_in_pause: bool,
    /// Pfns that held a page in windows that have been unmapped.
    before: DirtyBitmap,
    /// Windows that held pages and are not mapped now.
    dropped: BTreeSet<usize>,
    /// The first pfn of the next survey.
    survey_next: usize,
}

impl Frames {
    pub(super) fn new(xen: Xen, domain: DomId, page_count: u64, tot_pages: u64) -> Result<Self, OutOfMemory> {
        let before = DirtyBitmap::try_new(page_count)?;
        let windows_count = window::count(page_count as usize);
        let mut windows = Vec::new();
        room::reserve(&mut windows, windows_count)?;
        windows.resize_with(windows_count, || None);
        Ok(Self {
            xen,
            domain,
            windows,
            page_count,
            round: 1,
            tot_pages,
            is_unsettled: false,
            is_in_pause: false,
            before,
            dropped: BTreeSet::new(),
            survey_next: 0,
        })
    }

    /// Records the domain's page count while the guest runs. A change makes every place unsure.
    pub(super) fn look_live(&mut self, tot_pages: u64) {
        if tot_pages != self.tot_pages {
            self.tot_pages = tot_pages;
            self.round += 1;
            self.is_unsettled = true;
        }
    }

    /// Starts a pause: unmaps stale windows. Returns `true` if every page has to count as dirty
    /// ([`mark_present`](Self::mark_present)).
    pub(super) fn begin_pause(&mut self, tot_pages: u64) -> bool {
        self.is_in_pause = true;
        let is_unsettled = std::mem::take(&mut self.is_unsettled) || tot_pages != self.tot_pages;
        for number in 0..self.windows.len() {
            let goes = |window: &Window| is_unsettled || window.is_stale;
            if self.windows[number].as_ref().is_some_and(goes) {
                self.drop_window(number);
            }
        }
        is_unsettled
    }

    /// Unmaps a window and remembers which pfns held pages.
    fn drop_window(&mut self, number: usize) {
        let Some(window) = self.windows[number].take() else { return };
        let had_data = window.places.iter().enumerate().filter(|(_, place)| place.kind.has_data());
        for (index, _) in had_data {
            self.before.set(pfn_at(number, index));
            self.dropped.insert(number);
        }
    }

    /// Maps the windows that were unmapped in this pause. From then on pages that the guest gives back stay with the
    /// domain.
    pub(super) fn map_dropped(&mut self, frame_of: &dyn Fn(Pfn) -> Option<Gfn>) -> Result<(), XenError> {
        let numbers: Vec<usize> = self.dropped.iter().copied().collect();
        numbers.into_iter().try_for_each(|number| self.map_window(number, frame_of))
    }

    /// Marks every pfn that holds a page, or held one at the last look-up.
    pub(super) fn mark_present(
        &mut self,
        into: &mut DirtyBitmap,
        frame_of: &dyn Fn(Pfn) -> Option<Gfn>,
    ) -> Result<(), XenError> {
        for first in (0..self.page_count).step_by(SURVEY_PFNS) {
            let pfns = || (first..(first + SURVEY_PFNS as u64).min(self.page_count)).map(Pfn);
            let frames: Vec<GfnSlot> = pfns().map(|pfn| frame_of(pfn).into()).collect();
            let kinds = self.types(&frames)?;
            pfns().zip(kinds).filter(|(_, kind)| kind.has_data()).for_each(|(pfn, _)| into.set(pfn));
        }
        self.before.drain_into(into);
        Ok(())
    }

    /// Ends a pause: the guest is about to run again, with this page count.
    pub(super) fn end_pause(&mut self, tot_pages: u64) {
        self.tot_pages = tot_pages;
        // Nobody looked how many it had before.
        self.is_unsettled |= !std::mem::take(&mut self.is_in_pause);
        // What is given back in an unmapped window lowers the page count, and so hides what is taken elsewhere.
        self.is_unsettled |= !self.dropped.is_empty();
    }

    /// Ends a pause in which the page count could not be asked.
    pub(super) fn end_pause_unseen(&mut self) {
        (self.is_in_pause, self.is_unsettled) = (false, true);
    }

    /// The type of a place that is sure and holds a page: Xen need not be asked about it.
    pub(super) fn sure_type(&self, pfn: Pfn) -> Option<PageType> {
        let (window, index) = split(pfn);
        let place = self.windows.get(window)?.as_ref()?.places[index];
        (place.sure_since == self.round && place.kind.has_data()).then_some(place.kind)
    }

    /// The type found by the last look-up; absent if there was none.
    pub(super) fn found_type(&self, pfn: Pfn) -> PageType {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.map_or(PageType::Absent, |window| window.places[index].kind)
    }

    /// Copies the page of a place whose type has data; `false` if it is not mapped. A running guest may write to the
    /// page meanwhile and tear the copy. Its log then has the page as dirty, and the page is copied again while the
    /// guest is suspended.
    #[must_use]
    pub(super) fn copy(&self, pfn: Pfn, into: &mut Page) -> bool {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.is_some_and(|window| window.mapping.copy_page(index, into))
    }

    /// Why the page of a place cannot be copied.
    pub(super) fn copy_error(&self, pfn: Pfn) -> XenError {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        let errno =
            window.and_then(|window| window.mapping.error(index)).map_or(Errno::EFAULT, Errno::from_raw);
        let frame = window.map_or(GfnSlot::EMPTY, |window| window.places[index].frame);
        XenError::Map { domain: self.domain, frame, errno }
    }

    /// Whether a place holds exactly this page; `false` if it holds none.
    pub(super) fn is_same(&self, pfn: Pfn, page: &Page) -> bool {
        let (window, index) = split(pfn);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.and_then(|window| peek::is_same(&window.mapping, index, page)).unwrap_or(false)
    }

    /// Looks up `pfns`, ascending: asks for their types, and maps those that hold a page. `frame_of` returns the frame
    /// of a pfn. Returns whether everything that was sure before still is; otherwise that has to be looked up again.
    pub(super) fn look_up(
        &mut self,
        pfns: &[Pfn],
        frame_of: &dyn Fn(Pfn) -> Option<Gfn>,
        mut unmapped: Unmapped<'_>,
    ) -> Result<bool, XenError> {
        let mut is_whole = true;
        for (window, pfns) in by_window(pfns) {
            self.map_window(window, frame_of)?;
            is_whole &= self.look_up_in(window, pfns, frame_of, &mut unmapped)?;
        }
        Ok(is_whole)
    }

    /// Looks for pages that have come or gone, some pfns at a time, and reports them. A page that came is in no dirty
    /// log and may leave the page count as it was: a guest can move a page from one pfn to another.
    pub(super) fn survey(
        &mut self,
        frame_of: &dyn Fn(Pfn) -> Option<Gfn>,
        mut changed: impl FnMut(Pfn),
    ) -> Result<(), XenError> {
        let first = self.survey_next;
        let last = (first + SURVEY_PFNS).min(self.page_count as usize);
        self.survey_next = if last < self.page_count as usize { last } else { 0 };
        let pfns = || (first..last).map(|pfn| Pfn(pfn as u64));
        let frames: Vec<GfnSlot> = pfns().map(|pfn| frame_of(pfn).into()).collect();
        for (pfn, kind) in pfns().zip(self.types(&frames)?) {
            let (window, index) = split(pfn);
            let Some(window) = &mut self.windows[window] else { continue };
            let place = &mut window.places[index];
            if place.kind.has_data() != kind.has_data() {
                window.is_stale |= place.kind.has_data();
                place.sure_since = NEVER;
                changed(pfn);
            }
        }
        Ok(())
    }

    /// Maps a whole window if it is not mapped.
    fn map_window(&mut self, window: usize, frame_of: &dyn Fn(Pfn) -> Option<Gfn>) -> Result<(), XenError> {
        if self.windows[window].is_some() {
            return Ok(());
        }
        let pfns: Vec<Pfn> = (window * WINDOW_PFNS
            ..((window + 1) * WINDOW_PFNS).min(self.page_count as usize))
            .map(|pfn| Pfn(pfn as u64))
            .collect();
        let frames: Vec<GfnSlot> = pfns.iter().map(|pfn| frame_of(*pfn).into()).collect();
        let kinds = self.types(&frames)?;
        let mapping = self.xen.map(self.domain, &frames, Access::Read)?;
        let places = frames.iter().zip(kinds).enumerate();
        let places = places.map(|(index, (frame, kind))| {
            let is_hole = kind.has_data() && mapping.error(index).is_some();
            Place { frame: *frame, kind, sure_since: if is_hole { NEVER } else { self.round } }
        });
        let places = places.collect();
        self.windows[window] = Some(Window { mapping, places, is_stale: false });
        self.dropped.remove(&window);
        Ok(())
    }

    /// Looks up pfns of one mapped window. Returns whether its other places are as sure as before.
    fn look_up_in(
        &mut self,
        number: usize,
        pfns: &[Pfn],
        frame_of: &dyn Fn(Pfn) -> Option<Gfn>,
        unmapped: &mut Unmapped<'_>,
    ) -> Result<bool, XenError> {
        let frames: Vec<GfnSlot> = pfns.iter().map(|pfn| frame_of(*pfn).into()).collect();
        let kinds = self.types(&frames)?;
        let round = self.round;
        let window = self.windows[number].as_mut().expect("it was just mapped");
        let found =
            || pfns.iter().map(|pfn| split(*pfn).1).zip(frames.iter().copied()).zip(kinds.iter().copied());
        let moved: Vec<(usize, GfnSlot)> = found()
            .filter(|((index, frame), kind)| {
                let place = window.places[*index];
                let is_here = place.frame == *frame && place.sure_since == round && place.kind.has_data();
                kind.has_data() && !is_here
            })
            .map(|(place, _)| place)
            .collect();
        if let Err(error) = window.mapping.remap_each(&moved) {
            // All of a piece is unmapped now, and its places would go on telling of pages.
            self.drop_window(number);
            self.is_unsettled = true;
            return Err(error);
        }
        let mut hole = None;
        for ((index, frame), kind) in found() {
            let is_hole = kind.has_data() && window.mapping.error(index).is_some();
            // Its frame is the domain's until it is unmapped.
            window.is_stale |= window.places[index].kind.has_data() && !kind.has_data();
            let (kind, sure_since) = if is_hole { (PageType::Absent, NEVER) } else { (kind, round) };
            window.places[index] = Place { frame, kind, sure_since };
            match unmapped {
                Unmapped::Waits(pfns) if is_hole => pfns.set(pfn_at(number, index)),
                Unmapped::Fails if is_hole => hole = hole.or(Some(index)),
                _ => {}
            }
        }
        let is_whole = moved.is_empty() || window.find_holes();
        match hole {
            Some(index) => Err(self.copy_error(pfn_at(number, index))),
            None => Ok(is_whole),
        }
    }

    /// The types of the frames, from Xen; an empty slot is absent.
    fn types(&self, frames: &[GfnSlot]) -> Result<Vec<PageType>, XenError> {
        let asked: Vec<Gfn> = frames.iter().filter_map(|frame| frame.get()).collect();
        let mut nibbles = vec![0; asked.len()];
        self.xen.page_types(self.domain, &asked, &mut nibbles)?;
        let mut answers = nibbles.into_iter();
        let kind = |frame: &GfnSlot| {
            if !frame.is_filled() {
                return Ok(PageType::Absent);
            }
            let nibble = answers.next().expect("an answer for each frame asked for");
            PageType::from_nibble(nibble).ok_or_else(|| XenError::Nonsense {
                what: "Asking the type of a frame",
                domain: Some(self.domain),
                answer: format!("type {nibble:#x} of frame {frame:#x}"),
            })
        };
        frames.iter().map(kind).collect()
    }
}

#[cfg(test)]
mod tests;
