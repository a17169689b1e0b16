//! Memory whose amount a peer or a guest decides: asked for so that "there is none" is an answer. A host that is out of
//! memory then loses one epoch or one copy, not the process and with it every guest.

/// The host has no memory for it.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "The host has no memory for another page of the guest's image; give it memory, or hold fewer guests on it"
)]
pub struct OutOfMemory;

/// Makes room for `more` elements.
pub(crate) fn reserve<T>(into: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
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
