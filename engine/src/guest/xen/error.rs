//! Why a Xen domain cannot be protected, built, paused or ended here. Each text follows the name of the guest, and says
//! what to do if anything can be done.

use super::host_lock::HostLockError;
use super::obstacle::Obstacle;
use std::io;
use std::path::PathBuf;
use understudy_checkpoint::domain::DomainError;
use understudy_netbuf::kernel::KernelError;
use understudy_xen::domain::CompareError;
use understudy_xen::domain_labels::LabelError;
use understudy_xen::xenstore::StoreError;
use understudy_xen::xl::XlError;
use understudy_xen::{DomId, XenError};

/// What is wrong with a guest, or with the programs asked about it.
#[derive(thiserror::Error, Debug)]
pub enum XenGuestError {
    /// The hypervisor refused.
    #[error(transparent)]
    Hypervisor(#[from] XenError),
    /// xl refused.
    #[error(transparent)]
    Toolstack(#[from] XlError),
    /// Xenstore refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A label of the guest cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The guest's output cannot be held.
    #[error(transparent)]
    Network(#[from] KernelError),
    /// The guest cannot be described or copied.
    #[error(transparent)]
    Source(#[from] DomainError),
    /// The guest's changes cannot be found by comparing.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Another engine runs on this host.
    #[error(transparent)]
    Locked(#[from] HostLockError),
    /// The guest's configuration is not supported.
    #[error(transparent)]
    Unfit(#[from] Obstacle),
    /// This host lacks something.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The domain is being destroyed.
    #[error("it is being destroyed")]
    Dying,
    /// The guest has shut down.
    #[error("it has ended (shutdown reason {reason}) and was not removed")]
    Ended {
        /// Xen's number of the reason.
        reason: u32,
    },
    /// Another program works on the guest.
    #[error("it is suspended: being saved or migrated")]
    Suspended,
    /// Somebody has paused the guest.
    #[error("it is paused; unpause it if it may run here")]
    Paused,
    /// A PV guest that was taken over here and not let run yet did not say where its memory is.
    #[error(
        "its engine died before it let the guest run here, which then did not show where its memory is: {why}. See that it \
         does not run elsewhere, and `xl unpause` it; nothing that it sends gets out before it is taken in"
    )]
    NotRunYet {
        /// Why the last attempt to find it failed.
        why: Box<Self>,
    },
    /// Another engine runs the guest.
    #[error("an engine runs it (process {pid}); `understudy unprotect` there ends that")]
    RunByEngine {
        /// The process of that engine.
        pid: u32,
    },
    /// `remus -b` makes checkpoints of the guest.
    #[error("`understudy remus -b` makes checkpoints of it that go nowhere (process {pid}); end that first")]
    RunByRemus {
        /// The process of that command.
        pid: u32,
    },
    /// It is not known whether the process that labelled the domain still runs.
    #[error("whether process {pid} still has it is not known: {source}")]
    OwnerUnknown {
        pid: u32,
        /// The error from /proc.
        source: io::Error,
    },
    /// A driver domain serves a card of the guest.
    #[error(
        "its network card {device} is served by domain {backend}, where its output cannot be held; use a bridge of dom0"
    )]
    CardElsewhere {
        /// The card's number.
        device: u32,
        backend: DomId,
    },
    /// A guest that no engine has run has the same name here.
    #[error(
        "domain {domain} is called {name} too and was never protected; rename or destroy it, or a takeover will fail"
    )]
    Namesake {
        domain: DomId,
        /// The common name.
        name: String,
    },
    /// xl reported success, but there is no domain.
    #[error("xl built a domain, but there is none of its name")]
    NotBuilt,
    /// The guest's last commit is in a file, from which a person may start it.
    #[error("{why}; its last commit is in {}: make room and run `xl restore {}`", file.display(), file.display())]
    InFile {
        /// Why the guest was not started from it.
        why: Box<Self>,
        file: PathBuf,
    },
    /// The guest is gone meanwhile.
    #[error("it is not run here any more")]
    Forgotten,
    /// A defect; the log has details.
    #[error("looking for it panicked; the log says where")]
    Panicked,
}
