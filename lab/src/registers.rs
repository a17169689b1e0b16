//! The vCPU's registers: everything of a guest that is not memory. `state` has their encoding in a checkpoint.

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
    /// The memory load.
    pub load: Load,
    /// Frames of memory.
    pub page_count: u64,
    /// Guest time since its first start. It stops while the guest does not run.
    pub time_ns: u64,
    /// The load's random numbers.
    pub random: Random,
    /// Frames written by the load so far.
    pub load_cursor: u64,
    /// Nanoseconds × rate that are not spent on writes yet. A write costs 10⁹.
    pub load_credit: u64,
    /// Gratuitous ARP announcements that remain to be sent.
    pub announcements_due: u64,
    /// Guest time of the next announcement.
    pub announce_at_ns: u64,
    /// Counters of the guest.
    pub counters: Counters,
}

/// Counts since the guest's first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that arrived.
    pub frames_received: u64,
    /// Frames that arrived and were for others, or not understood.
    pub frames_ignored: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Key-value requests answered (or done, for `noreply`).
    pub requests: u64,
    /// Frames written by the load.
    pub load_pages: u64,
}
