//! skeleton
#![allow(unsafe_code)]
use std::io;
/// Memory that Xen reads and writes in hypercalls: always resident.
#[derive(Debug)]
pub struct HypercallBuffer {
    bytes: Vec<u8>,
}
impl HypercallBuffer {
    /// At least `bytes` bytes, zeroed.
    pub fn new(bytes: usize) -> io::Result<Self> {
        Ok(Self { bytes: vec![0; bytes] })
    }
    /// What is in it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// What is in it, to be changed.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
    /// Where it lies in this process.
    pub fn address(&self) -> u64 {
        self.bytes.as_ptr().addr() as u64
    }
}
/// The hypervisor, as far as this crate reaches it.
pub trait Port: Send + Sync {}
