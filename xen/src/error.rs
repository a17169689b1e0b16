//! Errors between this crate and Xen, with advice for the operator.
//!
//! Callers act on every variant but [`XenError::Hypercall`]: a guest that is gone ends its protection, a lost dirty log
//! requires a full sync, an unsupported log is refused by preflight.

use crate::xenstore::StoreError;
use crate::{DomId, GfnSlot};
use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// Why Xen did not do what it was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum XenError {
    /// A hypercall failed. The text adds advice where the errno has one known meaning.
    #[error("{what}{} failed: {errno}{}", of_domain(.domain), advice(*.errno))]
    Hypercall {
        /// The request, in words.
        what: &'static str,
        /// The domain, if the request concerned one.
        domain: Option<DomId>,
        /// Xen's answer.
        errno: Errno,
    },
    /// The domain does not exist (any more): ESRCH.
    #[error("Domain {domain} does not exist (any more): {what} found none. See `xl list`")]
    Gone {
        /// The domain that the call was for.
        domain: DomId,
        /// The request, in words.
        what: &'static str,
    },
    /// The domain exists but the vCPU does not: ESRCH.
    #[error("{what}: domain {domain} has no such vCPU. Was its number of vCPUs changed meanwhile?")]
    NoVcpu {
        /// The domain that the call was for.
        domain: DomId,
        /// The request, in words.
        what: &'static str,
    },
    /// Xen has no log-dirty mode for this kind of guest: EOPNOTSUPP (95).
    #[error(
        "Xen cannot track the writes of domain {domain}: this hypervisor was built without shadow paging, which \
         PV guests need. Run the guest as PVH or HVM; or boot a Xen built with CONFIG_SHADOW_PAGING=y; or, if it is \
         small and understudy's own engine protects it, have its changes found by comparing (find-changes=compare)"
    )]
    LogDirtyUnsupported {
        /// The domain that the call was for.
        domain: DomId,
    },
    /// Xen refused log-dirty mode, even after it had been switched off: EINVAL.
    #[error(
        "Xen refuses to track the writes of domain {domain}: a domain with a passed-through device cannot be \
         checkpointed. Detach it (`xl pci-list {domain}`) and try again"
    )]
    LogDirtyRefused {
        /// The domain that the call was for.
        domain: DomId,
    },
    /// The dirty log is incomplete, so everything must be sent again.
    #[error("The dirty log of domain {domain} was lost ({why}); a full sync is needed")]
    LogLost {
        /// The domain that the call was for.
        domain: DomId,
        /// Why the log is incomplete.
        why: &'static str,
    },
    /// Xen refused a CPU policy and named the part that it refused.
    #[error(
        "Xen refused the CPU policy for domain {domain} at {position}: {errno}. The guest was started on a processor \
         (or with a configuration) that this host cannot offer; level the hosts' features with `cpuid=` or \
         Xen's command line"
    )]
    Policy {
        /// The domain that the call was for.
        domain: DomId,
        /// The leaf or MSR that Xen objects to.
        position: PolicyPosition,
        /// Xen's answer.
        errno: Errno,
    },
    /// A device file could not be opened or used.
    #[error("{}: {source}. Is this dom0, running as root, with Xen's device nodes present?", path.display())]
    Device {
        /// Path of the device.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no memory that hypercalls can use.
    #[error(
        "No memory for hypercalls: {0}. Raise the limit of locked memory (`ulimit -l`) or free memory in dom0"
    )]
    Buffer(#[source] io::Error),
    /// Xen has a version of the domctl interface for which this program was not checked.
    #[error(
        "Xen {major}.{minor} speaks none of the domctl versions that this program knows ({known}){}. Use a newer \
         understudy; or, if you know that the structures are unchanged, set {OVERRIDE_VARIABLE} to Xen's \
         XEN_DOMCTL_INTERFACE_VERSION",
        match .overridden { Some(version) => format!(", nor {version:#x} as overridden"), None => String::new() }
    )]
    UnknownDomctlVersion {
        /// `XENVER_version`, upper half.
        major: u32,
        /// `XENVER_version`, lower half.
        minor: u32,
        /// The versions that were tried.
        known: String,
        /// The version set by the override, if there is one.
        overridden: Option<u32>,
    },
    /// Xen has a version of the sysctl interface for which this program was not checked.
    #[error(
        "{what} failed: Xen speaks none of the sysctl versions that this program knows ({known}). Use a newer \
         understudy"
    )]
    UnknownSysctlVersion {
        /// The request, in words.
        what: &'static str,
        /// The versions that were tried.
        known: String,
    },
    /// The override of the domctl version is not a number.
    #[error("{OVERRIDE_VARIABLE} is {0:?}, which is not a number like 0x19 or 25; correct or unset it")]
    Override(String),
    /// Frames of a domain could not be mapped.
    #[error("Mapping frame {frame:#x} of domain {domain} failed: {errno}{}", advice(*.errno))]
    Map {
        /// The domain that the call was for.
        domain: DomId,
        /// The first frame that failed.
        frame: GfnSlot,
        /// The kernel's or Xen's answer.
        errno: Errno,
    },
    /// Xen gave an impossible answer.
    #[error("{what}{} answered {answer}, which cannot be; please report this with `xl info`", of_domain(.domain))]
    Nonsense {
        /// The request, in words.
        what: &'static str,
        /// The domain, if the request concerned one.
        domain: Option<DomId>,
        /// The answer, in words.
        answer: String,
    },
    /// Xenstore failed.
    #[error(transparent)]
    Xenstore(#[from] StoreError),
}

/// The part of a CPU policy that Xen refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyPosition {
    /// A CPUID leaf.
    Leaf {
        /// Number of the leaf (EAX).
        leaf: u32,
        /// The subleaf, if the leaf has any.
        subleaf: Option<u32>,
    },
    /// A model-specific register.
    Msr(u32),
}

impl std::fmt::Display for PolicyPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leaf { leaf, subleaf: Some(subleaf) } => {
                write!(f, "CPUID leaf {leaf:#x} subleaf {subleaf:#x}")
            }
            Self::Leaf { leaf, subleaf: None } => write!(f, "CPUID leaf {leaf:#x}"),
            Self::Msr(msr) => write!(f, "MSR {msr:#x}"),
        }
    }
}

/// Sets the domctl version to use if Xen accepts none of the known ones.
pub(crate) const OVERRIDE_VARIABLE: &str = "UNDERSTUDY_XEN_DOMCTL_VERSION";

fn of_domain(domain: &Option<DomId>) -> String {
    domain.map_or_else(String::new, |domain| format!(" of domain {domain}"))
}

/// Advice about `errno`; empty if its name says enough.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => ". Run this as root in dom0; with XSM, its policy must allow it",
        Errno::EACCES => {
            ". Xen speaks another domctl version than at the start of this program (or XSM forbids it); restart it"
        }
        Errno::EBUSY => {
            ". Another tool works on this domain (xl save, migrate, remus), or its device model holds pages in a \
             way that cannot be tracked; end that and try again"
        }
        Errno::ENOMEM => {
            ". Xen is out of memory; free some (`xl info`) or give the domain a larger shadow_memory"
        }
        Errno::ENOSYS | Errno::EOPNOTSUPP => ". This Xen, or this kind of guest, does not offer it",
        Errno::EFAULT => {
            ". Memory given to Xen was not resident; load the xen-privcmd module for /dev/xen/hypercall"
        }
        _ => "",
    }
}
