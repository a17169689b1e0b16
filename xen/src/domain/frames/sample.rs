//! Samples of the pages that the guest had at the last look-up: some from anywhere in its memory, or the next one.
//!
//! Not here: whether the guest still has them.

use super::Frames;
use crate::window::{WINDOW_PFNS, pfn_at};
use understudy_checkpoint::Pfn;

/// Distance between two pages of a sample, so that they have little to do with each other.
const STRIDE: usize = 97;

impl Frames {
    /// The first pfn from `from` on and before `end` that held a page at the last look-up. Unmapped windows hold none.
    pub(in crate::domain) fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        let end = (end.0 as usize).min(self.windows.len() * WINDOW_PFNS);
        let mut next = from.0 as usize;
        while next < end {
            let (number, index) = (next / WINDOW_PFNS, next % WINDOW_PFNS);
            let first = number * WINDOW_PFNS;
            let places = self.windows[number].iter().flat_map(|window| window.places.iter().enumerate());
            let mut held = places.skip(index).take(end - next).filter(|(_, place)| place.kind.has_data());
            if let Some((place, _)) = held.next() {
                return Some(Pfn((first + place) as u64));
            }
            next = first + WINDOW_PFNS;
        }
        None
    }

    /// Fills `into` from one mapped window, which `seed` selects. Returns the number of pages.
    pub(in crate::domain) fn sample(
        &self,
        seed: usize,
        is_wanted: impl Fn(Pfn) -> bool,
        into: &mut [Pfn],
    ) -> usize {
        let first = seed % self.windows.len().max(1);
        let mut count = 0;
        for number in (first..self.windows.len()).chain(0..first) {
            let Some(window) = &self.windows[number] else { continue };
            let length = window.places.len();
            let indices = (0..length).map(|step| (seed / self.windows.len() + step * STRIDE) % length);
            let with_data = indices.filter(|index| window.places[*index].kind.has_data());
            let pfns = with_data.map(|index| pfn_at(number, index));
            for (place, pfn) in into.iter_mut().zip(pfns.filter(|pfn| is_wanted(*pfn))) {
                *place = pfn;
                count += 1;
            }
            if count > 0 {
                break;
            }
        }
        count
    }
}
