//! etcd as the witness: one key for each guest, changed by compare-and-swap, over etcd's JSON gateway.
//!
//! ```text
//!   Read ───────────────► range, linearizable ──► the record, or none
//!   Swap {expect, new} ─► range, linearizable ──► held ── the rules of authority refuse it ─► Conflict, Illegal
//!                                                  └─► txn: if the value is still `held`: put new ─► Swapped
//!                                                           else: range ──────────────────────────► Conflict
//! ```
//!
//! etcd knows none of the rules of who may change a record, so this end holds them (`understudy_session::witness::judge`). The
//! swap compares the whole value, so it replaces the very record that was judged. The value has a revision of ours, which no
//! two records of a guest share; etcd's own revisions decide nothing, as they go back when a snapshot is restored.
//!
//! A request without an answer may have been done. It is told as an error, never as an outcome: who asked asks again, and
//! finds what became of it in the record.
//!
//! The lease of a host is a key of the same kind below `PREFIX/.lease/`, and a swap of it is done alike.
//!
//! Not here: leases and locks of etcd (no rule of ours needs a clock), and when to ask ([`node`](crate::node)). Everything here
//! blocks, for as long as [`Cluster`] says, so the event loop asks from threads.

mod address;
mod cluster;
mod credentials;
mod lease;
mod message;
mod record;
mod records;

pub use address::{EtcdAddress, EtcdAddressError};
pub use cluster::{ATTEMPT_MAX, Cluster, EtcdError, WentBack};
pub use credentials::{CredentialError, Credentials};
pub use lease::{decode_lease, encode_lease};
pub use message::{Held, MalformedAnswer, Swap, parse_range, parse_txn};
pub use record::{RECORD_BYTES_MAX, RecordError, decode_record, encode_record};
pub use records::Records;

use std::fmt;
use std::path::PathBuf;

/// A cluster, as a configuration names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdConfig {
    /// Where its members are reached, and what keys begin with.
    pub address: EtcdAddress,
    /// Who this node is to it; none over plain loopback.
    pub certificates: Option<Certificates>,
    /// Whom it logs in as, where etcd asks for users.
    pub user: Option<User>,
}

impl fmt::Display for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Files in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificates {
    /// Whose signature makes a server etcd.
    pub ca: PathBuf,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub name: String,
    /// A file with its password, and nothing else.
    pub password_file: PathBuf,
}
