//! Four bytes of hash for each frame, of what was last encoded of it. The primary itself recognises a frame that
//! changed without a mark, before it asks the secondary to compare.
//!
//! ```text
//!   encode ──► hashes[pfn] = low half of XXH3(page) XOR high half        0: no page, or never encoded
//! ```
//!
//! Two different pages have the same hash once in four thousand million. Memory is allocated as frames come, 0.1 % of
//! the guest's; if it runs out, nothing is recognised any more.
//!
//! Not here: which frames are examined ([`Check`]), and what follows from a difference (the engine).

use super::check::Check;
use crate::Pfn;

/// Frames for which memory is allocated at once.
const BLOCK_FRAMES: usize = 1 << 16;

/// Hashes of what was last encoded of each frame.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    hashes: Vec<u32>,
    /// Memory for some frame ran out.
    is_lost: bool,
}

impl Contents {
    /// Records a frame's hash; 0 stands for none.
    pub(super) fn note(&mut self, pfn: Pfn, hash: u64) {
        if self.is_lost {
            return;
        }
        let index = pfn.0 as usize;
        if index >= self.hashes.len() {
            let wanted = (index + 1).next_multiple_of(BLOCK_FRAMES);
            if self.hashes.try_reserve(wanted - self.hashes.len()).is_err() {
                *self = Self { hashes: Vec::new(), is_lost: true };
                return;
            }
            self.hashes.resize(wanted, 0);
        }
        self.hashes[index] = folded(hash);
    }

    /// Whether a frame still holds what was last encoded of it; `None` if that is not known.
    pub fn agrees(&self, check: &Check) -> Option<bool> {
        let hash = self.hashes.get(check.pfn.0 as usize)?;
        Some(*hash == folded(check.content.get()))
    }
}

fn folded(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::super::{Batches, ContentHash, Encoder, EncoderConfig};
    use super::*;
    use crate::staging::Staging;
    use crate::{Epoch, EpochKind, PAGE_SIZE, Page, PageEntry, PageType};

    fn staged(pages: &[(u64, Option<u8>)]) -> Staging {
        let mut staging = Staging::new(pages.len());
        for (pfn, content) in pages {
            let kind = if content.is_some() { PageType::Normal } else { PageType::Absent };
            let space = staging.extend([PageEntry::new(Pfn(*pfn), kind)]);
            space.iter_mut().zip(content).for_each(|(page, byte)| *page = page_of(*byte));
        }
        staging
    }

    /// A page that differs from that of another byte in one place.
    fn page_of(byte: u8) -> Page {
        let mut page = [0x55; PAGE_SIZE];
        page[99] = byte;
        if byte == 0 { [0; PAGE_SIZE] } else { page }
    }

    #[test]
    fn each_way_of_encoding_is_remembered_and_nothing_else() {
        // A shadow of one page: most pages travel whole, some as deltas, some not at all.
        let mut encoder = Encoder::new(EncoderConfig { shadow_bytes_max: PAGE_SIZE }).with_contents();
        let epochs = [
            vec![(0, Some(0)), (1, None), (2, Some(7)), (70_000, Some(8))],
            vec![(1, Some(9)), (2, Some(10)), (70_000, None)],
            vec![(0, Some(3)), (2, Some(10)), (70_000, Some(0))],
            vec![(0, None), (2, Some(11))],
        ];
        let mut last = std::collections::BTreeMap::new();
        for (number, pages) in epochs.iter().enumerate() {
            let kind = if number == 0 { EpochKind::Seed } else { EpochKind::Delta };
            encoder.begin_epoch(Epoch(number as u64), kind);
            encoder.encode(&staged(pages), &mut Batches::new());
            last.extend(pages.iter().copied());
            let check = |pfn, content: Option<u8>| Check {
                pfn: Pfn(pfn),
                content: ContentHash::of(content.map(page_of).as_ref()),
            };
            let contents = encoder.contents().unwrap();
            for (pfn, content) in &last {
                assert_eq!(
                    contents.agrees(&check(*pfn, *content)),
                    Some(true),
                    "epoch {number}, frame {pfn}"
                );
                let others = [None, Some(0), Some(1)].into_iter().filter(|other| other != content);
                for other in others {
                    assert_eq!(
                        contents.agrees(&check(*pfn, other)),
                        Some(false),
                        "epoch {number}, frame {pfn}"
                    );
                }
            }
            assert_eq!(contents.agrees(&check(1 << 30, Some(1))), None, "never encoded");
        }
        assert!(Encoder::new(EncoderConfig { shadow_bytes_max: 0 }).contents().is_none());
    }
}
