//! Fallible allocation, for memory whose amount a peer or a guest determines. A host that runs out of memory then loses
//! one epoch or one copy, and not the process with all its guests.

use std::io;

/// The host is out of memory.
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

/// `count` elements equal to `value`.
pub fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut all = Vec::new();
    reserve_exact(&mut all, count)?;
    all.resize(count, value);
    Ok(all)
}

/// Lengthens `into` to `count` elements; new ones equal `value`.
pub fn lengthen<T: Clone>(into: &mut Vec<T>, count: usize, value: T) -> Result<(), OutOfMemory> {
    if let Some(more) = count.checked_sub(into.len()) {
        reserve(into, more)?;
        into.resize(count, value);
    }
    Ok(())
}

/// [`lengthen`], without spare capacity.
pub fn lengthen_exact<T: Clone>(into: &mut Vec<T>, count: usize, value: T) -> Result<(), OutOfMemory> {
    if let Some(more) = count.checked_sub(into.len()) {
        reserve_exact(into, more)?;
    }
    lengthen(into, count, value)
}

/// Reserves room for `more` elements.
pub fn reserve<T>(into: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    #[cfg(test)]
    scarce::allow(into.capacity() - into.len(), more)?;
    into.try_reserve(more).map_err(|_| OutOfMemory)
}

/// [`reserve`], without spare capacity.
pub(crate) fn reserve_exact<T>(into: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    #[cfg(test)]
    scarce::allow(into.capacity() - into.len(), more)?;
    into.try_reserve_exact(more).map_err(|_| OutOfMemory)
}

/// Makes `into` equal to `from`.
pub(crate) fn copy(into: &mut Vec<u8>, from: &[u8]) -> Result<(), OutOfMemory> {
    into.clear();
    reserve(into, from.len())?;
    into.extend_from_slice(from);
    Ok(())
}

/// For tests: a host without memory.
#[cfg(test)]
pub(crate) mod scarce {
    use super::OutOfMemory;
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Runs `work` with memory for so many allocations.
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
