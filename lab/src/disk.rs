//! The guest's disk as its host carries it out: requests come in, and are answered in any order.
//!
//! ```text
//!   guest ─► Disk::submit ─► (the engine) ─► Inlet::answer ─► [ answers ] ─► guest
//! ```
//!
//! Answers that wait have not reached the guest: they are not part of a checkpoint. A guest that is restored submits again
//! what its state says is unanswered, as blkfront does. Not here: what a request is
//! ([`disk_request`](crate::disk_request)), what the guest keeps on its disk ([`guest`](crate::guest)), and what a host makes of
//! the requests.

use crate::disk_request::DiskRequest;
use crate::inlet::Inlet;

/// Carries out a guest's requests.
///
/// Called on the vCPU's thread while the guest is locked: it must not block for long, and may take no lock that is held by
/// anyone who suspends, pauses or stops the guest.
pub trait Disk: Send + Sync {
    /// Takes a request, which is answered later by [`Inlet::answer`].
    fn submit(&self, request: DiskRequest, guest: &Inlet);
}
