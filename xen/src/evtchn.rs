//! skeleton
#![allow(unsafe_code)]
use crate::{DomId, XenError};
use std::os::fd::{AsFd, BorrowedFd};
/// Event channels of this process.
#[derive(Debug)]
pub struct Evtchn {
    file: std::fs::File,
}
impl Evtchn {
    /// Opens /dev/xen/evtchn.
    pub fn open() -> Result<Self, XenError> {
        unimplemented!()
    }
    /// Binds a domain's port; returns the local one.
    pub fn bind_interdomain(&self, domain: DomId, remote: u32) -> Result<u32, XenError> {
        let _ = (domain, remote);
        unimplemented!()
    }
    /// A new local port that a domain may bind.
    pub fn bind_unbound(&self, domain: DomId) -> Result<u32, XenError> {
        let _ = domain;
        unimplemented!()
    }
    /// Binds a virtual interrupt.
    pub fn bind_virq(&self, virq: u32) -> Result<u32, XenError> {
        let _ = virq;
        unimplemented!()
    }
    /// Gives a local port up.
    pub fn unbind(&self, port: u32) -> Result<(), XenError> {
        let _ = port;
        unimplemented!()
    }
    /// Signals the other end.
    pub fn notify(&self, port: u32) -> Result<(), XenError> {
        let _ = port;
        unimplemented!()
    }
    /// A local port that was signalled; it stays masked until unmasked.
    pub fn pending(&self) -> Result<Option<u32>, XenError> {
        unimplemented!()
    }
    /// Lets a port signal again.
    pub fn unmask(&self, port: u32) -> Result<(), XenError> {
        let _ = port;
        unimplemented!()
    }
}
impl AsFd for Evtchn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
