//! Lanes, in which frames keep their order, and the priorities among lanes. Not here: what is sent next
//! ([`Outbox`](super::Outbox)).

use super::frame::{Frame, GuestFrame, GuestId};

/// A frame up to this many bytes is small: messages of sessions, and the checkpoints of an idle guest.
const SMALL_FRAME_BYTES: usize = 4 << 10;

/// A queue of frames that keep their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// The link itself, and the witness.
    Link,
    /// A guest that this end offers, as its primary.
    Offered(GuestId),
    /// A guest that the other end offers: this end is its secondary.
    Held(GuestId),
    /// Packets of a guest that this end offers.
    OfferedPackets(GuestId),
    /// Packets of the copy of a guest that the other end offers.
    HeldPackets(GuestId),
}

impl Lane {
    /// The lane of a frame.
    pub fn of(frame: &Frame<'_>) -> Self {
        match frame {
            Frame::Link(_) | Frame::Witness(_) => Self::Link,
            Frame::Guest(
                guest,
                GuestFrame::ToPrimary(_)
                | GuestFrame::HoldDeclined(_)
                | GuestFrame::HoldReady
                | GuestFrame::DiskSay { .. }
                | GuestFrame::Window { .. },
            ) => Self::Held(*guest),
            Frame::Guest(guest, GuestFrame::Packets(packets)) if packets.is_of_holder() => {
                Self::HeldPackets(*guest)
            }
            Frame::Guest(guest, GuestFrame::Packets(_)) => Self::OfferedPackets(*guest),
            Frame::Guest(guest, _) => Self::Offered(*guest),
        }
    }
}

/// The priority of a lane's first frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// The link's own frames, and all small ones.
    Control,
    /// A guest's network packets: somebody waits for each of them. They have lanes of their own, since nothing overtakes
    /// within a lane.
    Packets,
    /// Pages and state of epochs.
    Pages,
}

impl Class {
    /// The class of a frame of `len_bytes` in `lane`.
    pub(super) fn of(lane: Lane, len_bytes: usize) -> Self {
        match lane {
            Lane::OfferedPackets(_) | Lane::HeldPackets(_) => Self::Packets,
            Lane::Link => Self::Control,
            Lane::Offered(_) | Lane::Held(_) if len_bytes <= SMALL_FRAME_BYTES => Self::Control,
            Lane::Offered(_) | Lane::Held(_) => Self::Pages,
        }
    }
}
