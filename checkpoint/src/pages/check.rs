//! Checks of an epoch that let both sides compare their copies: hashes of pages that did *not* change, and the digest
//! of its state records. They travel in batches of their own forms; `batch` has those of pages.
//!
//! ```text
//!   form 2   2 u8 │ stretches …        stretch   gap varint │ pages − 1 varint │ hash u64
//!                                                gap = first pfn − (last pfn of the stretch before + 1)
//!   form 3   3 u8 │ libxc u64 │ libxl u64        XXH3 of each part's bytes, pieces joined
//! ```
//!
//! The hash of a stretch is the XXH3 of its pages' hashes, 8 bytes each: XXH3 of a page as it would be sent (a PV
//! guest's page table: with pfns), 0 for a frame without a page. The receiver computes it from the pages that the epoch
//! builds on. If they differ, a page changed on one side only: the dirty log missed a write, or the image lost one.
//! Page types are not compared.
//!
//! Not here: which pages are checked when (the engine's scrub), and what follows from a difference (the receiver, the
//! session).

use super::batch::Batches;
use super::decoder::BatchError;
use super::digest::page_hash;
use super::varint::{put_varint, take_varint};
use crate::domain::DomainState;
use crate::{Page, Pfn};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Form of a batch of checks.
pub const FORM_CHECKS: u8 = 2;

/// Form of a batch with the digest of the epoch's state.
pub const FORM_STATE: u8 = 3;

/// Most pages that one epoch may check, because the receiver hashes them at once.
pub const CHECKED_PAGES_MAX: usize = 4096;

/// Most pages of a stretch: how closely a difference is located.
const STRETCH_PAGES_MAX: u64 = 64;

const STRETCH_HASH_BYTES: usize = 8;

/// The hash of a frame's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentHash(u64);

impl ContentHash {
    /// The hash of a page; `None` for a frame without a page.
    pub fn of(page: Option<&Page>) -> Self {
        Self(page.map_or(0, page_hash))
    }

    /// The hash itself.
    pub(super) fn get(self) -> u64 {
        self.0
    }
}

/// The content of a frame that did not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// The frame.
    pub pfn: Pfn,
    /// The hash of its content.
    pub content: ContentHash,
}

/// Appends checks as batches. They must ascend, name each frame once, and number at most [`CHECKED_PAGES_MAX`] in an
/// epoch.
pub fn put_checks(checks: &[Check], out: &mut Batches) {
    debug_assert!(checks.len() <= CHECKED_PAGES_MAX && checks.is_sorted_by(|one, next| one.pfn < next.pfn));
    if checks.is_empty() {
        return;
    }
    let tail = out.tail();
    tail.push(FORM_CHECKS);
    let mut end = 0;
    let follows = |one: &Check, next: &Check| one.pfn.0 + 1 == next.pfn.0;
    for stretch in checks.chunk_by(follows).flat_map(|run| run.chunks(STRETCH_PAGES_MAX as usize)) {
        let (first, pages) = (stretch[0].pfn.0, stretch.len() as u64);
        put_varint(first - end, tail);
        put_varint(pages - 1, tail);
        tail.extend_from_slice(&hash_of(stretch.iter().map(|check| check.content)).to_le_bytes());
        end = first + pages;
    }
    out.close();
}

/// Appends the digest of an epoch's state.
pub fn put_state_digest(state: &DomainState, out: &mut Batches) {
    let tail = out.tail();
    tail.push(FORM_STATE);
    let StateDigest { libxc, libxl } = StateDigest::of(state);
    [libxc, libxl].iter().for_each(|hash| tail.extend_from_slice(&hash.to_le_bytes()));
    out.close();
}

/// The digest of state records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StateDigest {
    libxc: u64,
    libxl: u64,
}

impl StateDigest {
    pub(crate) fn of(state: &DomainState) -> Self {
        Self { libxc: xxh3_64(&state.libxc), libxl: xxh3_64(&state.libxl) }
    }

    /// Decodes a batch of [`FORM_STATE`].
    pub(crate) fn read(batch: &[u8]) -> Result<Self, BatchError> {
        let Some((&[FORM_STATE], hashes)) = batch.split_first_chunk() else { return Err(BatchError::Checks) };
        match hashes.as_chunks::<8>() {
            ([libxc, libxl], []) => {
                Ok(Self { libxc: u64::from_le_bytes(*libxc), libxl: u64::from_le_bytes(*libxl) })
            }
            _ => Err(BatchError::Checks),
        }
    }
}

/// Consecutive frames and the hash of their content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    pub(crate) first: Pfn,
    pub(crate) pages: u64,
    hash: u64,
}

impl Stretch {
    /// Whether the frames' content has the hash.
    pub(crate) fn agrees(&self, page: impl Fn(Pfn) -> ContentHash) -> bool {
        let pfns = (self.first.0..self.first.0 + self.pages).map(Pfn);
        hash_of(pfns.map(page)) == self.hash
    }
}

/// Decodes the stretches of a batch of [`FORM_CHECKS`], for a guest whose pfns are below `page_count`.
pub(crate) fn stretches(
    batch: &[u8],
    page_count: u64,
) -> impl Iterator<Item = Result<Stretch, BatchError>> + use<'_> {
    let (mut rest, mut end, mut is_broken) = (batch.get(1..).unwrap_or_default(), 0u64, false);
    std::iter::from_fn(move || {
        if rest.is_empty() || is_broken {
            return None;
        }
        let stretch = take_stretch(&mut rest, end, page_count).ok_or(BatchError::Checks);
        match &stretch {
            Ok(stretch) => end = stretch.first.0 + stretch.pages,
            Err(_) => is_broken = true,
        }
        Some(stretch)
    })
}

fn take_stretch(rest: &mut &[u8], end: u64, page_count: u64) -> Option<Stretch> {
    let first = end.checked_add(take_varint(rest)?)?;
    let pages = take_varint(rest)?.checked_add(1)?;
    let (hash, after) = rest.split_first_chunk::<STRETCH_HASH_BYTES>()?;
    *rest = after;
    let fits = pages <= STRETCH_PAGES_MAX && first.checked_add(pages)? <= page_count;
    fits.then_some(Stretch { first: Pfn(first), pages, hash: u64::from_le_bytes(*hash) })
}

fn hash_of(contents: impl Iterator<Item = ContentHash>) -> u64 {
    let mut hasher = Xxh3::new();
    contents.for_each(|content| hasher.update(&content.0.to_le_bytes()));
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE_SIZE;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn checks_of(guest: &BTreeMap<u64, Option<u8>>) -> Vec<Check> {
        let page = |content: &Option<u8>| content.map(|byte| [byte; PAGE_SIZE]);
        guest
            .iter()
            .map(|(pfn, content)| Check { pfn: Pfn(*pfn), content: ContentHash::of(page(content).as_ref()) })
            .collect()
    }

    proptest! {
        #[test]
        fn checks_read_back_and_find_each_change(
            guest in proptest::collection::btree_map(0u64..300, proptest::option::of(0u8..3), 1..200),
            changed in any::<proptest::sample::Index>(),
            other in proptest::option::of(3u8..5),
        ) {
            let mut batches = Batches::new();
            put_checks(&checks_of(&guest), &mut batches);
            let batch = batches.iter().next().unwrap();
            let found: Vec<Stretch> = stretches(batch, 300).collect::<Result<_, _>>().unwrap();
            let pfns: Vec<u64> = found.iter().flat_map(|it| it.first.0..it.first.0 + it.pages).collect();
            prop_assert!(pfns.iter().eq(guest.keys()), "each frame once");

            let content = |guest: &BTreeMap<u64, Option<u8>>, pfn: Pfn| {
                ContentHash::of(guest[&pfn.0].map(|byte| [byte; PAGE_SIZE]).as_ref())
            };
            prop_assert!(found.iter().all(|it| it.agrees(|pfn| content(&guest, pfn))));
            let changed = *changed.get(&pfns);
            let mut image = guest.clone();
            prop_assume!(image.insert(changed, other) != Some(other));
            let differing: Vec<_> = found.iter().filter(|it| !it.agrees(|pfn| content(&image, pfn))).collect();
            prop_assert_eq!(differing.len(), 1);
            prop_assert!((differing[0].first.0..differing[0].first.0 + differing[0].pages).contains(&changed));
        }

        #[test]
        fn any_bytes_are_stretches_within_the_guest_or_refused(batch in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut end = 0;
            for stretch in stretches(&batch, 1 << 20).map_while(Result::ok) {
                prop_assert!(stretch.first.0 >= end && (1..=STRETCH_PAGES_MAX).contains(&stretch.pages));
                end = stretch.first.0 + stretch.pages;
                prop_assert!(end <= 1 << 20);
            }
            let _ = StateDigest::read(&batch);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_drawing() {
        let mut batches = Batches::new();
        let check = |pfn, page: Option<&Page>| Check { pfn: Pfn(pfn), content: ContentHash::of(page) };
        put_checks(
            &[check(300, None), check(301, Some(&[0; PAGE_SIZE])), check(305, Some(&[7; PAGE_SIZE]))],
            &mut batches,
        );
        put_state_digest(&DomainState { libxc: b"libxc".to_vec(), libxl: Vec::new() }, &mut batches);
        let hashes = |pages: &[u64]| {
            xxh3_64(&pages.iter().flat_map(|hash| hash.to_le_bytes()).collect::<Vec<_>>()).to_le_bytes()
        };
        let first = hashes(&[0, xxh3_64(&[0; PAGE_SIZE])]);
        let last = hashes(&[xxh3_64(&[7; PAGE_SIZE])]);
        let expected = [&[2, 0xAC, 2, 1][..], &first, &[3, 0], &last].concat();
        let state = [&[3][..], &xxh3_64(b"libxc").to_le_bytes(), &xxh3_64(b"").to_le_bytes()].concat();
        assert_eq!(batches.iter().collect::<Vec<_>>(), [expected, state]);
    }
}
