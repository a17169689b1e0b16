//! The digest of an epoch's pages. Each side computes it from its own copy, not from the bytes that travelled.
//!
//! A base page that differs, a page altered on the way, and an op lost or added all change the digest. It guards
//! against faults, not against forgery; that is the link's task.

use crate::{PAGE_SIZE, Page, PageEntry};
use std::fmt;
use std::sync::LazyLock;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Hash of a page of zeros.
static ZERO_HASH: LazyLock<u64> = LazyLock::new(|| xxh3_64(&[0; PAGE_SIZE]));

/// The hash of a page.
pub(super) fn page_hash(page: &Page) -> u64 {
    xxh3_64(page)
}

/// Accumulates entries with their content, in the order in which they are sent.
#[derive(Clone)]
pub(crate) struct Digest {
    hasher: Xxh3,
    entries: u64,
    data_pages: u64,
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({} entries, {:#018x})", self.entries, self.hasher.digest())
    }
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { hasher: Xxh3::new(), entries: 0, data_pages: 0 }
    }

    /// Adds an entry with its page. Returns the page's hash.
    pub(crate) fn page(&mut self, entry: PageEntry, page: &Page) -> u64 {
        self.data_pages += 1;
        self.push(entry, page_hash(page))
    }

    /// Adds an entry whose page is all zeros.
    pub(crate) fn zero(&mut self, entry: PageEntry) -> u64 {
        self.data_pages += 1;
        self.push(entry, *ZERO_HASH)
    }

    /// Adds an entry without data.
    pub(crate) fn no_data(&mut self, entry: PageEntry) -> u64 {
        self.push(entry, 0)
    }

    fn push(&mut self, entry: PageEntry, content: u64) -> u64 {
        self.entries += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&entry.to_wire().to_le_bytes());
        bytes[8..].copy_from_slice(&content.to_le_bytes());
        self.hasher.update(&bytes);
        content
    }

    /// The summary for the epoch's end.
    pub(crate) fn summary(&self) -> EpochSummary {
        EpochSummary { entries: self.entries, data_pages: self.data_pages, digest: self.hasher.digest() }
    }
}

impl fmt::Display for EpochSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, data_pages, digest } = self;
        write!(f, "{entries} entries with {data_pages} pages and the digest {digest:016x}")
    }
}

/// The number and digest of an epoch's pages, sent with its end. The receiver compares it with its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochSummary {
    /// Entries sent; a repeated entry counts each time. Unchanged pages are not sent.
    pub entries: u64,
    /// Entries that carry a page.
    pub data_pages: u64,
    /// XXH3 (64 bits) over the entries in the order sent, each a little-endian PAGE_DATA entry followed by the
    /// XXH3 of its page's content, 0 if its type carries none.
    pub digest: u64,
}
