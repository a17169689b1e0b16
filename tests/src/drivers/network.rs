//! Connections between the nodes: in order while they last, with delay, and with every way to end or to stall.
//!
//! ```text
//!   A ═══════ link ═══════ B      one connection at a time on each channel; a new one has a new number
//!    ╲                    ╱       reset: both ends learn, what is under way is lost from some point on
//!     ╲─── W (witness) ──╱        stall: one direction (or both) delivers nothing until it ends
//! ```

use super::GuestId;
use super::rng::Rng;
use std::collections::VecDeque;
use understudy_session::{Span, Time, WitnessReply, WitnessRequest};

/// A, B and W.
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

/// What travels on a connection.
#[derive(Clone, Debug)]
pub enum Wire {
    /// A frame between engines, in bytes.
    Frame(Vec<u8>),
    /// To the witness.
    Request(GuestId, WitnessRequest),
    /// From the witness.
    Reply(GuestId, WitnessReply),
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
    /// Whether each end's sending is stalled.
    pub stalled: [bool; 2],
    /// What waits behind a stall, by sender.
    pub parked: [VecDeque<Wire>; 2],
    /// Until when the line of each sender is taken by bytes sent before.
    pub busy_until: [Time; 2],
    /// When the last thing sent by each end arrives: nothing overtakes it.
    pub last_at: [Time; 2],
    /// What arrives at each end after this is lost: the connection was reset.
    pub lost_after: [Option<Time>; 2],
    /// Added to each delay.
    pub slowness: Span,
    /// A dial is under way.
    pub dialing: bool,
}

impl Channel {
    /// When something sent by `end` now arrives.
    pub fn arrival(&mut self, end: usize, now: Time, transfer: Span, rng: &mut Rng) -> Time {
        let delay = if rng.chance(4) { rng.span_us(500, 8_000) } else { rng.span_us(50, 600) };
        let sent = self.busy_until[end].max(now + delay) + transfer;
        self.busy_until[end] = sent;
        let at = Time(self.last_at[end].0 + 1).max(sent + self.slowness);
        self.last_at[end] = at;
        at
    }

    /// Begins a new connection; nothing of the one before remains.
    pub fn renew(&mut self, now: Time) {
        self.conn += 1;
        self.parked = Default::default();
        self.busy_until = [now; 2];
        self.last_at = [now; 2];
        self.lost_after = [None; 2];
    }

    /// Whether anything gets through in both directions.
    pub fn is_clear(&self) -> bool {
        self.stalled == [false, false]
    }
}
