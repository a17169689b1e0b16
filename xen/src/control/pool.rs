//! A pool of hypercall-safe memory: making such memory costs system calls, and locked pages are scarce.

use crate::HypercallBuffer;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Idle buffers that are kept: one for each thread that may call Xen for one guest, and some to spare.
const IDLE_MAX: usize = 8;

/// Buffers of about the same size.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Vec<HypercallBuffer>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { idle: Mutex::new(Vec::with_capacity(IDLE_MAX)) }
    }

    /// Takes a buffer of at least `bytes` bytes, with undefined content. Dropping the lease returns it.
    pub(super) fn lease(&self, bytes: usize) -> io::Result<Lease<'_>> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = match waiting {
            Some(buffer) if buffer.as_bytes().len() >= bytes => buffer,
            _ => HypercallBuffer::new(bytes)?,
        };
        Ok(Lease { pool: self, buffer: Some(buffer) })
    }
}

/// A buffer on loan from the pool.
#[derive(Debug)]
pub(super) struct Lease<'p> {
    pool: &'p Pool,
    /// `Some` until the lease is dropped.
    buffer: Option<HypercallBuffer>,
}

impl Deref for Lease<'_> {
    type Target = HypercallBuffer;

    fn deref(&self) -> &HypercallBuffer {
        self.buffer.as_ref().expect("leased")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut HypercallBuffer {
        self.buffer.as_mut().expect("leased")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.extend(self.buffer.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_grows_when_it_must() {
        let pool = Pool::new();
        let first = pool.lease(100).unwrap();
        let address = first.address();
        assert_ne!(pool.lease(100).unwrap().address(), address, "one for each");
        drop(first);
        assert_eq!(pool.lease(50).unwrap().address(), address);
        assert_eq!(pool.lease(10_000).unwrap().as_bytes().len(), 10_000);
        assert_eq!(pool.lease(50).unwrap().as_bytes().len(), 10_000);
        let all: Vec<_> = (0..2 * IDLE_MAX).map(|_| pool.lease(1).unwrap()).collect();
        drop(all);
        assert_eq!(pool.idle.lock().unwrap().len(), IDLE_MAX);
    }
}
