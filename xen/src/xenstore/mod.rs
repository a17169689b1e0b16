//! Xenstore: the tree of small texts through which toolstack, guests and backends find each other.
//!
//! * `wire` messages as bytes
//! * `connection` one socket or device: whole messages in and out, in bounded time
//! * `client` [`Xenstore`]: a connection with its replies and watch events
//! * `locate` where this host's xenstore is
//! * `requests` what can be asked
//! * `transaction` [`Transaction`]
//! * `reopening` [`Reopening`]: a connection that outlives a restart of xenstored
//!
//! Not here: what the paths mean.

mod client;
mod connection;
#[cfg(test)]
pub(crate) mod fake;
mod locate;
mod reopening;
mod requests;
mod transaction;
mod wire;

pub use client::Xenstore;
pub use reopening::Reopening;
pub use transaction::Transaction;
#[cfg(fuzzing)]
pub use wire::take_all;

use crate::DomId;
use std::io;
use std::path::PathBuf;

/// Why xenstore did not do what was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// No xenstore answers at any of the known places.
    #[error("No xenstore here: {}. Is xenstored running (`systemctl status xenstored`), and this dom0?", tried(.0))]
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// Xenstore refused. The name is that of an errno.
    #[error("Xenstore refused to {what} {subject}: {name}{}", advice(.name))]
    Refused {
        /// What was asked, as a verb.
        what: &'static str,
        /// Of what: a path, mostly.
        subject: String,
        /// ENOENT, EACCES, …
        name: String,
    },
    /// The connection ended. Watches and open transactions went with it: connect anew.
    #[error("Xenstore closed the connection (xenstored ended or was restarted); connect anew")]
    Closed,
    /// No reply in time. The connection is of no further use.
    #[error("Xenstore did not answer within {0} ms; xenstored hangs or the host is overloaded")]
    Timeout(u64),
    /// The connection failed.
    #[error("The connection to xenstore failed: {0}")]
    Io(#[from] io::Error),
    /// Xenstored sent something that is not of its protocol. The connection is of no further use.
    #[error("Xenstore sent {0}; please report this with the version of xenstored")]
    Protocol(String),
    /// A request that xenstore does not take.
    #[error("A xenstore request of {bytes} bytes is larger than the {} that it takes", wire::PAYLOAD_MAX)]
    TooLong {
        /// Bytes of its payload.
        bytes: usize,
    },
    /// A path, token or name with a NUL in it, or an empty one.
    #[error("{0:?} cannot be named to xenstore: it is empty or contains a NUL")]
    BadName(String),
    /// Others changed what a transaction read, every time it was tried.
    #[error(
        "A xenstore transaction met others' changes {0} times in a row; something writes there without end"
    )]
    Conflict(usize),
    /// More watch events came than were taken. Read again whatever is watched.
    #[error("More than {0} xenstore events came before they were taken; some were dropped")]
    EventsLost(usize),
}

impl StoreError {
    /// Whether xenstore refused with this errno.
    fn is(&self, errno: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == errno)
    }
}

fn tried(places: &[(PathBuf, io::Error)]) -> String {
    let place = |(path, error): &(PathBuf, io::Error)| format!("{}: {error}", path.display());
    places.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// What an operator can do about a refusal; empty where its name says enough.
fn advice(name: &str) -> &'static str {
    match name {
        "EACCES" | "EPERM" => ". Run this as root in dom0",
        "ENOSPC" | "EQUOTA" => ". A quota of xenstored is used up (`xenstore-control quota`)",
        "E2BIG" => ". The answer is longer than one message can be",
        _ => "",
    }
}

/// What a domain may do with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeAccess {
    /// Neither reading nor writing.
    None,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Read and write it.
    Both,
}

/// One entry of a node's permissions. The first names the node's owner, and what all domains may do that are not
/// named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    /// The domain that the entry is for.
    pub domain: DomId,
    /// What that domain may do.
    pub access: NodeAccess,
}

impl std::fmt::Display for Permission {
    /// As xenstore writes it: `r5`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = match self.access {
            NodeAccess::None => 'n',
            NodeAccess::Read => 'r',
            NodeAccess::Write => 'w',
            NodeAccess::Both => 'b',
        };
        write!(f, "{letter}{}", self.domain)
    }
}

/// A watch fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// The node that changed: the watched one or one below it; or the special one (`@releaseDomain`).
    pub path: String,
    /// The token given with the watch.
    pub token: String,
}
