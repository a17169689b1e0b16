//! [`Ram`]: a guest's memory, flat page frames with a log of writes.
//!
//! ```text
//!   write(pfn) ──► log[pfn] = 1 (while logging) ──► frame
//!   drain      ──► into |= log; log = 0
//! ```
//!
//! Every frame is plain memory from the start; the lab has no holes and no page tables.

use understudy_checkpoint::epoch::Image;
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::{OutOfMemory, PAGE_SIZE, Page, PageType, Pfn};

/// The image is not a lab guest's memory.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum RamError {
    /// A frame without a page, or a page table.
    #[error(
        "Frame {pfn} of the image is {found}, but every frame of a lab guest is plain memory; the image is incomplete or not of a lab guest"
    )]
    NotPlain {
        /// The frame.
        pfn: Pfn,
        /// Its type.
        found: PageType,
    },
    /// The host lacks memory.
    #[error(transparent)]
    NoMemory(#[from] OutOfMemory),
}

/// Page frames and the dirty log.
#[derive(Debug)]
pub struct Ram {
    image: Image,
    log: DirtyBitmap,
    logging: bool,
}

impl Ram {
    /// Zeroed memory, if the host has it.
    pub fn new(page_count: u64) -> Result<Self, OutOfMemory> {
        let mut image = Image::new(page_count);
        for pfn in 0..page_count {
            image.page_mut(Pfn(pfn))?;
        }
        Ok(Self { image, log: DirtyBitmap::try_new(page_count)?, logging: false })
    }

    /// Turns a committed image into memory, without a copy.
    pub fn from_image(image: Image) -> Result<Self, RamError> {
        let page_count = image.page_count();
        for pfn in (0..page_count).map(Pfn) {
            let found = image.page_type(pfn);
            if found != PageType::Normal {
                return Err(RamError::NotPlain { pfn, found });
            }
        }
        Ok(Self { image, log: DirtyBitmap::try_new(page_count)?, logging: false })
    }

    /// The number of frames.
    pub fn page_count(&self) -> u64 {
        self.image.page_count()
    }

    /// The frames as an image, for copying.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// A frame for reading.
    pub fn page(&self, pfn: Pfn) -> &Page {
        self.image.page(pfn).expect("every frame of a lab guest is plain memory")
    }

    /// A frame for writing. It counts as written.
    pub fn page_mut(&mut self, pfn: Pfn) -> &mut Page {
        if self.logging {
            self.log.set(pfn);
        }
        self.image.page_mut(pfn).expect("every frame of a lab guest has its page from the start")
    }

    /// Sets a frame's content without logging a write.
    pub(crate) fn put_page(&mut self, pfn: Pfn, page: &Page) {
        *self.image.page_mut(pfn).expect("every frame of a lab guest has its page from the start") = *page;
    }

    /// Starts the log, empty.
    pub fn begin_log_dirty(&mut self) {
        self.log.clear();
        self.logging = true;
    }

    /// Stops the log.
    pub fn end_log_dirty(&mut self) {
        self.logging = false;
        self.log.clear();
    }

    /// Moves the log's marks into `into`.
    pub fn drain_dirty(&mut self, into: &mut DirtyBitmap) {
        self.log.drain_into(into);
    }
}

/// The number of frames that hold `bytes`, rounded up.
pub(crate) fn pages_for(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_logged_once_and_only_while_logging() {
        let mut ram = Ram::new(100).unwrap();
        ram.page_mut(Pfn(3))[0] = 1;
        ram.begin_log_dirty();
        ram.page_mut(Pfn(70))[0] = 1;
        let mut seen = DirtyBitmap::new(100);
        ram.drain_dirty(&mut seen);
        assert_eq!(seen.runs(Pfn(0)).collect::<Vec<_>>(), vec![70..71]);
        seen.clear();
        ram.drain_dirty(&mut seen);
        ram.end_log_dirty();
        ram.page_mut(Pfn(4))[0] = 1;
        ram.drain_dirty(&mut seen);
        assert_eq!(seen.count(), 0);
    }

    #[test]
    fn an_image_with_a_missing_frame_is_no_memory() {
        let mut image = Image::new(3);
        image.page_mut(Pfn(0)).unwrap();
        image.page_mut(Pfn(2)).unwrap();
        let error = Ram::from_image(image).unwrap_err();
        assert_eq!(error, RamError::NotPlain { pfn: Pfn(1), found: PageType::Absent });
    }
}
