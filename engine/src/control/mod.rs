//! The local control socket: how `status` and the operator's commands reach a running node.
//!
//! One JSON line asks, one JSON line answers, and the connection ends. The socket belongs to the user who runs
//! the node; whoever may open it may do all of this.
//!
//! ```text
//!   {"ask":"status"}                                      {"answer":"status","status":{…}}
//!   {"ask":"wish","guest":"g1","wish":"switchover"}       {"answer":"accepted"} | {"answer":"refused","reason":"…"}
//!                                                         with "even_in_maintenance":true also to a host in maintenance
//!   {"ask":"protect","guest":"g1","to":"b"}               the same; with "interval_ms":200 if wished
//!   {"ask":"reload"}                                      the same
//!   {"ask":"events","after":7,"wait_ms":1000}             {"answer":"events","events":{…}}, at once or when there is one
//!   {"ask":"maintenance","on":true}                       the same, once it is durable
//!   {"ask":"facts_wanted","peer":"b"}                     the same: the peer's host is asked for its facts, over the link
//!   {"ask":"facts","peer":"b"}                            {"answer":"facts","facts":"…"}, or accepted while there are none yet
//!   {"ask":"export","guest":"g1","path":"/tmp/g1.save"}   {"answer":"accepted"} | {"answer":"refused","reason":"…"}
//! ```
//!
//! * [`status`] what a node says about itself, with [`GuestState`]
//! * [`events`] what it has seen change
//! * [`Client`] asks; it blocks
//! * [`socket`] the socket as a file
//! * [`open_server`] answers, in the node's event loop

mod bulletin;
mod client;
pub mod events;
pub mod socket;
mod state;
pub mod status;

pub use bulletin::{Bulletin, GuestBulletin, Said, WitnessBulletin};
pub use client::{Client, ClientError};
pub use socket::{SocketError, SocketFile};
pub use state::GuestState;
pub use status::{GuestRole, GuestStatus, Status};

pub use crate::config::CONTROL_PATH as DEFAULT_PATH;
use crate::config::{FindChanges, ModeChoice};
use crate::request_server::RequestServer;
use events::Events;
use mio::Registry;
use mio::net::UnixListener;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// An operation that an operator can request for one guest.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Protect it (again).
    Protect,
    /// Let it go on unprotected.
    Unprotect,
    /// Move it to the peer, with nothing lost.
    Switchover,
    /// Take it over without a witness: the operator vouches that the other host is dead.
    ForceTakeover,
    /// Run the guest that is held here: the operator vouches that no other host has it.
    Reclaim,
    /// End the guest that is held here: the operator vouches that it is not needed.
    Discard,
}

/// A request to a node.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The node's status.
    Status,
    /// An operation on a guest.
    Wish {
        guest: String,
        wish: Wish,
        /// A switchover may go to a host in maintenance.
        #[serde(default, skip_serializing_if = "is_no")]
        even_in_maintenance: bool,
    },
    /// Protect a guest: one that the node knows, or a Xen guest of this host.
    Protect(Protection),
    /// Read the certificates anew.
    Reload,
    /// The events after a number.
    Events {
        /// The number of the last event that the client knows; 0 for all that are kept.
        after: u64,
        /// How long to wait if there are no events yet.
        wait_ms: u64,
    },
    /// Switch maintenance on or off; answered once the change is durable.
    Maintenance { on: bool },
    /// Ask a peer for the facts of its host, over the link.
    FactsWanted { peer: String },
    /// What the peer has answered since it was last asked.
    Facts { peer: String },
    /// Write a committed epoch of a guest held here as a file that `xl restore` takes; `status` says how far that is.
    Export {
        guest: String,
        /// An absolute path. The file appears there when it is complete.
        path: PathBuf,
        /// An epoch that is kept; by default the one committed last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_no(flag: &bool) -> bool {
    !flag
}

/// A request to protect a guest.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    pub guest: String,
    /// The peer that is to hold its copy; needed only if there are several.
    pub to: Option<String>,
    /// Time between two pauses in milliseconds; by default the guest's present setting, or the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Budgets for pacing by output, such as `interval-max=100ms,pause-share=10%`, or `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pacing: Option<String>,
    /// How changed pages are found; by default in Xen's log. Cannot be given for a guest that the node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find_changes: Option<FindChanges>,
    /// The mode of protection; by default the present one, or checkpoints alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ModeChoice>,
}

/// A node's answer.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// Answers [`Request::Status`].
    Status { status: Box<Status> },
    /// Answers [`Request::Events`].
    Events { events: Events },
    /// Answers [`Request::Facts`] once they are there.
    Facts {
        /// JSON; empty if the peer cannot tell them.
        facts: String,
    },
    /// The operation has begun, and `status` shows its progress. An export has begun, and its file appears when it is complete.
    Accepted,
    /// The node refuses.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// Whether a request is a complete line.
fn is_line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n")
}

/// Parses a request; the error is the answer to send.
pub fn parse_request(line: &[u8]) -> Result<Request, Response> {
    serde_json::from_slice(line)
        .map_err(|error| Response::Refused { reason: format!("Not a request of this version: {error}") })
}

/// Encodes an answer as one line.
pub fn line_of<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("requests and answers are plain data");
    line.push(b'\n');
    line
}

/// Listens at `path`, readable and writable for this user only, using [`SERVER_TOKENS`](crate::request_server::SERVER_TOKENS)
/// tokens from `first_token` on. The socket's file goes with the second part of what is returned.
pub fn open_server(
    path: &Path,
    registry: &Registry,
    first_token: usize,
) -> Result<(RequestServer<UnixListener>, SocketFile), SocketError> {
    let (listener, file) = socket::listen(path)?;
    let server = RequestServer::open(listener, registry, first_token, is_line);
    server.map(|server| (server, file)).map_err(|source| SocketError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_these_lines() {
        assert_eq!(line_of(&Request::Reload), b"{\"ask\":\"reload\"}\n");
        let wish =
            Request::Wish { guest: "g1".into(), wish: Wish::ForceTakeover, even_in_maintenance: false };
        assert_eq!(line_of(&Request::Status), b"{\"ask\":\"status\"}\n");
        assert_eq!(line_of(&wish), b"{\"ask\":\"wish\",\"guest\":\"g1\",\"wish\":\"force_takeover\"}\n");
        assert_eq!(parse_request(&line_of(&wish)), Ok(wish));
        let plain = Protection {
            guest: "g1".into(),
            to: Some("b".into()),
            interval_ms: None,
            pacing: None,
            find_changes: None,
            mode: None,
        };
        let protect = Request::Protect(plain.clone());
        let line = b"{\"ask\":\"protect\",\"guest\":\"g1\",\"to\":\"b\"}\n";
        assert_eq!(line_of(&protect), line);
        assert_eq!(parse_request(line), Ok(protect));
        let slower = Request::Protect(Protection {
            interval_ms: Some(200),
            pacing: None,
            find_changes: Some(FindChanges::Compare),
            ..plain
        });
        assert!(line_of(&slower).ends_with(b"\"interval_ms\":200,\"find_changes\":\"compare\"}\n"));
        assert_eq!(parse_request(&line_of(&slower)), Ok(slower));
        for (request, line) in [
            (Request::FactsWanted { peer: "b".into() }, &b"{\"ask\":\"facts_wanted\",\"peer\":\"b\"}\n"[..]),
            (Request::Facts { peer: "b".into() }, b"{\"ask\":\"facts\",\"peer\":\"b\"}\n"),
        ] {
            assert_eq!(line_of(&request), line);
            assert_eq!(parse_request(line), Ok(request));
        }
        let export = Request::Export { guest: "g1".into(), path: "/tmp/g1.save".into(), epoch: None };
        let line = b"{\"ask\":\"export\",\"guest\":\"g1\",\"path\":\"/tmp/g1.save\"}\n";
        assert_eq!(line_of(&export), line);
        assert_eq!(parse_request(line), Ok(export));
    }

    #[test]
    fn what_is_not_a_request_is_refused_with_a_reason() {
        for line in [
            "",
            "{}",
            "status",
            "{\"ask\":\"reboot\"}",
            "{\"ask\":\"wish\",\"guest\":\"g\",\"wish\":\"x\"}",
            "{\"ask\":\"protect\",\"guest\":\"g\",\"to\":null,\"at\":1}",
        ] {
            let Err(Response::Refused { reason }) = parse_request(line.as_bytes()) else {
                panic!("{line:?} was taken");
            };
            assert!(reason.starts_with("Not a request"), "{reason}");
        }
    }
}
