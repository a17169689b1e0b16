//! A mark on a domain: which generation of its guest it is. It dies with the domain, so whoever finds it knows that
//! this very domain was run under that generation, whatever became of the process that wrote it.
//!
//! ```text
//!   /local/domain/5/understudy/generation = "3"       written by dom0; the guest may not
//! ```

use crate::DomId;
use crate::xenstore::{StoreError, Xenstore};

fn path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/generation")
}

/// Marks `domain` as running under `generation`.
pub fn write(domain: DomId, generation: u64) -> Result<(), StoreError> {
    let mut store = Xenstore::open()?;
    // A write makes the domain's node if it is not there: one of a domain that has ended would stay.
    if store.directory(&format!("/local/domain/{domain}"))?.is_empty() {
        return Ok(());
    }
    store.write(&path(domain), &generation.to_string())
}

/// The generation that `domain` was last run under; `None` if it never was.
pub fn read(domain: DomId) -> Result<Option<u64>, StoreError> {
    Ok(Xenstore::open()?.read(&path(domain))?.and_then(|text| text.parse().ok()))
}
