//! What an engine says of its guests over its control socket, as far as a drill needs it: to know when to go
//! on, and for the report's figures. Nothing is judged by it.

use super::history::Moment;
use crate::control::{Client, ClientError, GuestRole, GuestState, GuestStatus, Wish};
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
    /// Whether a copy runs on the other host and lets output out.
    pub is_live: bool,
    /// Frames that left because the copy had sent the same.
    pub matched: u64,
    /// Checkpoints committed since it came here.
    pub epochs: u64,
    /// Bytes of their pages.
    pub raw_bytes: u64,
    /// Bytes on the link for them.
    pub link_bytes: u64,
    /// Median pause, microseconds.
    pub pause_us_p50: u64,
    /// 99th percentile.
    pub pause_us_p99: u64,
    /// Median time from a capture's end to its ack, microseconds.
    pub commit_us_p50: u64,
    /// 99th percentile.
    pub commit_us_p99: u64,
}

/// All guests of the node whose control socket is at `control`; none if it does not answer.
/// Times of a node on another machine are told by this machine's clock, as well as the way of an answer lets that be known.
pub fn of_node(control: &Path, is_far: bool) -> Vec<GuestView> {
    let Ok(status) = Client::new(control).status() else { return Vec::new() };
    let from_ns = if is_far { status.clock_ns } else { 0 };
    let to_ns = if is_far { Moment::now().0 } else { 0 };
    status.guests.into_iter().map(|guest| view(guest, from_ns, to_ns)).collect()
}

/// Asks the node to move a guest to its peer.
pub fn switch_over(control: &Path, guest: &str) -> Result<(), ClientError> {
    Client::new(control).wish(guest, Wish::Switchover)
}

fn view(guest: GuestStatus, from_ns: u64, to_ns: u64) -> GuestView {
    let moment = |at_ns: u64| Moment((at_ns + to_ns).saturating_sub(from_ns));
    let is_primary = guest.role == GuestRole::Primary;
    let takeover = guest.takeover.map(|takeover| Takeover {
        detected: moment(takeover.detected_at_ns),
        authority: moment(takeover.authority_at_ns),
        activated: moment(takeover.activated_at_ns),
    });
    GuestView {
        is_primary,
        is_protected: is_primary && guest.protected,
        // Until the witness holds the copy fresh, whatever is sent to the secondary cannot take over.
        is_alone: is_primary
            && matches!(guest.state, GuestState::Unprotected | GuestState::Seeding | GuestState::Arming),
        generation: guest.generation,
        takeover,
        is_live: is_primary && guest.colo.live,
        matched: guest.colo.released_by_match,
        epochs: guest.commit_us.count,
        raw_bytes: guest.raw_bytes,
        link_bytes: guest.link_bytes,
        pause_us_p50: guest.pause_us.p50,
        pause_us_p99: guest.pause_us.p99,
        commit_us_p50: guest.commit_us.p50,
        commit_us_p99: guest.commit_us.p99,
        name: guest.name,
    }
}
