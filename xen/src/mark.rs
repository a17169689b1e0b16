//! Marks on a domain: which generation of its guest it is, or which process makes checkpoints of it that go nowhere.
//! They die with the domain, so whoever finds one knows that this very domain was run under that generation, or may be
//! suspended by that process, whatever became of it.
//!
//! ```text
//!   /local/domain/5/understudy/generation = "3"       written by dom0; the guest may not
//!   /local/domain/5/understudy/nowhere    = "4711"    a process
//! ```

use crate::DomId;
use crate::xenstore::{StoreError, Xenstore};

fn path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/generation")
}

fn nowhere_path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/nowhere")
}

/// Marks `domain` as running under `generation`.
pub fn write(domain: DomId, generation: u64) -> Result<(), StoreError> {
    put(domain, &path(domain), &generation.to_string())
}

/// A write makes the domain's node if it is not there: one of a domain that has ended would stay.
fn put(domain: DomId, path: &str, value: &str) -> Result<(), StoreError> {
    let mut store = Xenstore::open()?;
    if store.directory(&format!("/local/domain/{domain}"))?.is_empty() {
        return Ok(());
    }
    store.write(path, value)
}

/// Marks `domain` as one of which process `pid` makes checkpoints that go nowhere.
pub fn write_nowhere(domain: DomId, pid: u32) -> Result<(), StoreError> {
    put(domain, &nowhere_path(domain), &pid.to_string())
}

/// The process that makes checkpoints of `domain` that go nowhere, or did.
pub fn read_nowhere(domain: DomId) -> Result<Option<u32>, StoreError> {
    Ok(Xenstore::open()?.read(&nowhere_path(domain))?.and_then(|text| text.parse().ok()))
}

/// Nobody does any more.
pub fn remove_nowhere(domain: DomId) -> Result<(), StoreError> {
    Xenstore::open()?.rm(&nowhere_path(domain))
}

/// The generation that `domain` was last run under; `None` if it never was.
pub fn read(domain: DomId) -> Result<Option<u64>, StoreError> {
    Ok(Xenstore::open()?.read(&path(domain))?.and_then(|text| text.parse().ok()))
}
