//! Divides a guest's pfns into windows. Each window is one mapping, made when a page in it is first needed.
//!
//! ```text
//!   pfn ──► window = pfn / 4096, place = pfn % 4096          16 MiB of guest memory
//! ```
//!
//! Not here: what is mapped in a window (`domain::frames`, `restore::memory`).

use understudy_checkpoint::Pfn;

/// Pfns in a window.
pub(crate) const WINDOW_PFNS: usize = 4096;

/// The window that contains a pfn, and the pfn's place in it.
pub(crate) fn split(pfn: Pfn) -> (usize, usize) {
    (pfn.0 as usize / WINDOW_PFNS, pfn.0 as usize % WINDOW_PFNS)
}

/// The pfn at a place of a window.
pub(crate) fn pfn_at(window: usize, place: usize) -> Pfn {
    Pfn((window * WINDOW_PFNS + place) as u64)
}

/// The number of windows for `pfns` pfns; the last may be partly used.
pub(crate) fn count(pfns: usize) -> usize {
    pfns.div_ceil(WINDOW_PFNS)
}

/// Splits ascending `pfns` into runs that lie in one window each.
pub(crate) fn by_window(pfns: &[Pfn]) -> impl Iterator<Item = (usize, &[Pfn])> {
    let parts = pfns.chunk_by(|one, next| split(*one).0 == split(*next).0);
    parts.map(|part| (split(part[0]).0, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pfns_are_parted_where_windows_meet() {
        let pfns = [0, 7, 4095, 4096, 12_288].map(Pfn);
        let parts: Vec<_> = by_window(&pfns).collect();
        assert_eq!(parts, [(0, &pfns[..3]), (1, &pfns[3..4]), (3, &pfns[4..])]);
        assert_eq!(by_window(&[]).count(), 0);
        assert!(pfns.iter().all(|pfn| {
            let (window, place) = split(*pfn);
            pfn_at(window, place) == *pfn
        }));
        assert_eq!([0, 1, 4096, 4097].map(count), [0, 1, 1, 2]);
    }
}
