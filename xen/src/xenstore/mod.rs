//! skeleton
use crate::DomId;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
/// Why xenstore did not do what was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// skeleton
    #[error("skeleton")]
    Skeleton,
}
/// What a domain may do with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeAccess {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read and write.
    Both,
}
/// One entry of a node's permissions; the first names the owner and what all others may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    /// Whose.
    pub domain: DomId,
    /// What.
    pub access: NodeAccess,
}
/// A watch fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// What changed.
    pub path: String,
    /// The token given with the watch.
    pub token: String,
}
/// A connection to xenstore.
#[derive(Debug)]
pub struct Xenstore {
    file: std::fs::File,
}
/// A transaction under way.
#[derive(Debug)]
pub struct Transaction<'s> {
    store: &'s mut Xenstore,
}
#[allow(unused_variables, missing_docs, clippy::missing_docs_in_private_items)]
impl Xenstore {
    pub fn open() -> Result<Self, StoreError> {
        unimplemented!()
    }
    pub fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        unimplemented!()
    }
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }
    pub fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn domain_path(&mut self, domain: DomId) -> Result<String, StoreError> {
        unimplemented!()
    }
    pub fn resume(&mut self, domain: DomId) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn introduce(&mut self, domain: DomId, gfn: u64, evtchn: u32) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn release(&mut self, domain: DomId) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn is_introduced(&mut self, domain: DomId) -> Result<bool, StoreError> {
        unimplemented!()
    }
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<WatchEvent>, StoreError> {
        unimplemented!()
    }
    pub fn transaction<T>(
        &mut self,
        body: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        unimplemented!()
    }
}
#[allow(unused_variables, missing_docs)]
impl Transaction<'_> {
    pub fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        self.store.read(path)
    }
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }
    pub fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<(), StoreError> {
        unimplemented!()
    }
}
impl AsFd for Xenstore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
