//! Finds the pages that a guest changed without a dirty log: compares every page with what was last sent of it.
//!
//! ```text
//!              ┌───────────── keep ◄──────────────┐ what was staged, as it was staged
//!              ▼                                  │
//!   Reference: [ page | … ]  [ kind | … ]         │        as much of this host's memory as the guest has
//!              │ compare, in the pause            │
//!   guest:  [ page | page | … ]  ──► changed ──► copied ──► staging
//! ```
//!
//! For hypervisors that cannot log the writes of a PV guest. A page counts as changed if what would be sent of it now
//! differs from what was last staged of it, in content, in type, or in whether the page exists. Page tables are
//! compared as they are sent, without machine frames: a frame may change under a table whose bytes stay the same, and
//! an entry may come to mean another pfn. A copy that was torn while the guest ran is kept torn, and so differs in the
//! pause. A page that is written after its comparison (network buffers that dom0 fills) differs in the next pause. It
//! does not matter who wrote.
//!
//! Not here: reading a page of the guest; the caller passes a closure.

use crate::DomId;
use crossbeam::thread::scope;
use understudy_checkpoint::{OutOfMemory, PAGE_SIZE, Page, PageEntry, PageType, Pfn, room};

/// Pfns whose marks share one word.
const PFNS_PER_WORD: usize = 64;

/// Fewest pfns per thread. Below this, starting a thread costs more than it saves.
const SHARE_PFNS_MIN: usize = 4096;

/// Why a guest's changes cannot be found by comparing.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum CompareError {
    /// The reference copy would exceed its limit, which keeps one guest from taking the control domain's memory.
    #[error(
        "comparing domain {domain} takes {needed_mib} MiB of this host's memory, and {limit_mib} MiB may be had for it; \
         raise --compare-max, give dom0 more memory, or run the guest as PVH"
    )]
    TooLarge {
        /// The domain to compare.
        domain: DomId,
        /// MiB that the reference copy needs.
        needed_mib: u64,
        /// MiB that the reference copy may use.
        limit_mib: u64,
    },
    /// This host has no memory left.
    #[error("{needed_mib} MiB to compare domain {domain} with cannot be had; give dom0 more memory")]
    NoMemory {
        /// The domain to compare.
        domain: DomId,
        /// MiB that the reference copy needs.
        needed_mib: u64,
    },
    /// The guest is not PV, so Xen can log its writes, which costs less.
    #[error(
        "domain {domain} is not PV: Xen logs what it changes with any hypervisor, so leave find-changes out for it"
    )]
    NotPv {
        /// The domain to compare.
        domain: DomId,
    },
}

/// What was last staged of every pfn.
pub(super) struct Reference {
    pages: Vec<Page>,
    /// `None`: nothing was staged yet.
    kinds: Vec<Option<PageType>>,
    changed: Vec<u64>,
    threads: usize,
}

impl Reference {
    /// An empty reference. All its memory is allocated and touched, so that no page fault happens in a pause.
    pub(super) fn new(
        domain: DomId,
        page_count: u64,
        bytes_max: u64,
        threads: usize,
    ) -> Result<Self, CompareError> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let needed = page_count.saturating_mul(PAGE_SIZE as u64);
        if needed > bytes_max {
            return Err(CompareError::TooLarge {
                domain,
                needed_mib: mib(needed),
                limit_mib: bytes_max >> 20,
            });
        }
        let count = page_count as usize;
        let refused = |_: OutOfMemory| CompareError::NoMemory { domain, needed_mib: mib(needed) };
        Ok(Self {
            pages: room::filled([1; PAGE_SIZE], count).map_err(refused)?,
            kinds: room::filled(None, count).map_err(refused)?,
            changed: room::filled(0, count.div_ceil(PFNS_PER_WORD)).map_err(refused)?,
            threads: threads.max(1),
        })
    }

    /// Bytes of this host's memory that it uses.
    pub(super) fn bytes(&self) -> u64 {
        (self.pages.len() * PAGE_SIZE) as u64
    }

    /// Forgets everything that was staged.
    pub(super) fn forget(&mut self) {
        self.kinds.fill(None);
    }

    /// Keeps what was staged: `pages` holds one page for each entry that has data.
    pub(super) fn keep(&mut self, entries: &[PageEntry], pages: &[Page]) {
        let mut pages = pages.iter();
        for entry in entries {
            let (at, kind) = (entry.pfn().0 as usize, entry.page_type());
            self.kinds[at] = Some(kind);
            if kind.has_data() {
                self.pages[at] = *pages.next().expect("a page for each entry with data");
            }
        }
    }

    /// Compares all pages of a suspended guest. `kind` returns the present type of a pfn; `is_same` whether what would
    /// be sent of it now equals the given page. The marks have the layout of Xen's log and are valid until the next
    /// comparison.
    pub(super) fn compare(
        &mut self,
        kind: impl Fn(Pfn) -> PageType + Sync,
        is_same: impl Fn(PageEntry, &Page) -> bool + Sync,
    ) -> &[u64] {
        let Self { pages, kinds, changed, threads } = self;
        let (pages, kinds, kind, is_same) = (&pages[..], &kinds[..], &kind, &is_same);
        let differs = |at: usize| {
            let now = kind(Pfn(at as u64));
            let entry = PageEntry::new(Pfn(at as u64), now);
            kinds[at] != Some(now) || now.has_data() && !is_same(entry, &pages[at])
        };
        let words_of = |first_word: usize, words: &mut [u64]| {
            for (word, marks) in (first_word..).zip(words) {
                let pfns = word * PFNS_PER_WORD..((word + 1) * PFNS_PER_WORD).min(kinds.len());
                *marks = pfns.rev().fold(0, |marks, at| marks << 1 | u64::from(differs(at)));
            }
        };
        let shares = (*threads).min(kinds.len() / SHARE_PFNS_MIN).max(1);
        let share_words = changed.len().div_ceil(shares).max(1);
        if shares == 1 {
            words_of(0, changed);
        } else {
            scope(|scope| {
                for (number, words) in changed.chunks_mut(share_words).enumerate() {
                    scope.spawn(move |_| words_of(number * share_words, words));
                }
            })
            .expect("a comparer panicked");
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const TABLE: PageType = PageType::Table { level: 1, pinned: false };

    /// A test's guest: type and content of each pfn.
    #[derive(Clone)]
    struct Guest(Vec<(PageType, Page)>);

    impl Guest {
        fn compare(&self, reference: &mut Reference) -> BTreeSet<u64> {
            let words = reference.compare(
                |pfn| self.0[pfn.0 as usize].0,
                |entry, page| self.0[entry.pfn().0 as usize].1 == *page,
            );
            let bit = |at: usize| words[at / 64] >> (at % 64) & 1 == 1;
            assert!((self.0.len()..words.len() * 64).all(|at| !bit(at)), "no marks beyond the guest");
            (0..self.0.len()).filter(|at| bit(*at)).map(|at| at as u64).collect()
        }

        /// Stages these pfns, as a copy does.
        fn stage(&self, reference: &mut Reference, pfns: impl IntoIterator<Item = u64>) {
            let entries: Vec<PageEntry> =
                pfns.into_iter().map(|pfn| PageEntry::new(Pfn(pfn), self.0[pfn as usize].0)).collect();
            let with_data = entries.iter().filter(|entry| entry.page_type().has_data());
            let pages: Vec<Page> = with_data.map(|entry| self.0[entry.pfn().0 as usize].1).collect();
            reference.keep(&entries, &pages);
        }
    }

    fn reference(pages: usize) -> Reference {
        Reference::new(DomId(1), pages as u64, u64::MAX, 3).unwrap()
    }

    fn set<const N: usize>(pfns: [u64; N]) -> BTreeSet<u64> {
        pfns.into_iter().collect()
    }

    #[test]
    fn nothing_is_known_until_it_was_staged_and_nothing_after_it_was_forgotten() {
        let guest = Guest(vec![(PageType::Normal, [1; PAGE_SIZE]), (PageType::Absent, [0; PAGE_SIZE])]);
        let mut reference = reference(2);
        assert_eq!(guest.compare(&mut reference), set([0, 1]), "also where it holds the same by chance");
        guest.stage(&mut reference, [0, 1]);
        assert_eq!(guest.compare(&mut reference), set([]));
        reference.forget();
        assert_eq!(guest.compare(&mut reference), set([0, 1]));
    }

    #[test]
    fn content_kind_and_presence_each_make_a_page_changed() {
        let mut guest = Guest(vec![(PageType::Normal, [7; PAGE_SIZE]); 5]);
        guest.0[4].0 = PageType::Absent;
        let mut reference = reference(5);
        guest.stage(&mut reference, 0..5);
        guest.0[0].1[4095] = 8;
        guest.0[1].0 = TABLE;
        guest.0[3].0 = PageType::Absent;
        guest.0[4].0 = PageType::Normal;
        assert_eq!(guest.compare(&mut reference), set([0, 1, 3, 4]));
        guest.0[1].0 = PageType::Table { level: 1, pinned: true };
        guest.stage(&mut reference, [0, 1, 3, 4]);
        assert_eq!(guest.compare(&mut reference), set([]));
        guest.0[1].0 = TABLE;
        assert_eq!(guest.compare(&mut reference), set([1]), "unpinned");
    }

    #[test]
    fn a_page_that_was_staged_torn_is_changed() {
        let mut guest = Guest(vec![(PageType::Normal, [1; PAGE_SIZE]); 2]);
        let mut reference = reference(2);
        let mut torn = guest.clone();
        torn.0[1].1[..2048].fill(9);
        torn.stage(&mut reference, [0, 1]);
        assert_eq!(guest.compare(&mut reference), set([1]));
        guest.0[1].1[..2048].fill(9);
        assert_eq!(guest.compare(&mut reference), set([]), "unless it came to be just that");
    }

    #[test]
    fn threads_share_the_work_and_miss_nothing() {
        let count = 3 * SHARE_PFNS_MIN + 70;
        let guest = Guest(vec![(PageType::Normal, [0; PAGE_SIZE]); count]);
        let mut reference = reference(count);
        guest.stage(&mut reference, 0..count as u64);
        let changed = set([0, 63, 64, 4095, 4096, 8191, 12_300, count as u64 - 1]);
        let mut guest = guest;
        changed.iter().for_each(|pfn| guest.0[*pfn as usize].1[17] = 1);
        assert_eq!(guest.compare(&mut reference), changed);
    }

    #[test]
    fn a_guest_beyond_the_limit_is_refused_with_both_sizes() {
        let refused = Reference::new(DomId(3), 1000, 999 * PAGE_SIZE as u64, 1).err();
        assert_eq!(refused, Some(CompareError::TooLarge { domain: DomId(3), needed_mib: 4, limit_mib: 3 }));
        assert!(Reference::new(DomId(3), 1000, 1000 * PAGE_SIZE as u64, 1).is_ok());
    }

    proptest! {
        /// After any sequence of writes, stagings and comparisons, the changed pages are exactly those that differ from
        /// what was staged.
        #[test]
        fn changed_is_what_differs_from_what_was_staged(
            steps in proptest::collection::vec((0u8..4, 0u64..80, 0u8..3), 1..60),
        ) {
            let mut guest = Guest(vec![(PageType::Normal, [0; PAGE_SIZE]); 80]);
            let mut staged: Vec<Option<(PageType, Page)>> = vec![None; 80];
            let mut reference = reference(80);
            for (step, pfn, value) in steps {
                let at = pfn as usize;
                match step {
                    0 => guest.0[at].1[at * 50] = value,
                    1 => guest.0[at].0 = [PageType::Normal, TABLE, PageType::Absent][value as usize],
                    _ => {
                        guest.stage(&mut reference, pfn..80);
                        (at..80).for_each(|at| staged[at] = Some(guest.0[at]));
                    }
                }
                let differs = |at: &usize| staged[*at].is_none_or(|(kind, page)| {
                    let (now, holds) = guest.0[*at];
                    kind != now || now.has_data() && page != holds
                });
                let expected: BTreeSet<u64> = (0..80).filter(differs).map(|at| at as u64).collect();
                prop_assert_eq!(guest.compare(&mut reference), expected);
            }
        }
    }
}
