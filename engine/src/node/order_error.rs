//! Why a node does not do what an operator asks for. The text is what the operator reads, and says what to do instead.

use crate::config::{ConfigError, PairError};
use crate::trust::CredentialsError;
use std::io;
use std::path::PathBuf;
use understudy_session::NodeName;

/// Why a node does not do what an operator asks for.
#[derive(thiserror::Error, Debug)]
pub enum OrderError {
    /// The node neither runs nor holds it.
    #[error("There is no guest {0} on this node; `status` lists them")]
    NoGuest(String),
    /// The same, on a node of the lab, which looks for none.
    #[error(
        "There is no guest {0} on this node; `status` lists those of the lab, which begin with the node. For a guest of Xen \
         the node needs --hypervisor xen"
    )]
    NoGuestOfLab(String),
    /// The guest's session has failed.
    #[error("{guest}: {why}")]
    Defect {
        guest: String,
        /// What became of the guest, and what to do.
        why: String,
    },
    /// A switchover of a guest that has no whole copy.
    #[error("{guest} is not protected: {why}")]
    NotProtected {
        guest: String,
        /// As `status` has it.
        why: String,
    },
    /// A switchover to a host on which a person works.
    #[error(
        "{peer} is in maintenance, and {guest} would run there. End that by `understudy maintenance off` on {peer}, or \
         repeat with --even-in-maintenance"
    )]
    InMaintenance { guest: String, peer: NodeName },
    /// Nothing is to be decided about the guest.
    #[error("{guest} is not held here for a person's word; it is {state}")]
    NotAwaited {
        guest: String,
        /// In the words of `status`.
        state: String,
    },
    /// Only the witness can say who may run it.
    #[error("The witness does not answer; without it nobody can be given a guest")]
    NoWitness,
    /// A takeover of a guest that runs here.
    #[error("{0} runs here already")]
    RunsHere(String),
    /// The other host decides.
    #[error("{guest} runs on {peer}; ask there (here only its copy is held)")]
    RunsElsewhere { guest: String, peer: NodeName },
    /// A takeover of a guest whose host has to be fenced first.
    #[error(
        "{guest} needs fencing: it is started here by itself once {peer} is fenced (`status` says what that waits for); while \
         {peer} runs it, move it with `understudy switchover {guest}` there"
    )]
    NeedsFencing { guest: String, peer: NodeName },
    /// There is nothing to start.
    #[error("There is no complete copy of {0} here")]
    NoCopy(String),
    /// Another peer holds the copy than the one that was named.
    #[error("The copy of {guest} is held by {peer}, not by {named}")]
    HeldBy { guest: String, peer: NodeName, named: String },
    /// How changes are found cannot be chosen any more.
    #[error(
        "How the changes of {0} are found is decided when the node takes it in; give find-changes with --guest, or restart \
         the node and protect it then"
    )]
    FindsChangesAlready(String),
    /// No copy of it can run.
    #[error("{guest} cannot be protected by a copy that runs: {obstacle}")]
    NoLiveCopy { guest: String, obstacle: &'static str },
    /// The settings that were given.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The pacing that was given.
    #[error(transparent)]
    Pacing(#[from] PairError),
    /// Maintenance is on its way already.
    #[error("It is being switched at this moment; ask again")]
    MaintenanceChanges,
    /// The file that stands for maintenance.
    #[error("{} cannot be {}: {source}; nothing has changed", path.display(), if *on { "made" } else { "removed" })]
    MaintenanceFile {
        path: PathBuf,
        /// Whether it was to be made.
        on: bool,
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("No thread can be had for it: {0}")]
    Thread(#[source] io::Error),
    /// A peer that cannot be asked.
    #[error("There is no link to {0} over which its host could be asked; `status` says why")]
    NoLink(NodeName),
    /// A peer of an earlier version.
    #[error("{0} is of a version that does not tell the facts of its host over the link; ask it with --ssh")]
    TellsNoFacts(NodeName),
    /// Certificates of a node that has none.
    #[error(
        "This node has no --tls, so there are no certificates to read anew; other settings are read at the start only"
    )]
    NoTls,
    /// Certificates that cannot be used.
    #[error("Nothing has changed: {0}")]
    Credentials(#[from] CredentialsError),
    /// The node ended before it answered.
    #[error("The node has ended")]
    Ended,
}
