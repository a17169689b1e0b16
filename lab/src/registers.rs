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
    /// Its disk, if it has one.
    pub disk: Option<DiskRegisters>,
}

/// What a guest knows of its disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskRegisters {
    /// Its size.
    pub size_bytes: u64,
    /// The number of the last request.
    pub next_id: u64,
    /// Frames of the table that have been read from it since the guest's first start.
    pub loaded_frames: u64,
    /// What is not answered, in the order of the requests.
    pub waiting: Vec<Waiting>,
    /// Counters of the disk.
    pub counters: DiskCounters,
}

impl DiskRegisters {
    /// Of a disk that a new guest has not read yet.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            next_id: 0,
            loaded_frames: 0,
            waiting: Vec::new(),
            counters: DiskCounters::default(),
        }
    }
}

/// A change of the table that is on its way to the disk, or a request that came after one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Of the request.
    pub id: u64,
    /// Which frame changed, or is asked for.
    pub frame: u64,
    /// How far it is.
    pub step: Step,
    /// Who is told; nobody if the client wanted no reply.
    pub client: Option<Client>,
    /// What it is told.
    pub said: Said,
}

/// How far a change is on its way to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A write that a flush follows.
    Writing,
    /// A write that is answered once it is on the media.
    WritingForced,
    /// The flush.
    Flushing,
    /// On the media, or never meant for it. Its reply follows those before it.
    Done,
    /// The disk failed. Its reply follows those before it.
    Failed,
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// The value was set.
    Stored,
    /// The sum.
    Number(u64),
    /// What is in this slot of the frame when its turn comes.
    Value(u8),
    /// There was no such key.
    Miss,
}

/// Who waits for a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Its card.
    pub mac: [u8; 6],
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The number of its request.
    pub request: u16,
    /// What the host's conditions put into the reply.
    pub mark: u16,
}

/// Counts since the guest's first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskCounters {
    /// Changes of the table that are on the disk, or failed to get there.
    pub stored: u64,
    /// Frames that were compared after the guest was restored.
    pub compared: u64,
    /// Those of them whose content was not that of the table.
    pub differing: u64,
    /// Requests that failed.
    pub failed: u64,
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
