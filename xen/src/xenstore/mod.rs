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
    #[error("Xenstore refused to {what} {subject}: {name}{}", advice(.what, .name))]
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
    /// Whether xenstore answered, and refused. The connection may be used further.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether xenstore refused with the errno of this name.
    fn is(&self, errno: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == errno)
    }
}

/// The verb of a request for a watch.
const WATCH: &str = "watch";

fn tried(places: &[(PathBuf, io::Error)]) -> String {
    let place = |(path, error): &(PathBuf, io::Error)| format!("{}: {error}", path.display());
    places.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// Advice about a refusal; empty if its name says enough.
fn advice(what: &str, name: &str) -> &'static str {
    match (what, name) {
        (_, "EACCES" | "EPERM") => ". Run this as root in dom0",
        (_, "ENOSPC" | "EQUOTA") | (WATCH, "E2BIG") => {
            ". A quota of xenstored is used up (`xenstore-control quota`)"
        }
        (_, "E2BIG") => ". The answer is longer than one message can be",
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

#[cfg(test)]
mod tests {
    use super::fake::{Fake, Kind};
    use super::*;

    /// An error of each request, and the connection goes on.
    #[test]
    fn a_quota_that_is_used_up_is_an_error_in_words_and_never_an_answer() {
        let fake = Fake::start();
        let mut store = fake.connect();
        store.write("/a/b", "as it was").unwrap();
        fake.tree().refused = vec![
            (Kind::Write, "ENOSPC"),
            (Kind::Mkdir, "EQUOTA"),
            (Kind::Watch, "E2BIG"),
            (Kind::TransactionStart, "ENOSPC"),
        ];
        let is_told = |refused: Result<(), StoreError>| {
            let error = refused.expect_err("nothing was done");
            assert!(error.is_refusal() && error.to_string().contains("quota of xenstored"), "{error}");
        };
        is_told(store.write("/a/b", "another"));
        is_told(store.mkdir("/a/c"));
        is_told(store.watch("/a", "token"));
        is_told(store.transaction(|_| -> Result<(), StoreError> { panic!("there is no transaction") }));
        assert_eq!(store.read("/a/b").unwrap().as_deref(), Some("as it was"));
        // Changes that are refused at their end were not made.
        fake.tree().refused = vec![(Kind::TransactionEnd, "ENOSPC")];
        is_told(store.transaction(|transaction| transaction.read("/a/b").map(drop)));
        fake.tree().refused.clear();
        store.write("/a/b", "another").unwrap();
        assert_eq!(store.read("/a/b").unwrap().as_deref(), Some("another"));
    }

    #[test]
    fn what_cannot_be_read_is_not_absent_and_what_cannot_be_watched_is_told() {
        let fake = Fake::start();
        let mut store = fake.connect();
        fake.tree().refused =
            vec![(Kind::Read, "ENOMEM"), (Kind::Directory, "ENOMEM"), (Kind::Watch, "E2BIG")];
        assert!(store.read("/a").is_err() && store.directory("/a").is_err());
        let refusal = store.watch_if_allowed("/a", "token").unwrap().expect("it is refused");
        assert!(refusal.to_string().contains("refused to watch /a: E2BIG"), "{refusal}");
        assert_eq!(
            store.next_event(Some(std::time::Duration::ZERO)).unwrap(),
            None,
            "the connection goes on"
        );
        assert!(store.watch_if_allowed("", "token").is_err(), "other errors are errors");
    }
}
