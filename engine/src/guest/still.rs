//! For tests: a source that accepts every call, does nothing, and has the pages that it was given.

use std::any::Any;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, LogTells, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;

/// A source that does nothing.
pub(crate) struct Still {
    pub(crate) image: Image,
    pub(crate) tells: LogTells,
    /// If known: below this frame all frames hold pages, above it only the last one does.
    pub(crate) held_below: Option<u64>,
    what: Option<Description>,
    _held: Box<dyn Any + Send>,
}

impl Still {
    /// A source with these pages, which cannot be described.
    pub(crate) fn with(image: Image) -> Self {
        Self { image, tells: LogTells::Everything, held_below: None, what: None, _held: Box::new(()) }
    }

    /// A source without pages, described by `what`.
    pub(crate) fn described(what: Description) -> Self {
        Self { what: Some(what), ..Self::with(Image::new(0)) }
    }

    /// Keeps a value alive as long as the source.
    pub(crate) fn holding(self, what: impl Any + Send) -> Self {
        Self { _held: Box::new(what), ..self }
    }
}

impl Source for Still {
    fn describe(&mut self) -> Result<Description, DomainError> {
        self.what.clone().ok_or(DomainError::EndOfRecording)
    }
    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn suspend(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn resume(&mut self) -> Result<(), DomainError> {
        Ok(())
    }
    fn drain_dirty(&mut self, _into: &mut DirtyBitmap) -> Result<(), DomainError> {
        Ok(())
    }
    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        Ok(self.image.copy_pages(wanted, from, staging, copiers))
    }
    fn capture_state(&mut self, _into: &mut DomainState) -> Result<(), DomainError> {
        Ok(())
    }
    fn log_tells(&self) -> LogTells {
        self.tells
    }
    fn next_held(&self, from: Pfn, end: Pfn) -> Option<Pfn> {
        let last = Pfn(self.image.page_count() - 1);
        let next = if self.held_below.is_some_and(|held| from.0 >= held) { from.max(last) } else { from };
        (next < end).then_some(next)
    }
}
