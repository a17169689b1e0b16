//! skeleton
#![allow(unsafe_code)]
use crate::XenError;
use understudy_checkpoint::Page;
/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}
/// Frames of a domain, mapped into this process.
#[derive(Debug)]
pub struct Mapping {}
#[allow(clippy::len_without_is_empty)]
impl Mapping {
    /// Number of frames.
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Why a frame did not map (errno).
    pub fn error(&self, index: usize) -> Option<i32> {
        let _ = index;
        unimplemented!()
    }
    /// Address of a frame.
    pub fn page(&self, index: usize) -> Option<*const Page> {
        let _ = index;
        unimplemented!()
    }
    /// Copies a frame out.
    pub fn copy_page(&self, index: usize, into: &mut Page) -> bool {
        let _ = (index, into);
        unimplemented!()
    }
    /// Overwrites a frame.
    pub fn write_page(&self, index: usize, from: &Page) -> bool {
        let _ = (index, from);
        unimplemented!()
    }
    /// Overwrites a part of a frame.
    pub fn write(&self, index: usize, offset: usize, bytes: &[u8]) -> bool {
        let _ = (index, offset, bytes);
        unimplemented!()
    }
    /// Maps other frames at a place.
    pub fn remap(&self, index: usize, frames: &[u64]) -> Result<(), XenError> {
        let _ = (index, frames);
        unimplemented!()
    }
}
