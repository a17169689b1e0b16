//! What may go wrong, and the moments that a fault may be aimed at.
//!
//! Not here: how likely each fault is ([`weights`](super::weights)), and when they strike ([`plan`](super::plan)).

use super::fate::Fate;
use super::harm::{Harm, Trouble};
use super::{GuestId, HostId};
use understudy::control::Wish;
use understudy_session::primary;
use understudy_session::{Mode, Span, secondary};

/// One thing that goes wrong, or that an operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection of a channel ends; both ends learn of it.
    Reset {
        /// Channel.
        channel: usize,
    },
    /// A channel delivers nothing, in one direction or both, for a while.
    Stall {
        /// Channel.
        channel: usize,
        /// Which ends' sending is stalled.
        ends: [bool; 2],
        /// How long.
        lasts: Span,
    },
    /// The link becomes slow for a while.
    Slow {
        /// Added to each delay.
        by: Span,
        /// How long.
        lasts: Span,
    },
    /// A node dies with everything in its memory.
    Crash {
        /// The number of the node.
        node: usize,
        /// Nobody is told (power loss); otherwise its connections are reset (process death).
        silent: bool,
        /// When it comes back; `None`: never.
        back_after: Option<Span>,
    },
    /// A node handles nothing for a while, then everything late (SIGSTOP, a hung hypervisor).
    Hang {
        /// The number of the node.
        node: usize,
        /// How long.
        lasts: Span,
    },
    /// The next commit on this host fails.
    CommitFails {
        /// Host.
        host: HostId,
    },
    /// The next epoch that this host receives is harmed.
    Harms {
        /// Host.
        host: HostId,
        /// What is done to the epoch.
        harm: Harm,
    },
    /// Captures of a guest fail, wherever it runs.
    CapturesFail {
        /// Which guest.
        guest: GuestId,
        /// How long.
        trouble: Trouble,
    },
    /// A thread of a guest panics, on each host that has such a thread.
    ThreadDies {
        /// Which guest.
        guest: GuestId,
        /// Which thread.
        thread: Thread,
    },
    /// The next takeover on this host cannot start its guest.
    ActivationFails {
        /// Host.
        host: HostId,
    },
    /// The next takeover on this host meets a shortage, and has to be tried again.
    ActivationShort {
        /// Host.
        host: HostId,
    },
    /// The next takeover on this host takes long.
    ActivationSlow {
        /// Host.
        host: HostId,
    },
    /// The engine dies in the midst of the next takeover on this host, and begins anew.
    DiesActivating {
        /// Host.
        host: HostId,
    },
    /// Somebody does this to the domain that stands by for a guest.
    StandingSuffers {
        /// Host.
        host: HostId,
        /// Of which guest.
        guest: GuestId,
        /// What becomes of the domain.
        fate: Fate,
    },
    /// A guest's dirty log is switched off.
    LogOff {
        /// Which guest.
        guest: GuestId,
    },
    /// Another reader of a guest's dirty log takes what is in it.
    BitsStolen {
        /// Which guest.
        guest: GuestId,
    },
    /// The next writes of a guest are not logged.
    BitsLost {
        /// Which guest.
        guest: GuestId,
        /// How many.
        writes: u64,
    },
    /// What redirects a guest's frames into its queue is removed for a while.
    RedirectLost {
        /// Which guest.
        guest: GuestId,
        /// How long.
        lasts: Span,
    },
    /// What takes a guest's epochs in on this host stands still, as when another guest's domain is built first.
    ReceiverHangs {
        /// Host.
        host: HostId,
        /// Which guest.
        guest: GuestId,
        /// How long; `None`: to the end of the run.
        lasts: Option<Span>,
    },
    /// The witness is not what it was.
    WitnessForgets(Amnesia),
    /// The guest ends by itself.
    GuestEnds {
        /// The guest that ends.
        guest: GuestId,
    },
    /// The witness's next write fails; what its disk holds is anyone's guess.
    PersistFails,
    /// Requests to the witness, and its answers, take long for a while, overtake each other and get lost, over connections that
    /// stand: as with a cluster that takes them down and agrees on them late.
    WitnessLingers {
        /// How long.
        lasts: Span,
    },
    /// An operator's wish, on both hosts: one of them runs the guest.
    Wish {
        /// For which guest.
        guest: GuestId,
        /// The operator's order.
        wish: Wish,
    },
    /// A copy's vCPU stops for good.
    CopyCrashes {
        /// Of which guest.
        guest: GuestId,
    },
    /// An operator changes how a guest is protected.
    Mode {
        /// Which guest.
        guest: GuestId,
        /// The mode from now on.
        mode: Mode,
    },
    /// The operator forces a takeover on this host.
    ForceTakeover {
        /// Host.
        host: HostId,
        /// Of which guest.
        guest: GuestId,
    },
}

/// How a witness may forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amnesia {
    /// Its disk goes back to an older state.
    RolledBack,
    /// Its disk is empty.
    Emptied,
    /// Its disk loses what was written last, which it had said to hold.
    NotDurable,
}

/// A thread of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thread {
    /// It takes checkpoints.
    Capture,
    /// It encodes them.
    Encode,
    /// It takes them in.
    Receive,
}

impl Fault {
    /// Whether it is a person's or the guest's own doing.
    pub fn is_wished(self) -> bool {
        matches!(
            self,
            Self::GuestEnds { .. } | Self::Wish { .. } | Self::Mode { .. } | Self::ForceTakeover { .. }
        )
    }
}

/// A moment that a fault may be aimed at: a session enters a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Of a primary.
    Primary(primary::State),
    /// Of a secondary.
    Secondary(secondary::State),
    /// Output of a primary leaves by a match from now on.
    Matches,
    /// A copy runs from now on, and its primary is told what it sends.
    CopyLives,
    /// An epoch is whole, and a copy is to stand still for it.
    CopyHalts,
    /// The watchdog of a host resets it.
    Reset,
}

/// A fault that waits for its moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aimed {
    /// The moment that the fault waits for.
    pub moment: Moment,
    /// How long after it.
    pub after: Span,
    /// The fault that strikes then.
    pub fault: Fault,
}
