//! The vCPU's registers: all of a guest that is not memory. Their form in a checkpoint is in `state`.

use crate::load::Load;
use crate::mac::Mac;
use crate::random::Random;
use std::net::Ipv4Addr;

/// Everything of a running guest that is not in its memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registers {
    /// The guest's name.
    pub name: String,
    /// The NIC's address.
    pub mac: Mac,
    /// The stack's address.
    pub ip: Ipv4Addr,
    /// How memory is dirtied.
    pub load: Load,
    /// Frames of memory.
    pub page_count: u64,
    /// Guest time since its first start; stands still while it does not run.
    pub time_ns: u64,
    /// Random numbers of the load.
    pub random: Random,
    /// Frames written by the load so far.
    pub load_cursor: u64,
    /// Nanoseconds × rate not yet spent on writes; a write costs 10⁹.
    pub load_credit: u64,
    /// Gratuitous ARP announcements still to be sent.
    pub announcements_due: u64,
    /// Guest time of the next of them.
    pub announce_at_ns: u64,
    /// What the guest has done.
    pub counters: Counters,
}

/// What a guest has done since its first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that arrived.
    pub frames_received: u64,
    /// Frames that arrived and were not for this guest or not understood.
    pub frames_ignored: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Key-value requests answered (or done, for `noreply`).
    pub requests: u64,
    /// Frames written by the load.
    pub load_pages: u64,
}
