//! A client of xenstore, the tree of short texts through which toolstack, guests and backends find each other.
//!
//! * `wire` messages as bytes
//! * `connection` one socket or device: whole messages in bounded time
//! * `client` [`Xenstore`]: a connection with replies and watch events
//! * `locate` finds this host's xenstore
//! * `requests` what can be asked
//! * `transaction` [`Transaction`]
//! * `reopening` [`Reopening`]: a connection that survives a restart of xenstored
//!
//! Not here: the meaning of paths.

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

/// Why xenstore did not do what it was asked.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// No xenstore answers at any of the known places.
    #[error("No xenstore here: {}. Is xenstored running (`systemctl status xenstored`), and this dom0?", tried(.0))]
    Unreachable(Vec<(PathBuf, io::Error)>),
    /// Xenstore refused; `name` is the name of an errno.
    #[error("Xenstore refused to {what} {subject}: {name}{}", advice(.name))]
    Refused {
        /// What was asked, as a verb.
        what: &'static str,
        /// What the request was for, usually a path.
        subject: String,
        /// ENOENT, EACCES, …
        name: String,
    },
    /// The connection ended, and with it its watches and open transactions. Connect again.
    #[error("Xenstore closed the connection (xenstored ended or was restarted); connect anew")]
    Closed,
    /// There was no reply in time. The connection cannot be used further.
    #[error("Xenstore did not answer within {0} ms; xenstored hangs or the host is overloaded")]
    Timeout(u64),
    /// The connection failed.
    #[error("The connection to xenstore failed: {0}")]
    Io(#[from] io::Error),
    /// Xenstored violated its protocol. The connection cannot be used further.
    #[error("Xenstore sent {0}; please report this with the version of xenstored")]
    Protocol(String),
    /// The request is too long for xenstore.
    #[error("A xenstore request of {bytes} bytes is larger than the {} that it takes", wire::PAYLOAD_MAX)]
    TooLong {
        /// Bytes of its payload.
        bytes: usize,
    },
    /// A path, token or name is empty, or contains a NUL.
    #[error("{0:?} cannot be named to xenstore: it is empty or contains a NUL")]
    BadName(String),
    /// Others kept changing what a transaction read.
    #[error(
        "A xenstore transaction met others' changes {0} times in a row; something writes there without end"
    )]
    Conflict(usize),
    /// More watch events came than were taken. Read everything again that is watched.
    #[error("More than {0} xenstore events came before they were taken; some were dropped")]
    EventsLost(usize),
}

impl StoreError {
    /// Whether xenstore refused with the errno of this name.
    fn is(&self, errno: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == errno)
    }
}

fn tried(places: &[(PathBuf, io::Error)]) -> String {
    let place = |(path, error): &(PathBuf, io::Error)| format!("{}: {error}", path.display());
    places.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// Advice about a refusal; empty if its name says enough.
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
    /// Neither read nor write it.
    None,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Read and write it.
    Both,
}

/// One entry of a node's permissions. The first entry names the node's owner, and what all domains may do that have no
/// entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    /// The domain that the entry applies to.
    pub domain: DomId,
    /// What that domain may do.
    pub access: NodeAccess,
}

impl std::fmt::Display for Permission {
    /// In xenstore's notation, for example `r5`.
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
    /// The node that changed: the watched node, one below it, or a special one (`@releaseDomain`).
    pub path: String,
    /// The token of the watch.
    pub token: String,
}
