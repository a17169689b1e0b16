//! Event channels through `/dev/xen/evtchn`: one bit that another domain or Xen can set, and that wakes this process.
//!
//! ```text
//!   bind ─► port ─┬─ signalled ─► readable ─► pending() = port, which stays masked ─► unmask(port) ─┐
//!                 └──────────────────────────────◄──────────────────────────────────────────────────┘
//! ```
//!
//! Closing the device frees the ports.

#![allow(unsafe_code)]

use crate::abi::evtchn;
use crate::{DomId, XenError};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

mod ioctl {
    use super::evtchn;
    nix::ioctl_write_ptr_bad!(bind_virq, evtchn::BIND_VIRQ, u32);
    nix::ioctl_write_ptr_bad!(bind_interdomain, evtchn::BIND_INTERDOMAIN, evtchn::BindInterdomain);
    nix::ioctl_write_ptr_bad!(bind_unbound, evtchn::BIND_UNBOUND_PORT, u32);
    nix::ioctl_write_ptr_bad!(unbind, evtchn::UNBIND, u32);
    nix::ioctl_write_ptr_bad!(notify, evtchn::NOTIFY, u32);
}

const PATH: &str = "/dev/xen/evtchn";

/// The event channels of this process. Reading never blocks; poll the descriptor to wait.
#[derive(Debug)]
pub struct Evtchn {
    device: File,
}

impl Evtchn {
    /// Opens `/dev/xen/evtchn` without a bound port.
    pub fn open() -> Result<Self, XenError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
        let device =
            options.open(PATH).map_err(|source| XenError::Device { path: Path::new(PATH).into(), source })?;
        Ok(Self { device })
    }

    /// Binds a new local port to port `remote` of `domain`, which must have been offered.
    pub fn bind_interdomain(&self, domain: DomId, remote: u32) -> Result<u32, XenError> {
        let request = evtchn::BindInterdomain { remote_domain: domain.0.into(), remote_port: remote };
        // SAFETY: the kernel reads one such structure.
        let answer = unsafe { ioctl::bind_interdomain(self.device.as_raw_fd(), &request) };
        port("Binding an event channel", Some(domain), answer)
    }

    /// Allocates a local port that `domain` may bind.
    pub fn bind_unbound(&self, domain: DomId) -> Result<u32, XenError> {
        // SAFETY: the kernel reads one u32.
        let answer = unsafe { ioctl::bind_unbound(self.device.as_raw_fd(), &u32::from(domain.0)) };
        port("Offering an event channel", Some(domain), answer)
    }

    /// Allocates a local port on which Xen signals `virq` (`VIRQ_*`).
    pub fn bind_virq(&self, virq: u32) -> Result<u32, XenError> {
        // SAFETY: the kernel reads one u32.
        port("Binding a virtual interrupt", None, unsafe { ioctl::bind_virq(self.device.as_raw_fd(), &virq) })
    }

    /// Frees a local port.
    pub fn unbind(&self, local: u32) -> Result<(), XenError> {
        // SAFETY: the kernel reads one u32.
        let answer = unsafe { ioctl::unbind(self.device.as_raw_fd(), &local) };
        port("Unbinding an event channel", None, answer).map(drop)
    }

    /// Signals the other end of a local port.
    pub fn notify(&self, local: u32) -> Result<(), XenError> {
        // SAFETY: the kernel reads one u32.
        let answer = unsafe { ioctl::notify(self.device.as_raw_fd(), &local) };
        port("Signalling an event channel", None, answer).map(drop)
    }

    /// The next local port that was signalled; `None` if there is none. The port signals again after
    /// [`unmask`](Self::unmask).
    pub fn pending(&self) -> Result<Option<u32>, XenError> {
        let mut port = [0; size_of::<u32>()];
        match (&self.device).read(&mut port) {
            Ok(count) if count == port.len() => Ok(Some(u32::from_ne_bytes(port))),
            Ok(count) => Err(XenError::Nonsense {
                what: "Reading event channels",
                domain: None,
                answer: format!("{count} bytes"),
            }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(XenError::Device { path: Path::new(PATH).into(), source }),
        }
    }

    /// Lets a port that was [`pending`](Self::pending) signal again.
    pub fn unmask(&self, local: u32) -> Result<(), XenError> {
        let written = (&self.device).write_all(&local.to_ne_bytes());
        written.map_err(|source| XenError::Device { path: Path::new(PATH).into(), source })
    }
}

impl AsFd for Evtchn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn port(what: &'static str, domain: Option<DomId>, answer: nix::Result<i32>) -> Result<u32, XenError> {
    match answer {
        Ok(port) => Ok(port.cast_unsigned()),
        Err(Errno::ESRCH) if let Some(domain) = domain => Err(XenError::Gone { domain, what }),
        Err(errno) => Err(XenError::Hypercall { what, domain, errno }),
    }
}
