//! Connections between the nodes: in order as long as they last, with delay, and with every way to end or stall.
//!
//! ```text
//!   A ═══════ link ═══════ B      one connection at a time on each channel; a new one has a new number
//!    ╲                    ╱       reset: both ends learn, what is under way is lost from some point on
//!     ╲─── W (witness) ──╱        stall: one direction (or both) delivers nothing until it ends
//! ```

use super::GuestId;
use super::rng::Rng;
use std::collections::VecDeque;
use understudy_session::lease::{LeaseReply, LeaseRequest};
use understudy_session::{NodeName, Span, Time, WitnessReply, WitnessRequest};

/// The nodes: A, B and W.
pub const NODES: usize = 3;
/// The witness's number among the nodes.
pub const WITNESS: usize = 2;
/// The channel between the hosts.
pub const LINK: usize = 0;

/// The nodes at the two ends of each channel; the first one dials.
pub const ENDS: [[usize; 2]; 3] = [[0, 1], [0, WITNESS], [1, WITNESS]];

/// The channel of a host to the witness.
pub fn witness_channel(host: usize) -> usize {
    1 + host
}

/// A message on a connection.
#[derive(Clone, Debug)]
pub enum Wire {
    /// A frame between engines, in bytes.
    Frame(Vec<u8>),
    /// A request to the witness.
    Request(GuestId, WitnessRequest),
    /// The witness's reply.
    Reply(GuestId, WitnessReply),
    /// A request to the witness about the lease of a host.
    LeaseRequest(NodeName, LeaseRequest),
    /// Its reply.
    LeaseReply(NodeName, LeaseReply),
    /// The sender has closed the connection.
    Fin,
}

/// One channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// Number of the newest connection.
    pub conn: u64,
    /// Whether each end believes that the connection stands.
    pub up: [bool; 2],
    /// Whether each end's sending direction is stalled.
    pub stalled: [bool; 2],
    /// Messages behind a stall, by sender.
    pub parked: [VecDeque<Wire>; 2],
    /// Until when each sender's line is busy with earlier bytes.
    pub busy_until: [Time; 2],
    /// When the last message of each end arrives; later ones do not overtake it.
    pub last_at: [Time; 2],
    /// Messages that would arrive at an end after this time are lost, because the connection was reset.
    pub lost_after: [Option<Time>; 2],
    /// Added to each delay.
    pub slowness: Span,
    /// A dial is under way.
    pub dialing: bool,
}

impl Channel {
    /// The arrival time of a message that `end` sends now.
    pub fn arrival(&mut self, end: usize, now: Time, transfer: Span, rng: &mut Rng) -> Time {
        let delay = if rng.chance(4) { rng.span_us(500, 8_000) } else { rng.span_us(50, 600) };
        let sent = self.busy_until[end].max(now + delay) + transfer;
        self.busy_until[end] = sent;
        let at = Time(self.last_at[end].0 + 1).max(sent + self.slowness);
        self.last_at[end] = at;
        at
    }

    /// Starts a new connection, without anything of the last one.
    pub fn renew(&mut self, now: Time) {
        self.conn += 1;
        self.parked = Default::default();
        self.busy_until = [now; 2];
        self.last_at = [now; 2];
        self.lost_after = [None; 2];
    }

    /// Whether messages pass in both directions.
    pub fn is_clear(&self) -> bool {
        self.stalled == [false, false]
    }
}
