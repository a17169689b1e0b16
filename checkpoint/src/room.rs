//! Memory whose amount a peer or a guest decides: asked for so that "there is none" is an answer. A host that is out of
//! memory then loses one epoch or one copy, not the process and with it every guest.

use std::io;

/// The host has no memory for it.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "The host has no memory for the guest's image, or for what goes with it; give it memory, or hold fewer guests on it"
)]
pub struct OutOfMemory;

impl From<OutOfMemory> for io::Error {
    fn from(error: OutOfMemory) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, error)
    }
}

/// `count` elements that are all `value`.
pub fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut all = Vec::new();
    reserve_exact(&mut all, count)?;
    all.resize(count, value);
    Ok(all)
}

/// Makes `into` `count` elements long; those that are missing are `value`.
pub fn lengthen<T: Clone>(into: &mut Vec<T>, count: usize, value: T) -> Result<(), OutOfMemory> {
    if let Some(more) = count.checked_sub(into.len()) {
        reserve(into, more)?;
        into.resize(count, value);
    }
    Ok(())
}

/// As [`lengthen`], without a reserve for what may come after.
pub fn lengthen_exact<T: Clone>(into: &mut Vec<T>, count: usize, value: T) -> Result<(), OutOfMemory> {
    if let Some(more) = count.checked_sub(into.len()) {
        reserve_exact(into, more)?;
    }
    lengthen(into, count, value)
}

/// Makes room for `more` elements.
pub fn reserve<T>(into: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    #[cfg(test)]
    scarce::allow(into.capacity() - into.len(), more)?;
    into.try_reserve(more).map_err(|_| OutOfMemory)
}

/// As [`reserve`], without a reserve for what may come after.
pub(crate) fn reserve_exact<T>(into: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    #[cfg(test)]
    scarce::allow(into.capacity() - into.len(), more)?;
    into.try_reserve_exact(more).map_err(|_| OutOfMemory)
}

/// Makes `into` what `from` is.
pub(crate) fn copy(into: &mut Vec<u8>, from: &[u8]) -> Result<(), OutOfMemory> {
    into.clear();
    reserve(into, from.len())?;
    into.extend_from_slice(from);
    Ok(())
}

/// A test's host without memory.
#[cfg(test)]
pub(crate) mod scarce {
    use super::OutOfMemory;
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// What `work` does with memory for so many requests that need new memory.
    pub(crate) fn with<T>(requests: usize, work: impl FnOnce() -> T) -> T {
        LEFT.set(requests);
        let result = work();
        LEFT.set(usize::MAX);
        result
    }

    pub(super) fn allow(room: usize, more: usize) -> Result<(), OutOfMemory> {
        if room >= more {
            return Ok(());
        }
        let left = LEFT.get().checked_sub(1).ok_or(OutOfMemory)?;
        LEFT.set(if left == usize::MAX - 1 { usize::MAX } else { left });
        Ok(())
    }
}
