//! Errors: why output cannot be held, or is no longer held.

use super::NetlinkError;
use super::breach::Breach;
use nix::errno::Errno;
use std::io;

/// An error of the devices and filters that hold output. Only [`NotHeld`](Self::NotHeld) means that output may have
/// left.
#[derive(thiserror::Error, Debug)]
pub enum KernelError {
    /// An interface that should be there is not.
    #[error("The interface {name} is gone; was the device unplugged, or the guest destroyed?")]
    Gone {
        /// The interface, by the name it had when it was attached.
        name: String,
    },
    /// The intermediate device belongs to a process that still runs.
    #[error("{name} is held by another engine (pid {pid}); stop that one first")]
    InUse {
        /// The intermediate device or the redirected interface.
        name: String,
        /// The process, 0 if it is not known.
        pid: u32,
    },
    /// Whether the process that redirected an interface still runs could not be learnt.
    #[error(
        "{name} is redirected by process {pid}, and whether that still runs cannot be learnt: {source}; it is left as it is"
    )]
    OwnerUnknown {
        /// The redirected interface.
        name: String,
        /// The process.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
    /// The name is taken by something we did not make.
    #[error("{name} exists and is not understudy's; rename or remove it")]
    Foreign {
        /// The interface in the way.
        name: String,
    },
    /// What the guest sends is not held, or was not for a moment.
    #[error("What the guest sends by {name} is not held for sure: {breach}")]
    NotHeld {
        /// The interface, by the name it had when it was attached.
        name: String,
        /// What is wrong.
        breach: Breach,
    },
    /// The kernel lacks a module or feature that is needed.
    #[error("The kernel cannot do this: {0}; load the module (modprobe)")]
    Unsupported(#[source] NetlinkError),
    /// Detaching now would lose or leak output. The interfaces of a fenced guest go when the guest is destroyed.
    #[error("Output is held or fenced; let it pass, or destroy the guest, before detaching")]
    StillHolding,
    /// There is no such tap.
    #[error("There is no interface {name} for the guest's card; make it: ip tuntap add mode tap name {name}")]
    NoTap {
        /// What it should be called.
        name: String,
    },
    /// The name is too long for an interface.
    #[error(
        "{name} is too long for the name of an interface, which has at most {max} bytes; choose a shorter one"
    )]
    LongName {
        /// What it should be called.
        name: String,
        /// Bytes that a name may have.
        max: usize,
    },
    /// The TUN driver failed.
    #[error("The tap {name} cannot be used; it needs /dev/net/tun and CAP_NET_ADMIN: {}", errno.desc())]
    Tap {
        /// The tap.
        name: String,
        /// The driver's error.
        errno: Errno,
    },
    /// The classifier that marks released frames was not accepted.
    #[error("The kernel did not load the classifier of released frames; it needs CAP_BPF: {}", .0.desc())]
    Classifier(Errno),
    /// The kernel did not say which programs see an interface's frames.
    #[error("The kernel did not tell which programs are attached to an interface; it needs CAP_NET_ADMIN: {}", .0.desc())]
    Programs(Errno),
    /// A thread, a descriptor or /proc failed.
    #[error("The host lacks resources for output commit: {0}")]
    Host(#[from] std::io::Error),
    /// Netlink failed.
    #[error(transparent)]
    Netlink(NetlinkError),
}

impl From<NetlinkError> for KernelError {
    fn from(error: NetlinkError) -> Self {
        // "No such kind" is ENOENT of qdiscs, classifiers and actions, and EOPNOTSUPP of interfaces.
        if error.is(Errno::ENOENT) || error.is(Errno::EOPNOTSUPP) {
            Self::Unsupported(error)
        } else {
            Self::Netlink(error)
        }
    }
}
