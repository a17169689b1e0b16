//! What a converter keeps of a checkpoint after the first until its tail is complete, with a limit.

use super::fault::{Defect, Rule};
use super::limits::CHECKPOINT_BYTES_MAX;
use super::remembered::Remembered;
use crate::PageEntry;
use crate::room::reserve;

/// Pages and records of a checkpoint that wait for its tail.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) records: Vec<u8>,
    pub(super) entries: Vec<PageEntry>,
    pub(super) packed: Vec<u8>,
    pub(super) remembered: Remembered,
}

impl Held {
    /// Whether it may grow by `more` bytes.
    pub(super) fn check(&self, more: usize) -> Result<(), Defect> {
        let bytes =
            self.records.len() + self.packed.len() + self.entries.len() * size_of::<PageEntry>() + more;
        if bytes <= CHECKPOINT_BYTES_MAX {
            return Ok(());
        }
        let detail = format!(
            "A checkpoint of more than {CHECKPOINT_BYTES_MAX} bytes, none of which can be passed on yet"
        );
        Err(Defect::new(Rule::Checkpoint, detail))
    }

    pub(super) fn append(into: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Defect> {
        reserve(into, bytes.len()).map_err(|error| Defect::new(Rule::Checkpoint, error.to_string()))?;
        into.extend_from_slice(bytes);
        Ok(())
    }
}
