//! Bringing the other host's disk to this one's content: what has to be sent, and in which order.
//!
//! ```text
//!   plan ─► Send(chunks) ──────────────────────────────► passes: Behind ──► Near ──► Even
//!        └► Compare ─► hashes of all chunks ─► differ ──┘         ▲  what the guest writes meanwhile
//!        └► Refuse
//! ```
//!
//! * [`talk`] what the hosts ask and say about it
//! * [`plan`] from what both hosts know of their disks: which chunks may differ
//! * [`hashes`] where nothing is known: lists of hashes
//! * [`comparison`] which list is asked for, and which chunk is compared next
//! * [`passes`] which chunk is read next, while the guest writes
//!
//! Equal is never assumed. Where a label, a map or a ledger cannot be trusted, hashes are compared.

pub mod comparison;
pub mod hashes;
pub mod passes;
pub mod plan;
pub mod talk;
