//! A guest's frames, mapped once and kept: the pause copies from here without a system call.
//!
//! ```text
//!   pfn ──► window (pfn / 4096) ──► place in the window ──► page
//!           mapped when first wanted   mapped anew when the frame behind the pfn may have changed
//! ```
//!
//! A mapping names a frame, not a pfn. When a guest balloons a page out and in again, the pfn gets another frame and
//! the old one stays with the domain for as long as it is mapped here. So the domain's page count has then grown:
//! a changed count makes every place *unsure*, and an unsure place is looked up again before it is copied from.
//! What nobody wants is looked up in the background ([`Frames::sweep`]), which also gives ballooned frames back.
//!
//! Not here: what a pfn's frame is (the caller knows: for HVM the pfn itself, for PV the P2M table's entry).

use crate::{Access, DomId, Mapping, Xen, XenError};
use understudy_checkpoint::{Page, PageType, Pfn};

/// Pfns in one mapping: 16 MiB.
const WINDOW_PFNS: usize = 4096;

/// Windows that one sweep looks up: 128 MiB, some hundred microseconds beside the running guest.
const SWEEP_WINDOWS: usize = 8;

/// What is behind a pfn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The frame mapped there: a gfn or an mfn.
    frame: u64,
    /// Its type when it was looked up.
    kind: PageType,
    /// When it was looked up, see [`Frames::doubt`].
    sure_since: u32,
}

struct Window {
    mapping: Mapping,
    places: Vec<Place>,
}

/// The mapped frames of one domain.
pub(super) struct Frames {
    xen: Xen,
    domain: DomId,
    windows: Vec<Option<Window>>,
    page_count: u64,
    /// Grows when places become unsure.
    round: u32,
    /// The domain's page count when places were last sure.
    tot_pages: u64,
    /// The window that the next sweep begins with; `None` when all are sure.
    sweep_next: Option<usize>,
}

impl Frames {
    pub(super) fn new(xen: Xen, domain: DomId, page_count: u64, tot_pages: u64) -> Self {
        let windows = (0..(page_count as usize).div_ceil(WINDOW_PFNS)).map(|_| None).collect();
        Self { xen, domain, windows, page_count, round: 1, tot_pages, sweep_next: None }
    }

    /// Told the domain's page count: a change makes every place unsure.
    pub(super) fn doubt(&mut self, tot_pages: u64) {
        if tot_pages != self.tot_pages {
            tracing::debug!(
                from = self.tot_pages,
                to = tot_pages,
                "The guest's pages changed: frames are looked up again"
            );
            self.tot_pages = tot_pages;
            self.round += 1;
            self.sweep_next = Some(0);
        }
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

    /// Looks up some windows that are unsure, while the guest runs.
    pub(super) fn sweep(&mut self, frame_of: &dyn Fn(Pfn) -> u64) -> Result<(), XenError> {
        let Some(first) = self.sweep_next else { return Ok(()) };
        let last = (first + SWEEP_WINDOWS).min(self.windows.len());
        for window in first..last {
            if self.windows[window].is_some() {
                // Unmapped first: what the guest has given back becomes free only now.
                self.windows[window] = None;
                self.map_window(window, frame_of)?;
            }
        }
        self.sweep_next = (last < self.windows.len()).then_some(last);
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
        self.windows[window] = Some(Window { mapping, places });
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
