//! The final type of every frame, a nibble each, allocated where a stream names frames.

use crate::{PageEntry, PageType};

/// Frames of one chunk: 32 KiB of nibbles.
const CHUNK_FRAMES: u64 = 1 << 16;

/// A nibble that is no page type (5..=8 are reserved): the stream never named the frame.
const UNNAMED: u8 = 5;

type Chunk = Box<[u8]>;

/// Page types by pfn. Callers limit pfns.
#[derive(Debug, Default)]
pub(super) struct Frames {
    chunks: Vec<Option<Chunk>>,
    data_pages: u64,
}

impl Frames {
    /// The number of frames whose type carries data.
    pub(super) fn data_pages(&self) -> u64 {
        self.data_pages
    }

    /// The type of a frame; `None` if the stream never named it.
    pub(super) fn get(&self, pfn: u64) -> Option<PageType> {
        let chunk = self.chunks.get((pfn / CHUNK_FRAMES) as usize)?.as_ref()?;
        let (byte, shift) = position(pfn);
        PageType::from_nibble(chunk[byte] >> shift & 0xF)
    }

    /// Sets the types of frames.
    pub(super) fn set(&mut self, entries: impl Iterator<Item = PageEntry>) {
        // Entries mostly ascend, so the chunk of one is mostly that of the next.
        let mut chunk: &mut [u8] = &mut [];
        let mut chunk_index = usize::MAX;
        for entry in entries {
            let pfn = entry.pfn().0;
            let index = (pfn / CHUNK_FRAMES) as usize;
            if index != chunk_index {
                if index >= self.chunks.len() {
                    self.chunks.resize_with(index + 1, || None);
                }
                chunk = self.chunks[index].get_or_insert_with(unnamed);
                chunk_index = index;
            }
            let (byte, shift) = position(pfn);
            let nibble = (entry.to_wire() >> 60) as u8;
            let before = chunk[byte] >> shift & 0xF;
            chunk[byte] = chunk[byte] & !(0xF << shift) | nibble << shift;
            self.data_pages = self.data_pages + has_data(nibble) - has_data(before);
        }
    }
}

fn unnamed() -> Chunk {
    vec![UNNAMED << 4 | UNNAMED; (CHUNK_FRAMES / 2) as usize].into()
}

fn position(pfn: u64) -> (usize, u32) {
    let within = pfn % CHUNK_FRAMES;
    ((within / 2) as usize, (within % 2) as u32 * 4)
}

/// 1 for nibbles of types that carry data, 0 for others and for `UNNAMED`. Computed with a bit mask.
fn has_data(nibble: u8) -> u64 {
    const WITH_DATA: u64 = 0b0001_1110_0001_1111;
    WITH_DATA >> nibble & 1
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::Pfn;

    fn set(frames: &mut Frames, pfn: u64, page_type: PageType) {
        frames.set([PageEntry::new(Pfn(pfn), page_type)].into_iter());
    }

    #[test]
    fn the_last_type_of_a_frame_counts_and_neighbours_are_left_alone() {
        let mut frames = Frames::default();
        assert_eq!(frames.get(1 << 40), None);
        let table = PageType::Table { level: 4, pinned: true };
        set(&mut frames, 70_001, table);
        set(&mut frames, 70_000, PageType::Normal);
        assert_eq!((frames.get(70_000), frames.get(70_001)), (Some(PageType::Normal), Some(table)));
        assert_eq!((frames.get(70_002), frames.data_pages()), (None, 2));
        set(&mut frames, 70_001, PageType::Absent);
        assert_eq!((frames.get(70_001), frames.data_pages()), (Some(PageType::Absent), 1));
    }

    #[test]
    fn the_mask_of_types_with_data_is_right() {
        for nibble in 0..16 {
            let expected = PageType::from_nibble(nibble).is_some_and(PageType::has_data);
            assert_eq!(has_data(nibble) == 1, expected, "{nibble}");
        }
    }
}
