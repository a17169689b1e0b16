//! What every frame is in the final view, a nibble for each, allocated where a stream names frames.

use crate::PageType;

/// Frames of one chunk: 32 KiB of nibbles.
const CHUNK_FRAMES: u64 = 1 << 16;

/// A nibble that stands for no page type (5..=8 are reserved): the stream never named the frame.
const UNNAMED: u8 = 5;

type Chunk = Box<[u8]>;

/// Page types by pfn. Callers bound pfns.
#[derive(Debug, Default)]
pub(super) struct Frames {
    chunks: Vec<Option<Chunk>>,
    data_pages: u64,
}

impl Frames {
    /// Frames whose type carries data.
    pub(super) fn data_pages(&self) -> u64 {
        self.data_pages
    }

    /// What a frame is; `None` if the stream never named it.
    pub(super) fn get(&self, pfn: u64) -> Option<PageType> {
        let chunk = self.chunks.get((pfn / CHUNK_FRAMES) as usize)?.as_ref()?;
        let (byte, shift) = position(pfn);
        PageType::from_nibble(chunk[byte] >> shift & 0xF)
    }

    /// Notes what a frame is from here on.
    pub(super) fn set(&mut self, pfn: u64, page_type: PageType) {
        let index = (pfn / CHUNK_FRAMES) as usize;
        if index >= self.chunks.len() {
            self.chunks.resize_with(index + 1, || None);
        }
        let chunk = self.chunks[index]
            .get_or_insert_with(|| vec![UNNAMED << 4 | UNNAMED; (CHUNK_FRAMES / 2) as usize].into());
        let (byte, shift) = position(pfn);
        let before = PageType::from_nibble(chunk[byte] >> shift & 0xF);
        chunk[byte] = chunk[byte] & !(0xF << shift) | page_type.nibble() << shift;
        self.data_pages += u64::from(page_type.has_data());
        self.data_pages -= u64::from(before.is_some_and(PageType::has_data));
    }
}

fn position(pfn: u64) -> (usize, u32) {
    let within = pfn % CHUNK_FRAMES;
    ((within / 2) as usize, (within % 2) as u32 * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_type_of_a_frame_counts_and_neighbours_are_left_alone() {
        let mut frames = Frames::default();
        assert_eq!(frames.get(1 << 40), None);
        let table = PageType::Table { level: 4, pinned: true };
        frames.set(70_001, table);
        frames.set(70_000, PageType::Normal);
        assert_eq!((frames.get(70_000), frames.get(70_001)), (Some(PageType::Normal), Some(table)));
        assert_eq!((frames.get(70_002), frames.data_pages()), (None, 2));
        frames.set(70_001, PageType::Absent);
        assert_eq!((frames.get(70_001), frames.data_pages()), (Some(PageType::Absent), 1));
    }
}
