//! Why a domain of Xen cannot be protected, built, paused or ended here. Each text follows the name of the guest that it is
//! about, and says what to do where somebody can do something.

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

/// What is wrong with a guest, or with whoever was asked about it.
#[derive(thiserror::Error, Debug)]
pub enum XenGuestError {
    /// The hypervisor refuses.
    #[error(transparent)]
    Hypervisor(#[from] XenError),
    /// xl refuses.
    #[error(transparent)]
    Toolstack(#[from] XlError),
    /// Xenstore refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A label of it cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// What it sends cannot be held.
    #[error(transparent)]
    Network(#[from] KernelError),
    /// It cannot be described or copied.
    #[error(transparent)]
    Source(#[from] DomainError),
    /// Its changes cannot be found by comparing.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Another engine runs on this host.
    #[error(transparent)]
    Locked(#[from] HostLockError),
    /// It is configured as no guest may be.
    #[error(transparent)]
    Unfit(#[from] Obstacle),
    /// This host lacks something.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It is on its way out.
    #[error("it is being destroyed")]
    Dying,
    /// It runs no more.
    #[error("it has ended (shutdown reason {reason}) and was not removed")]
    Ended {
        /// Xen's number of the reason.
        reason: u32,
    },
    /// Another program is at work on it.
    #[error("it is suspended: being saved or migrated")]
    Suspended,
    /// Somebody paused it.
    #[error("it is paused; unpause it if it may run here")]
    Paused,
    /// Another engine has it.
    #[error("an engine runs it (process {pid}); `understudy unprotect` there ends that")]
    RunByEngine {
        /// That engine's process.
        pid: u32,
    },
    /// `remus -b` has it.
    #[error("`understudy remus -b` makes checkpoints of it that go nowhere (process {pid}); end that first")]
    RunByRemus {
        /// That command's process.
        pid: u32,
    },
    /// Whether the process that labelled it still runs is not known.
    #[error("whether process {pid} still has it is not known: {source}")]
    OwnerUnknown {
        /// The process.
        pid: u32,
        /// What /proc said.
        source: io::Error,
    },
    /// A driver domain serves its card.
    #[error(
        "its network card {device} is served by domain {backend}, where its output cannot be held; use a bridge of dom0"
    )]
    CardElsewhere {
        /// The card's number.
        device: u32,
        /// The driver domain.
        backend: DomId,
    },
    /// Its name is taken here by a guest that no engine has run.
    #[error(
        "domain {domain} is called {name} too and was never protected; rename or destroy it, or a takeover will fail"
    )]
    Namesake {
        /// The other one.
        domain: DomId,
        /// The name of both.
        name: String,
    },
    /// xl said that all went well.
    #[error("xl built a domain, but there is none of its name")]
    NotBuilt,
    /// Its last commit is in a file, from which a person may start it.
    #[error("{why}; its last commit is in {}: make room and run `xl restore {}`", file.display(), file.display())]
    InFile {
        /// Why it was not started from it.
        why: Box<Self>,
        /// The file.
        file: PathBuf,
    },
    /// It has gone meanwhile.
    #[error("it is not run here any more")]
    Forgotten,
    /// A defect, of which the log has more.
    #[error("looking for it panicked; the log says where")]
    Panicked,
}
